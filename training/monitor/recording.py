"""The record of a run: a folder of JSON Lines, each line written at once, so that a kill loses none before it.

    run.json         what runs: settings, device, cores, classes, versions, status
    scalars.jsonl    loss, accuracy, learning rate, norms, activations, at saved steps and after each epoch
    steps.jsonl      where the time of each step went
    system.jsonl     processor, memory, disk, GPU
    phases.jsonl     from when to when the run did what
    operators.json   operators of the traced steps by time; trace.json.gz for chrome://tracing or ui.perfetto.dev
    findings.json    what the rules found, once the run has ended

A resumed run goes on in the same files and repeats steps it had not kept: of two lines for one step the later counts.
All times are seconds since 1970, all durations seconds, all shares from 0 to 1.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from training.errors import DataError

FORMAT = 1
TRAIN, EVAL = "TRAIN", "EVAL"
FEATURES, HEAD, FINETUNE = "features", "head", "finetune"
"""Stages: computing features of photos, training the head on them, training the unfrozen network on photos."""

T = TypeVar("T")


@dataclass(frozen=True)
class Scalars:
    """Numbers of one saved step (mode TRAIN) or of the validation after an epoch (mode EVAL); they may be inf or nan.

    TRAIN: `loss` (nats, mean over the batch), `accuracy`, `learning_rate`, `gradient_norm` and `weight_norm` of all
    that is trained; of each weight of the head and each unfrozen stage `gradient_norm/NAME`, `weight_norm/NAME`; of
    each layer of the head `activation_mean/NAME`, `activation_std/NAME`, for a ReLU also `zeros/NAME` (share of
    outputs) and `dead_units/NAME` (share of units that are zero for the whole batch).
    EVAL: `loss` (nats, as the model is), `loss_scaled` (at the temperature that suits it best), `accuracy`,
    `train_loss` (mean over the epoch), `recall_rare` and `recall_common` (mean recall of the classes with fewer than
    half as many training photos as the mean, and of the others; only where there are such).
    """

    t: float
    stage: str
    mode: str
    epoch: int
    step: int
    """Of the stage, from 1, through all epochs; for EVAL the last one before it."""
    values: dict[str, float]


@dataclass(frozen=True)
class Step:
    """Where the time of one step went; the rest of `total` is the recorder's own and Python's.

    Every step of finetune; of head the saved ones; of features one line for about 128 photos, with `wait` (reading
    and decoding) and `forward` alone.
    """

    t: float
    """When it ended."""
    stage: str
    epoch: int
    step: int
    photos: int
    wait: float
    copy: float
    forward: float
    backward: float
    optimizer: float
    total: float


@dataclass(frozen=True)
class Gpu:
    """One GPU at one moment: how busy it is, and bytes in use and there are."""

    utilization: float
    memory: int
    memory_total: int


@dataclass(frozen=True)
class SystemSample:
    """The machine at one moment, over the time since the sample before."""

    t: float
    cpu: float
    """Mean over all cores of the machine."""
    busiest: float
    """The busiest core."""
    iowait: float
    """Share of time in which a core had nothing to do but wait for a disk."""
    memory: int
    """Bytes in use on the machine."""
    memory_total: int
    process_memory: int
    """Bytes of this run, its loader's processes included."""
    read: float
    """Bytes a second."""
    written: float
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True)
class Phase:
    """One part of a run, as `start-up`, `features`, `head`, `finetune`, `calibration`; `end` is None if it did not."""

    name: str
    start: float
    end: float | None


@dataclass(frozen=True)
class Operator:
    """One operator of the traced steps; `device_seconds` is what a GPU took for it."""

    name: str
    calls: int
    self_seconds: float
    device_seconds: float


@dataclass(frozen=True)
class Recording:
    """All that is known of a run, in order of time."""

    about: dict[str, Any]
    """`format`, `name`, `started`, `ended` (or None), `status` (running, done, stopped, failed), `message`,
    `process_started` (or None), `hyperparameters`, `monitoring`, `device` {kind: cpu or cuda, name, memory}, `cores`,
    `processes`, `versions`, `train_counts` {class id: photos}, `photos` {split: photos}, `workers` (processes that
    read photos for finetune), `traced` [stage, first step, steps] or None."""
    scalars: list[Scalars] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    system: list[SystemSample] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)

    def of(self, stage: str, mode: str = TRAIN) -> list[Scalars]:
        """Scalars of a stage and mode."""
        return [line for line in self.scalars if line.stage == stage and line.mode == mode]

    def timed(self, stage: str) -> list[Step]:
        """Times of a stage's steps."""
        return [step for step in self.steps if step.stage == stage]

    @classmethod
    def read(cls, folder: Path) -> Recording:
        """The record in the folder, also of a run that goes on or was killed. DataError if there is none."""
        try:
            about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise DataError(f"{folder} is no record of a run. Give the folder that fit wrote to.") from None
        if about.get("format") != FORMAT:
            raise DataError(f"{folder} was recorded in format {about.get('format')}, this is {FORMAT}. Run fit again.")
        return cls(
            about,
            _last(_lines(folder, "scalars", _scalars), lambda line: (line.stage, line.mode, line.step)),
            _last(_lines(folder, "steps", lambda row: Step(**row)), _step_key),
            _lines(folder, "system", _sample),
            _last(_lines(folder, "phases", lambda row: Phase(**row)), lambda line: (line.name, line.start)),
            [Operator(**row) for row in _json(folder / "operators.json", [])],
        )


def as_line(value: Any) -> str:
    """One line of JSON for an object of this module; numbers that JSON does not have are texts."""
    return json.dumps(_finite(dataclasses.asdict(value)), separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _lines(folder: Path, name: str, make: Callable[[dict[str, Any]], T]) -> list[T]:
    """Objects of a file's lines; the last one may be half, of a run that was killed or is writing just now."""
    try:
        text = (folder / f"{name}.jsonl").read_text(encoding="utf-8")
    except OSError:
        return []
    found = []
    for line in text.split("\n"):
        try:
            found.append(make(json.loads(line)))
        except (ValueError, TypeError, KeyError):
            continue
    return found


def _last(lines: Iterable[T], key: Callable[[T], Any]) -> list[T]:
    """One line a key, the later one; in the order in which the keys came first."""
    return list({key(line): line for line in lines}.values())


def _step_key(step: Step) -> Any:
    """After a restart features are not computed again, so that all of their lines count."""
    return (step.stage, step.t) if step.stage == FEATURES else (step.stage, step.step)


def _scalars(row: dict[str, Any]) -> Scalars:
    return Scalars(**{**row, "values": {name: float(value) for name, value in row["values"].items()}})


def _sample(row: dict[str, Any]) -> SystemSample:
    return SystemSample(**{**row, "gpus": tuple(Gpu(**gpu) for gpu in row["gpus"])})


def _json(path: Path, otherwise: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return otherwise
