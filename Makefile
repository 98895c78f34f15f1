# Two commands do everything: `make run` labels photos through the whole chain, `make test` checks it all.
PYTHON ?= python3
VENV ?= .venv
# Photos to label; the samples of scikit-image without it: make run PHOTOS=./photos
PHOTOS ?=
# On Linux plain torch brings CUDA (5 GB). For the CPU build (0.8 GB) give the address that PyTorch's
# installation page shows for "CPU": make run TORCH_INDEX=https://…
TORCH_INDEX ?=
# Processes that share the tests, file by file; many of them wait for servers that start.
PYTEST_WORKERS ?= 2

PY := $(VENV)/bin/python
OWN := sagemaker smdebug torchserve ray
PEERS := litserve bentoml
TOOLS := sam checkov ministack schemathesis
MODEL := build/model.tar.gz
MODEL_SOURCES := $(wildcard model_serving/*.py model_serving/classifier/*.py)
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check

.PHONY: run up test lint format bench openapi clean

run: $(MODEL)
ifeq ($(PHOTOS),)
	$(PY) -m client classify --local --model $(MODEL) --format table $$($(PY) -m local_stack samples)
else
	$(PY) -m client classify --local --model $(MODEL) --format table "$(PHOTOS)"
endif

up: $(MODEL)
	$(PY) -m local_stack up --model $(MODEL)

test: lint $(addprefix $(VENV)/.,$(OWN) $(TOOLS) typescript)
	$(PY) -m pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(VENV)/.dev
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(VENV)/.dev $(MODEL) $(addprefix $(VENV)/.,$(OWN) $(PEERS))
	$(PY) -m bench.overhead --model $(MODEL)
	$(PY) -m bench.decode
	$(PY) -m bench.server
	$(PY) -m bench.function
	$(PY) -m bench.client
	$(PY) -m bench.link
	$(PY) -m bench.shrinking
	$(PY) -m bench.hosts
	$(PY) -m bench.training
	$(PY) -m bench.recording
	$(PY) -m bench.search

openapi: $(VENV)/.run
	$(PY) -m lambda_api openapi > docs/openapi.json

clean:
	rm -rf $(VENV) build

$(MODEL): $(VENV)/.run $(MODEL_SOURCES)
	$(PY) -m model_serving pack --output $@

$(VENV)/.run: pyproject.toml | $(VENV)/.torch
	$(INSTALL) --editable '.[local,samples,train]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.torch
	$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.run

# What runs in AWS's PyTorch containers, smdebug, and the Ray of AWS's container, for their tests. They want other versions of protobuf and
# of SageMaker's toolkit than the rest, so each has an environment of its own, which finds torch and what else it lacks in
# the first one.
$(VENV)/.sagemaker: REQUIREMENTS = 'sagemaker-pytorch-training>=3,<4' 'sagemaker-training>=5.1,<6'
$(VENV)/.smdebug: REQUIREMENTS = smdebug==1.0.34 protobuf==3.20.3 'numpy<2.3' pandas requests 'setuptools<82'
$(VENV)/.torchserve: REQUIREMENTS = torchserve==0.12.0 torch-model-archiver==0.12.0 sagemaker-pytorch-inference==2.0.25 \
	'setuptools<82' packaging pyyaml psutil requests
$(VENV)/.ray: REQUIREMENTS = 'ray[serve]==2.55.1' 'protobuf<7'
$(VENV)/.litserve: REQUIREMENTS = litserve==0.2.19
$(VENV)/.bentoml: REQUIREMENTS = bentoml==1.4.40
$(addprefix $(VENV)/.,$(OWN) $(PEERS)): $(VENV)/.%: | $(VENV)/.dev
	$(PYTHON) -m venv $(VENV)/$*
	$(VENV)/$*/bin/python -m pip install --quiet --disable-pip-version-check $(REQUIREMENTS)
	$(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
		"$$($(VENV)/$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/whippet.pth"
	@touch $@

# Programs, which need nothing of ours: AWS's command line for template.yaml, a scanner of it, an AWS of this machine to deploy it on,
# and one that makes requests of an OpenAPI document.
$(VENV)/.sam: REQUIREMENTS = aws-sam-cli==1.170.0
$(VENV)/.checkov: REQUIREMENTS = checkov==3.3.30
$(VENV)/.schemathesis: REQUIREMENTS = schemathesis==4.32.5
$(VENV)/.ministack: REQUIREMENTS = ministack==1.5.33 aws-sam-translator==1.115.0 cryptography
$(addprefix $(VENV)/.,$(TOOLS)): $(VENV)/.%: | $(VENV)/.torch
	$(PYTHON) -m venv $(VENV)/$*
	$(VENV)/$*/bin/python -m pip install --quiet --disable-pip-version-check $(REQUIREMENTS)
	@touch $@

# The compiler that checks the web client's types; where npm has no registry its test says that it is skipped.
$(VENV)/.typescript: | $(VENV)/.torch
	npm install --silent --no-audit --no-fund --prefix $(VENV)/typescript typescript@5.9 || true
	@touch $@

$(VENV)/.torch:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed: make run PYTHON=python3.12" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip
ifneq ($(TORCH_INDEX),)
	$(INSTALL) --index-url '$(TORCH_INDEX)' torch torchvision
endif
	@touch $@
