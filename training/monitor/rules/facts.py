"""What rules read out of a run, whatever is missing in it, and how they word their findings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from training.config import TrainingConfig

from ..finding import CLEAR, FOUND, SKIPPED, Finding
from ..recording import EVAL, FINETUNE, HEAD, TRAIN, Phase, Recording, Scalars, Step, SystemSample

STAGE_NAMES = {HEAD: "the head", FINETUNE: "fine-tuning"}
"""Of the stages that train, as sentences call them."""


class Run:
    """A recording as one look at it needs it: sorted once, since rules look again after every epoch.

    Of steps and samples only those whose numbers are numbers; of scalars all, since a loss may well be nan.
    """

    def __init__(self, recording: Recording) -> None:
        self.about: Mapping[str, Any] = recording.about
        self.scalars: Sequence[Scalars] = recording.scalars
        self.steps: Sequence[Step] = [s for s in recording.steps if _numbers(s.t, s.total, *parts(s).values())]
        self.system: Sequence[SystemSample] = [s for s in recording.system if _numbers(*_measured(s))]
        self.phases: Sequence[Phase] = [
            p for p in recording.phases if _numbers(p.start, p.start if p.end is None else p.end)
        ]
        self.explosions: dict[str, Finding] = {}
        """What ExplodingTensor says of each stage, which others ask as well."""
        self._lines: dict[tuple[str, str], list[Scalars]] = {}
        for line in self.scalars:
            self._lines.setdefault((line.stage, line.mode), []).append(line)

    def of(self, stage: str, mode: str = TRAIN) -> list[Scalars]:
        """Scalars of a stage and mode."""
        return self._lines.get((stage, mode), [])


def found(
    evidence: str, mend: str, values: Mapping[str, float], *, line: Scalars | None = None, stage: str = ""
) -> Finding:  # fmt: skip
    """Something is wrong, first seen at `line`. `check` adds the rule's name, here and below."""
    where = line.stage if line else stage
    return Finding("", FOUND, evidence, mend, where, line.step if line else None, dict(values))


def clear(evidence: str, stage: str = "") -> Finding:
    """Nothing is wrong."""
    return Finding("", CLEAR, evidence, stage=stage)


def skipped(missing: str, stage: str = "") -> Finding:
    """The recording cannot tell."""
    return Finding("", SKIPPED, missing, stage=stage)


def by_stage(run: Run, judge: Callable[[Run, str], Finding]) -> Finding:
    """What is wrong in a stage of training; else what can be said of the last one."""
    begun = run.of(FINETUNE) or run.of(FINETUNE, EVAL)
    return worst([judge(run, stage) for stage in ([FINETUNE, HEAD] if begun else [HEAD])])


def worst(words: Sequence[Finding]) -> Finding:
    """The first one that is FOUND, else CLEAR."""
    return min(words, key=lambda word: (FOUND, CLEAR, SKIPPED).index(word.status))


def setting(run: Run, name: str) -> float:
    """A hyperparameter that is a number; its default where it is not recorded."""
    return _number(_mapping(run.about.get("hyperparameters")).get(name), default(name))


def default(name: str) -> float:
    """What the hyperparameter is unless it was chosen."""
    value: float = getattr(TrainingConfig(), name)
    return value


def hidden(run: Run) -> bool:
    """Whether the head has hidden layers."""
    return bool(_mapping(run.about.get("hyperparameters")).get("hidden"))


def about(run: Run, name: str, otherwise: float) -> float:
    """A number of the description of the run."""
    return _number(run.about.get(name), otherwise)


def photos(run: Run, split: str) -> float:
    """How many photos a split has; 0 where nobody knows."""
    return _number(_mapping(run.about.get("photos")).get(split), 0)


def train_counts(run: Run) -> dict[str, float]:
    """Training photos by class id, without classes that have none."""
    counts = {str(name): _number(n, 0) for name, n in _mapping(run.about.get("train_counts")).items()}
    return {name: n for name, n in counts.items() if n > 0}


def chance(run: Run) -> float | None:
    """The loss of a model that holds all classes equally likely, ln(classes) nats."""
    classes = len(train_counts(run))
    return math.log(classes) if classes > 1 else None


def on_gpu(run: Run) -> bool:
    """Whether the run had a GPU."""
    return _mapping(run.about.get("device")).get("kind") == "cuda"


def ended(run: Run) -> bool:
    """Whether nothing more comes."""
    return run.about.get("status") in ("done", "stopped", "failed")


def batch_size(run: Run, stage: str) -> float:
    """Photos a step."""
    return setting(run, "batch_size" if stage == HEAD else "finetune_batch_size")


def planned_epochs(run: Run, stage: str) -> float:
    """As many as there will be, unless the stage ends early."""
    return setting(run, "epochs" if stage == HEAD else "finetune_epochs")


def smaller_step(run: Run, stage: str) -> str:
    """A mend: the default where that is far smaller, else a tenth."""
    flag, now, usual = _rate(run, stage)
    return f"Take a smaller step, as {flag} {usual if now >= 2 * usual else now / 10:g}."


def larger_step(run: Run, stage: str) -> str:
    """A mend: the default where that is far larger, else ten times as much."""
    flag, now, usual = _rate(run, stage)
    return f"Take a larger step, as {flag} {usual if now <= usual / 2 else now * 10:g}."


def series(lines: Iterable[Scalars], *names: str) -> list[tuple[Scalars, float]]:
    """The first of the names that a line has, where it is finite."""
    pairs = ((line, next((line.values[name] for name in names if name in line.values), math.nan)) for line in lines)
    return [(line, value) for line, value in pairs if math.isfinite(value)]


def validation_losses(run: Run, stage: str) -> list[tuple[Scalars, float]]:
    """Epoch by epoch at the best temperature, by which the epoch that is kept is chosen."""
    return series(run.of(stage, EVAL), "loss_scaled", "loss")


def parts(step: Step) -> dict[str, float]:
    """Seconds of a step by what they were spent on."""
    return {name: getattr(step, name) for name in ("wait", "copy", "forward", "backward", "optimizer")}


def mean(values: Sequence[float]) -> float:
    """nan for none."""
    return sum(values) / len(values) if values else math.nan


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed; nan for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan


def _rate(run: Run, stage: str) -> tuple[str, float, float]:
    name = "learning_rate" if stage == HEAD else "finetune_learning_rate"
    return f"--{name.replace('_', '-')}", setting(run, name), default(name)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)


def _measured(sample: SystemSample) -> tuple[float, ...]:
    gpus = (number for gpu in sample.gpus for number in (gpu.utilization, gpu.memory, gpu.memory_total))
    return (sample.t, sample.cpu, sample.iowait, sample.read, *gpus)


def _number(value: Any, otherwise: float) -> float:
    return float(value) if _numbers(value) else otherwise
