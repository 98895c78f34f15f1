"""Script-mode entry point: the same run as `python -m training fit`, told by SageMaker's environment.

    estimator = PyTorch(entry_point="training/train.py", hyperparameters={"backbone": "resnet50", "epochs": 20}, …)
    estimator.fit({"train": "s3://…/train", "valid": "s3://…/valid", "test": "s3://…/test"})

Channels: `train`, and `valid` (or `validation`) and `test` where there are; or one channel with all three folders in
it. Hyperparameters come as flags and in SM_HPS, each parsed as JSON first. The model goes to SM_MODEL_DIR, metrics to
SM_OUTPUT_DATA_DIR; features and checkpoints to `checkpoints` beside the model, which SageMaker copies to S3 and back
when `checkpoint_s3_uri` is set, so that a spot job goes on where it was stopped.

With any option of a search, as `trials`, the job searches first and trains with what was best; what the search leaves
goes to SM_OUTPUT_DATA_DIR too. The job's record is in `recording` there.
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
    from training.config import TrainingConfig
    from training.data.layout import Dataset
    from training.run import Place
    from training.settings import Settings

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
    from training.errors import ConfigError

    parser = argparse.ArgumentParser(description="Train an image classifier as a SageMaker job.", allow_abbrev=False)
    for split, channels in CHANNELS.items():
        found = next((environ[f"SM_CHANNEL_{name}"] for name in channels if f"SM_CHANNEL_{name}" in environ), None)
        parser.add_argument(f"--{split}", default=found, help=f"Folder of the {split} photos.")
    own = {
        "model_dir": environ.get("SM_MODEL_DIR", "/opt/ml/model"),
        "output_data_dir": environ.get("SM_OUTPUT_DATA_DIR", "/opt/ml/output/data"),
        "name": environ.get("TRAINING_JOB_NAME"),
        "tensorboard": None,
    }
    for flag, default in own.items():
        parser.add_argument(*_spellings(flag), dest=flag, default=default)
    for kind in _kinds():
        for option in kind.options().values():
            text = option.metadata["help"].replace("%", "%%")
            parser.add_argument(*_spellings(option.name), dest=option.name, default=None, help=text)
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        names = ", ".join(name for kind in _kinds() for name in kind.options())
        raise ConfigError(f"{unknown[0]} is no hyperparameter; there are {names}")
    return arguments


def _spellings(name: str) -> list[str]:
    """SageMaker passes hyperparameters by the names they were given, people write dashes."""
    return list(dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}")))


def _kinds() -> tuple[type[Settings], ...]:
    """Whose fields are flags here."""
    from training.config import TrainingConfig
    from training.monitor.settings import Monitoring
    from training.search.options import SearchOptions

    return TrainingConfig, Monitoring, SearchOptions


def _train(arguments: argparse.Namespace, environ: Mapping[str, str]) -> None:
    from training.config import TrainingConfig
    from training.monitor.settings import Monitoring
    from training.run import Place, run

    hyperparameters, monitoring, search = (_given(kind, arguments, environ) for kind in _kinds())
    config = TrainingConfig.from_texts(hyperparameters)
    recorded = Monitoring.from_texts(monitoring)
    model_dir = Path(arguments.model_dir)
    checkpoints = model_dir.parent / "checkpoints"
    place = Place(
        Path(arguments.output_data_dir),
        cache=checkpoints / "features",
        checkpoints=checkpoints,
        model_dir=model_dir,
        tensorboard=Path(arguments.tensorboard) if arguments.tensorboard else None,
    )
    dataset, name = _dataset(arguments), arguments.name or config.backbone
    if search:
        config = _best(dataset, config, hyperparameters, search, place, name)
    run(dataset, config, name, place, recorded)


def _best(
    dataset: Dataset, config: TrainingConfig, given: Mapping[str, Any], search: Mapping[str, Any], place: Place,
    name: str,
) -> TrainingConfig:  # fmt: skip
    """What a search finds within this job; its trials survive where checkpoints do."""
    from training.errors import TrainingError
    from training.search.options import SearchOptions
    from training.search.run import search as run_search
    from training.search.space import space

    options = SearchOptions.from_texts(search)
    # A journal is only ever added to, so that what is copied of it while it grows can be gone on from.
    storage = str(place.folders().checkpoints / "study.journal")
    dimensions = space(given, options.search, config)
    found = run_search(dataset, config, dimensions, options, place.output, name, storage, place.folders().features)
    if found is None:
        raise TrainingError("no trial of the search has ended. Give it more trials or more minutes.")
    return found


def _given(kind: type[Settings], arguments: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, Any]:
    """Values of one kind of settings: of flags, else of SM_HPS, where a name with `-` is as good as with `_`."""
    from training.errors import ConfigError

    try:
        hyperparameters = dict(json.loads(environ.get("SM_HPS", "{}")))
    except (TypeError, ValueError):
        raise ConfigError("SM_HPS is no JSON object of hyperparameters") from None
    texts = {name.replace("-", "_"): value for name, value in hyperparameters.items()}
    if unknown := sorted(texts.keys() - vars(arguments).keys()):
        names = ", ".join(name for kind in _kinds() for name in kind.options())
        raise ConfigError(f"{unknown[0]} is no hyperparameter; there are {names}")
    flags = {name: value for name in kind.options() if (value := getattr(arguments, name)) is not None}
    return {name: value for name, value in texts.items() if name in kind.options()} | flags


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
