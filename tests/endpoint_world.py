"""Endpoints for tests: moto with what it lacks of them, and each endpoint answers by its own archive, really served."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests as http
import torch
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from model_serving import archive, golden
from model_serving.aws import deploy
from model_serving.aws.endpoint import CHANGING, describe
from model_serving.aws.kept import resolved
from model_serving.aws.options import EndpointOptions
from model_serving.aws.trial import Deployment, Pace
from model_serving.classifier import (
    Calibration,
    Classifier,
    ClassInfo,
    Head,
    ModelSpec,
    Preprocessing,
    network,
    preprocess,
)
from tests import aws_world
from tests.aws_world import BUCKET, ROLE, World
from tests.conftest import ROOT
from tests.labelled import COLOURS, drawing
from tests.servers import serving
from training.aws.session import Aws, connect

ACCOUNT, REGION = "123456789012", "us-east-1"
BACKBONE = "shufflenet_v2_x0_5"
PACE = Pace(poll=0.02, patience=20.0, requests=5, longer=0.0, removal=2.0)


CALM: dict[str, Any] = {"gate_slower": "1000"}
"""Latency is measured on a machine that others use, too."""


def variant(request: dict[str, Any]) -> dict[str, Any]:
    """The one variant of a CreateEndpointConfig."""
    found: dict[str, Any] = request["ProductionVariants"][0]
    return found


def photos(number: int = 4) -> list[tuple[str, bytes, str | None]]:
    """So many of each class, with their names and classes."""
    return [(f"{name}/{n}.jpg", drawing(name, 1000 + n), name) for name in COLOURS for n in range(number)]


def tiny(
    path: Path, *, temperature: float = 1.0, turned: int = 0, recorded: bool = True, honest: bool = True
) -> ModelSpec:
    """Pack a small network that knows the classes of `labelled` by their mean features.

    `turned` moves each class's weights to the next one, which makes it wrong everywhere; golden photos are recorded of
    what is packed, or if it is not `honest` of what knows the classes.
    """
    classes = tuple(ClassInfo(name, name.partition(".")[2].replace("_", " ")) for name in COLOURS)
    calibration = Calibration(temperature=temperature)
    spec = ModelSpec("shapes", BACKBONE, classes, preprocessing=Preprocessing(64, 64), calibration=calibration)
    good, packed = _state(spec.preprocessing, 0), _state(spec.preprocessing, turned)
    kept = _recorded(spec, packed if honest else good) if recorded else {}
    return archive.pack(spec, packed, path, kept)


def kinds(folder: Path) -> dict[str, Path]:
    """Three models that know the classes, one that does not and says so, one that was changed after its golden photos
    were recorded, one without any."""
    options: dict[str, dict[str, Any]] = {
        "good": {},
        "newer": {"temperature": 1.02},
        "newest": {"temperature": 1.03},
        "wrong": {"turned": 1},
        "changed": {"turned": 1, "honest": False},
        "bare": {"recorded": False},
    }
    for name, given in options.items():
        tiny(folder / f"{name}.tar.gz", **given)
    return {name: folder / f"{name}.tar.gz" for name in options}


@cache
def _state(preprocessing: Preprocessing, turned: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    net = network.build(BACKBONE, Head(), len(COLOURS)).train()
    pixels = [preprocess.to_tensor(body, preprocessing) for _, body, _ in photos(6)]
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    batch = (torch.stack(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std
    head = network.head_name(BACKBONE)
    with torch.no_grad():
        for _ in range(30):  # BatchNorms settle
            net(batch)
        state = dict(net.state_dict())
        network.detach_head(net.eval(), head)
        features = net(batch)
    centre, scale = features.mean(dim=0), features.std(dim=0) + 1e-3
    means = ((features - centre) / scale).reshape(len(COLOURS), 6, -1).mean(dim=1)
    # Logits are the distances to the class means, a few apart.
    sharp = 8 / (means[0] - means[1]).square().sum()
    weight, bias = sharp * means / scale, -sharp * means.square().sum(dim=1) / 2 - sharp * (means / scale) @ centre
    state[f"{head}.weight"], state[f"{head}.bias"] = weight.roll(turned, 0), bias.roll(turned, 0)
    return {name: tensor.clone() for name, tensor in state.items()}


def _recorded(spec: ModelSpec, state: Mapping[str, torch.Tensor]) -> dict[str, bytes]:
    own = {name: tensor.clone() for name, tensor in state.items()}  # a network folds its weights in place
    return golden.files(golden.record(Classifier(lambda: network.scorer(spec, own), spec), photos()))


class Hosts:
    """`python -m model_serving serve` on archives, one process for each content."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, tuple[subprocess.Popen[str], str]] = {}

    def url(self, content: bytes) -> str:
        """Where an archive answers."""
        digest = hashlib.sha256(content).hexdigest()[:16]
        if digest not in self._running:
            path = self._folder / f"{digest}.tar.gz"
            path.write_bytes(content)
            command = [
                sys.executable,
                "-m",
                "model_serving",
                "serve",
                str(path),
                "--name",
                "it",
                "--port",
                "0",
                "--json",
            ]
            process = subprocess.Popen(
                [*command, "--workers", "1"],
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert process.stdout is not None
            self._running[digest] = process, json.loads(process.stdout.readline())["url"]
        return self._running[digest][1]

    def close(self) -> None:
        """End them."""
        for process, _ in self._running.values():
            process.terminate()
        for process, _ in self._running.values():
            process.wait(20)
            assert process.stdout is not None
            process.stdout.close()


@contextmanager
def hosts(folder: Path) -> Iterator[Hosts]:
    """For as many tests as may share them."""
    found = Hosts(folder)
    try:
        yield found
    finally:
        found.close()


@dataclass
class Endpoints:
    """What the endpoints of a world do; by default all comes up at once and answers by its own archive."""

    world: World
    hosts: Hosts
    scripts: dict[str, Iterator[dict[str, Any]]] = field(default_factory=dict)
    """What the next looks at an endpoint show instead, by the beginning of its name."""
    instead: dict[str, bytes] = field(default_factory=dict)
    """The archive that answers in place of its own, by the beginning of the name."""
    answer: Callable[[str], Response | None] = lambda name: None
    """An answer in place of the model's."""
    rolls_back: str = ""
    """Why updates end with the configuration that was there."""
    archives: dict[str, bytes] = field(default_factory=dict)
    """What was read back from S3, by its URI."""
    shown: dict[str, str] = field(default_factory=dict)
    """The status that each endpoint was last shown with."""
    deleted: list[str] = field(default_factory=list)
    """Endpoints that were removed, in order."""
    asked: list[str] = field(default_factory=list)
    """Endpoints that were asked, in order."""

    @property
    def backend(self) -> Any:
        """moto's state."""
        from moto.sagemaker.models import sagemaker_backends

        return sagemaker_backends[ACCOUNT][REGION]

    def names(self) -> dict[str, list[str]]:
        """All that is there."""
        found = self.backend
        return {
            "endpoints": sorted(found.endpoints),
            "configs": sorted(found.endpoint_configs),
            "models": sorted(found._models),
        }

    def archive(self, name: str) -> bytes:
        """What SageMaker would unpack for an endpoint: read from S3, by its configuration and model."""
        config = self.backend.endpoint_configs[self.backend.endpoints[name].endpoint_config_name]
        model = self.backend._models[config.production_variants[0]["ModelName"]]
        uri = model.primary_container["ModelDataUrl"]
        if uri not in self.archives:
            bucket, _, key = uri.removeprefix("s3://").partition("/")
            self.archives[uri] = self.world.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return self.archives[uri]

    def application(self) -> Starlette:
        """`sagemaker-runtime`."""

        async def invoke(request: Request) -> Response:
            name, body = request.path_params["name"], await request.body()
            return await run_in_threadpool(self._invoke, name, body, dict(request.headers))

        return Starlette(routes=[Route("/endpoints/{name}/invocations", invoke, methods=["POST"])])

    def _invoke(self, name: str, body: bytes, headers: dict[str, str]) -> Response:
        self.asked.append(name)
        if name not in self.backend.endpoints:
            return JSONResponse({"message": f"{name} not found"}, 400, {"x-amzn-ErrorType": "ValidationError"})
        if other := self.answer(name):
            return other
        content = _by_beginning(self.instead, name)
        url = self.hosts.url(self.archive(name) if content is None else content)
        passed = {key: value for key, value in headers.items() if key.startswith(("content-type", "x-amzn-sagemaker"))}
        found = http.post(f"{url}/endpoints/it/invocations", body, headers=passed, timeout=60)
        kept = {
            key: value for key, value in found.headers.items() if key.lower().startswith(("content-type", "x-amzn"))
        }
        return Response(found.content, found.status_code, kept)


def _by_beginning(found: Mapping[str, Any], name: str) -> Any:
    fitting = [key for key in found if name.startswith(key)]
    return found[max(fitting, key=len)] if fitting else None


def model_error(status: int, message: str) -> Response:
    """What the runtime says where the container answers with an error."""
    content = {"Message": "no", "OriginalStatusCode": status, "OriginalMessage": message, "LogStreamArn": "arn"}
    return JSONResponse(content, 424, {"x-amzn-ErrorType": "ModelError"})


@contextmanager
def endpoints(root: Path, hosts: Hosts) -> Iterator[Endpoints]:
    """A world of `aws_world` with endpoints that answer."""
    with aws_world.world(root) as world, pytest.MonkeyPatch.context() as patch:
        found = Endpoints(world, hosts)
        _extend_moto(patch, found)
        with serving(found.application()) as url:
            patch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", url)
            yield found


def _extend_moto(patch: pytest.MonkeyPatch, world: Endpoints) -> None:
    from moto.core.responses import ActionResult
    from moto.sagemaker.exceptions import ValidationError
    from moto.sagemaker.models import FakeEndpointConfig, SageMakerModelBackend
    from moto.sagemaker.responses import SageMakerResponse

    look = SageMakerModelBackend.describe_endpoint

    def describe_endpoint(self: Any, endpoint_name: str) -> Any:
        found = look(self, endpoint_name)
        script = _by_beginning(world.scripts, endpoint_name)
        found = {**found, **(next(script, {}) if script is not None else {})}
        world.shown[endpoint_name] = found["EndpointStatus"]
        return found

    def update_endpoint(self: Any) -> Any:
        asked = {key: self._get_param(key) for key in ("EndpointName", "EndpointConfigName")}
        kept = bool(self._get_param("RetainAllVariantProperties"))
        return ActionResult({"EndpointArn": _update(world, **asked, kept=kept)})

    remove = SageMakerModelBackend.delete_endpoint

    def delete_endpoint(self: Any, endpoint_name: str) -> None:
        """As AWS: not while it changes, which does not use up the script."""
        if world.shown.get(endpoint_name) in CHANGING:
            raise ValidationError(message=f"Cannot delete {endpoint_name}: it is {world.shown[endpoint_name]}")
        world.deleted.append(endpoint_name)
        remove(self, endpoint_name)

    patch.setattr("model_serving.aws.invoke.PAUSE_SECONDS", 0.01)
    patch.setattr(SageMakerModelBackend, "delete_endpoint", delete_endpoint)
    patch.setattr(SageMakerModelBackend, "describe_endpoint", describe_endpoint)
    patch.setattr(SageMakerResponse, "update_endpoint", update_endpoint, raising=False)
    patch.setattr(FakeEndpointConfig, "validate_instance_type", lambda *_: None)  # it knows none after 2020


def _update(world: Endpoints, EndpointName: str, EndpointConfigName: str, kept: bool) -> str:
    """As AWS does, with two of its refusals."""
    from moto.applicationautoscaling.models import applicationautoscaling_backends
    from moto.sagemaker.exceptions import ValidationError

    backend = world.backend
    endpoint = backend.endpoints[EndpointName]
    old, new = (backend.describe_endpoint_config(name) for name in (endpoint.endpoint_config_name, EndpointConfigName))
    before, after = old["ProductionVariants"][0], new["ProductionVariants"][0]
    scaled = applicationautoscaling_backends[ACCOUNT][REGION].targets.get("sagemaker:variant:DesiredInstanceCount", {})
    if f"endpoint/{EndpointName}/variant/AllTraffic" in scaled and before["InstanceType"] != after.get("InstanceType"):
        raise ValidationError(
            message="The instance type of a variant that is a target for automatic scaling is changed."
        )
    if "ServerlessConfig" in after and "ServerlessConfig" not in before:
        raise ValidationError(message="An endpoint with instances cannot become serverless.")
    if world.rolls_back:
        endpoint.failure_reason = world.rolls_back
        return str(endpoint.arn)
    count = endpoint.production_variants[0].get("DesiredInstanceCount")
    endpoint.endpoint_config_name = EndpointConfigName
    endpoint.production_variants = endpoint._process_production_variants(new["ProductionVariants"])
    endpoint.data_capture_config = new["DataCaptureConfig"]
    if kept and count:
        endpoint.production_variants[0].update(CurrentInstanceCount=count, DesiredInstanceCount=count)
    return str(endpoint.arn)


@dataclass
class Told:
    """What was said."""

    lines: list[str] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        """Keep it."""
        self.lines.append(line)

    def __contains__(self, text: str) -> bool:
        return any(text in line for line in self.lines)


@dataclass
class Try:
    """One deployment, ready to go: the requests it sends are kept by operation."""

    made: Deployment
    live: dict[str, Any] | None
    sent: dict[str, list[dict[str, Any]]]
    said: Told

    def go(self) -> None:
        """Do it."""
        deploy.deploy(self.made, self.live)


OPERATIONS = ("CreateModel", "CreateEndpointConfig", "CreateEndpoint", "UpdateEndpoint", "DeleteEndpoint")


def connection(**options: Any) -> Aws[EndpointOptions]:
    """With the world's bucket and role, and two tries a request."""
    return connect(EndpointOptions.from_texts({"bucket": BUCKET, "role": ROLE, **options}), attempts=2)


def attempt(path: Path, name: str = "dogs", *, gate: bool = True, **given: Any) -> Try:
    """`deploy` as the command does it, up to where something is made."""
    folder, report = given.pop("golden", None), given.pop("report", None)
    texts = {"bucket": BUCKET, "role": ROLE, "bake_minutes": "0", **given}
    aws = connection(**texts)
    sent: dict[str, list[dict[str, Any]]] = {operation: aws_world.sent(aws, operation) for operation in OPERATIONS}
    live, said = describe(aws, name), Told()
    aws, _ = resolved(aws, texts, live)
    made = deploy.prepare(aws, path, deploy.Wanted(name, folder, gate, report), said, pace=PACE)
    return Try(made, live, sent, said)


def deployed(path: Path, name: str = "dogs", **given: Any) -> Try:
    """`attempt`, done."""
    found = attempt(path, name, **given)
    found.go()
    return found


def statuses(*values: str, **last: Any) -> Iterator[dict[str, Any]]:
    """A script of statuses, one a look."""
    yield from ({"EndpointStatus": value, **last} for value in values)


def versions(found: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Tags by key."""
    return {tag["Key"]: tag["Value"] for tag in found}
