"""Script-mode entry point: the same run as `python -m training fit`, told by SageMaker's environment.

    estimator = PyTorch(entry_point="training/train.py", hyperparameters={"backbone": "resnet50", "epochs": 20}, …)
    estimator.fit({"train": "s3://…/train", "valid": "s3://…/valid", "test": "s3://…/test"})

Channels: `train`, and `valid` (or `validation`) and `test` where there are; or one channel with all three folders in
it. Hyperparameters come as flags and in SM_HPS, each parsed as JSON first. The model goes to SM_MODEL_DIR, metrics to
SM_OUTPUT_DATA_DIR; features and checkpoints to `checkpoints` beside the model, which SageMaker copies to S3 and back
when `checkpoint_s3_uri` is set, so that a spot job goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:
    # Started as a file: Python put this folder on the path, where our modules would hide others of their names.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

if TYPE_CHECKING:
    from training.data.layout import Dataset

CHANNELS = {"train": ("TRAIN", "TRAINING", "DATA"), "valid": ("VALID", "VALIDATION"), "test": ("TEST",)}
"""Names of SageMaker's channels by our name of the split."""


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> None:
    """Train by flags and environment; expected errors are one message on standard error and exit code 1.

    The message is what people read as the job's failure reason: there the toolkit puts what a job prints from the
    first line on that names one of Python's own exceptions.
    """
    from training.errors import TrainingError
    from training.monitor.quiet import hush

    hush()
    from model_serving.classifier import ClassifierError

    try:
        _train(_arguments(argv, environ), environ)
    except (TrainingError, ClassifierError) as error:
        print(f"{type(error).__name__}, an Exception: {error}", file=sys.stderr, flush=True)
        sys.exit(1)


def _arguments(argv: Sequence[str] | None, environ: Mapping[str, str]) -> argparse.Namespace:
    from training.config import TrainingConfig
    from training.errors import ConfigError

    parser = argparse.ArgumentParser(description="Train an image classifier as a SageMaker job.", allow_abbrev=False)
    for split, names in CHANNELS.items():
        found = next((environ[f"SM_CHANNEL_{name}"] for name in names if f"SM_CHANNEL_{name}" in environ), None)
        parser.add_argument(f"--{split}", default=found, help=f"Folder of the {split} photos.")
    own = {
        "model_dir": environ.get("SM_MODEL_DIR", "/opt/ml/model"),
        "output_data_dir": environ.get("SM_OUTPUT_DATA_DIR", "/opt/ml/output/data"),
        "name": environ.get("TRAINING_JOB_NAME"),
        "tensorboard": None,
    }
    for name, default in own.items():
        parser.add_argument(*_spellings(name), dest=name, default=default)
    for name, option in TrainingConfig.options().items():
        parser.add_argument(*_spellings(name), dest=name, default=None, help=option.metadata["help"].replace("%", "%%"))
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        raise ConfigError(f"{unknown[0]} is no hyperparameter; there are {', '.join(TrainingConfig.options())}")
    return arguments


def _spellings(name: str) -> list[str]:
    """SageMaker passes hyperparameters by the names they were given, people write dashes."""
    return list(dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}")))


def _train(arguments: argparse.Namespace, environ: Mapping[str, str]) -> None:
    from training.config import TrainingConfig
    from training.run import Place, run

    given = {
        name: getattr(arguments, name) for name in TrainingConfig.options() if getattr(arguments, name) is not None
    }
    config = TrainingConfig.from_texts(_environment_hyperparameters(environ, arguments) | given)
    model_dir = Path(arguments.model_dir)
    checkpoints = model_dir.parent / "checkpoints"
    place = Place(
        Path(arguments.output_data_dir),
        cache=checkpoints / "features",
        checkpoints=checkpoints,
        model_dir=model_dir,
        tensorboard=Path(arguments.tensorboard) if arguments.tensorboard else None,
    )
    run(_dataset(arguments), config, arguments.name or config.backbone, place)


def _environment_hyperparameters(environ: Mapping[str, str], arguments: argparse.Namespace) -> dict[str, Any]:
    """SM_HPS without what is no hyperparameter of the model but another flag of this script."""
    from training.config import TrainingConfig
    from training.errors import ConfigError

    try:
        found: dict[str, Any] = dict(json.loads(environ.get("SM_HPS", "{}")))
    except (TypeError, ValueError):
        raise ConfigError("SM_HPS is no JSON object of hyperparameters") from None
    own = vars(arguments).keys() - TrainingConfig.options().keys()
    return {name: value for name, value in found.items() if name.replace("-", "_") not in own}


def _dataset(arguments: argparse.Namespace) -> Dataset:
    from training.data import layout
    from training.errors import DataError

    if arguments.train is None:
        raise DataError("no photos: give the job a channel named train, or --train FOLDER.")
    train = Path(arguments.train)
    if arguments.valid is None and arguments.test is None:
        return layout.load(train)
    valid, test = (None if folder is None else Path(folder) for folder in (arguments.valid, arguments.test))
    return layout.load_channels(train, valid, test)


if __name__ == "__main__":
    main()
