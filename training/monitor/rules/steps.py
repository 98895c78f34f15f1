"""Where the time of steps goes: waiting for photos, single long steps, and the time before the first one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..finding import Finding
from ..recording import FINETUNE, Step
from . import facts
from .facts import Run, clear, found, quantile, skipped

LEAST_STEPS, LEAST_SAMPLES = 8, 8
"""Fewer do not show a pattern."""
WAITING = 0.2
"""Share of step time from which waiting is worth a word: what could be gained is at most a quarter more speed."""
MUCH = 0.4
"""Share from which it is said even where workers do not help: on a CPU some waiting is nothing to be mended."""
WORTH = 1.15
"""Times as fast as now, below which more workers are not worth their memory and the start of each epoch."""
HIDDEN = 1.05
"""Of the shortest step that any number of workers gives: the fewest within this are proposed."""
MOST_WORKERS = 16
"""As `photos.MAX_WORKERS`, which cannot be had without torch."""

OUTLIER_STEPS = 20
OUTLIER_SIGMAS, OUTLIER_TIMES = 3.0, 2.0
"""SageMaker's stddev, here of the median deviation, which outliers do not change; and at least twice the median, since
on steady machines three deviations are a few milliseconds."""
LEAST_OUTLIERS = 3
MOST_OUTLIERS = 0.1
"""More than this share of the steps is a rhythm: each worker hands over a batch in turn."""
OUTLIER_COST = 0.1
"""Share of all time that they cost; SageMaker counts ten outliers instead, however small."""
FIRST_STEPS = 3
"""Of a run, which take long by nature: memory is taken, kernels are chosen."""

START_MINUTES = 5.0
"""SageMaker's is 20, of a job whose container and photos come first; ours counts from the start of the process."""


@dataclass(frozen=True)
class Loading:
    """A step's mean seconds, and what more workers would make of it.

    `compute` is all but waiting; `work` the seconds that one process needs to read and decode a batch, of which
    `on_cores` is the share that keeps a core busy (the rest waits, as for a disk). On a CPU the passes need the cores
    too: `shared`.
    """

    compute: float
    work: float
    workers: int
    cores: float
    on_cores: float
    shared: bool

    def step(self, workers: int) -> float:
        """Expected seconds a step: the slower of the two, or what the cores have time for."""
        if not workers:
            return self.compute + self.work
        decoding = self.on_cores * self.work / self.cores
        return max(self.compute + decoding if self.shared else decoding, self.compute, self.work / workers)

    def best(self) -> int:
        """The fewest workers that come within 5 % of the shortest step."""
        counts = range(1, MOST_WORKERS + 1)
        shortest = min(map(self.step, counts))
        return next(count for count in counts if self.step(count) <= HIDDEN * shortest)


def dataloader(run: Run) -> Finding:
    """Steps wait for photos; how many workers would mend it, by the measured wait."""
    steps = _steady(run)
    if len(steps) < LEAST_STEPS:
        return skipped(f"{len(steps)} steps of fine-tuning are recorded; {LEAST_STEPS} would do.", FINETUNE)
    loading = _loading(run, steps)
    now, share = facts.mean([step.total for step in steps]), wait_share(run, FINETUNE)
    fact = f"Of a step of {now:.3g} s {share:.0%} is waiting for photos, with {_count(loading.workers)}"
    if share < WAITING:
        return clear(f"{fact}.", FINETUNE)
    workers = loading.best()
    expected = min(loading.step(workers), now)
    speedup = now / expected if expected else 1.0
    numbers = {"wait_share": share, "step": now}
    if workers > loading.workers and speedup >= WORTH:
        evidence = (
            f"{fact}: {loading.work:.3g} s of one process for each batch, beside {loading.compute:.3g} s of the rest"
        )
        mend = (
            f"Take --workers {workers}: about {expected:.3g} s a step, {speedup:.1f} times as fast"
            f"{_bound(loading, expected)}; or --autotune-loader, to have it tried out."
        )
        numbers |= {"workers": workers, "expected_step": expected, "speedup": speedup}
        return found(f"{evidence}.", mend, numbers, stage=FINETUNE)
    numbers |= {"workers": loading.workers, "expected_step": now, "speedup": 1.0}
    if loading.shared and not loading.workers and share < MUCH:
        return clear(f"{fact}; more would take the cores from the passes and gain little.", FINETUNE)
    there = f"{loading.cores:.0f} core{'s are' if loading.cores >= 2 else ' is'}"
    evidence = f"{fact}. More would not help: {there} what there is"
    mend = "Store the photos smaller or on a faster disk, take a machine with more cores, or try --autotune-loader."
    return found(f"{evidence}.", mend, numbers, stage=FINETUNE)


def wait_share(run: Run, stage: str) -> float:
    """Share of the time of steady steps that goes by waiting; 0 without any."""
    steps = _steady(run, stage)
    total = sum(step.total for step in steps)
    return sum(step.wait for step in steps) / total if total > 0 else 0.0


def _loading(run: Run, steps: Sequence[Step]) -> Loading:
    workers = int(max(0.0, facts.about(run, "workers", 0)))
    wait = facts.mean([step.wait for step in steps])
    compute = facts.mean([step.total for step in steps]) - wait
    # In series without workers. With them a batch comes every work / workers seconds, which is the step if it waits.
    work = (wait + compute) * workers if workers else wait
    cores = max(1.0, facts.about(run, "cores", 1) / max(1.0, facts.about(run, "processes", 1)))
    shared = not facts.on_gpu(run)
    return Loading(compute, work, workers, cores, _on_cores(run, steps, compute, work, cores, shared), shared)


def _on_cores(run: Run, steps: Sequence[Step], compute: float, work: float, cores: float, shared: bool) -> float:
    """Share of the readers' work that keeps cores busy: what the machine did beyond the passes; 1 if unknown."""
    start, end = steps[0].t - steps[0].total, steps[-1].t
    busy = [sample.cpu for sample in run.system if start <= sample.t <= end]
    if len(busy) < LEAST_SAMPLES or work <= 0:
        return 1.0
    used = facts.mean(busy) * cores * facts.mean([step.total for step in steps])
    passes = compute * (cores if shared else 1.0)
    return min(1.0, max(0.0, (used - passes) / work))


def _bound(loading: Loading, expected: float) -> str:
    if expected > loading.compute * HIDDEN and loading.shared:
        return f", and no faster, since readers and passes share {loading.cores:.0f} cores"
    if expected > loading.compute * HIDDEN:
        return f", which {loading.cores:.0f} cores and {MOST_WORKERS} workers at most allow"
    return ", which hides the loading"


def _count(workers: int) -> str:
    return {0: "no workers", 1: "1 worker"}.get(workers, f"{workers} workers")


def _steady(run: Run, stage: str = FINETUNE) -> list[Step]:
    """Steps without those that the profiler slowed, and without the first of each epoch and worker, which start up."""
    usable = [step for step in run.steps if step.stage == stage and step.total > 0 and not _traced(run, step)]
    skip = max(1, int(facts.about(run, "workers", 0))) if stage == FINETUNE else 1
    first: dict[int, int] = {}
    for step in usable:
        first[step.epoch] = min(step.step, first.get(step.epoch, step.step))
    steady = [step for step in usable if step.step >= first[step.epoch] + skip]
    # Epochs may be shorter than that.
    return steady if len(steady) >= LEAST_STEPS else usable[1:]


def _traced(run: Run, step: Step) -> bool:
    """Whether torch.profiler watched it, or was writing the result down just after."""
    window = run.about.get("traced")
    try:
        stage, first, steps = window  # type: ignore[misc]
        return bool(step.stage == stage and first <= step.step <= first + steps)
    except (TypeError, ValueError):
        return False


def step_outlier(run: Run) -> Finding:
    """A few steps take far longer than the rest, for a reason of their own."""
    steps = [step for step in _steady(run) if step.step > FIRST_STEPS]
    if len(steps) < OUTLIER_STEPS:
        return skipped(f"{len(steps)} steady steps of fine-tuning are recorded; {OUTLIER_STEPS} would do.", FINETUNE)
    usual = quantile([step.total for step in steps], 0.5)
    deviation = 1.4826 * quantile([abs(step.total - usual) for step in steps], 0.5)
    limit = max(usual + OUTLIER_SIGMAS * deviation, OUTLIER_TIMES * usual)
    long = [step for step in steps if step.total > limit]
    cost = sum(step.total - usual for step in long) / sum(step.total for step in steps)
    fact = f"{len(long)} of {len(steps)} steps took more than {limit:.3g} s, where {usual:.3g} s is usual"
    if len(long) > MOST_OUTLIERS * len(steps):
        return clear(f"{fact}: too many for outliers, so that is how these steps are; see Dataloader.", FINETUNE)
    if len(long) < LEAST_OUTLIERS or cost < OUTLIER_COST:
        return clear(f"{fact}, which cost {cost:.0%} of the time.", FINETUNE)
    slow, all_parts = [facts.parts(step) for step in long], [facts.parts(step) for step in steps]
    excess = {key: facts.mean([s[key] for s in slow]) - quantile([s[key] for s in all_parts], 0.5) for key in slow[0]}
    excess["rest"] = facts.mean([step.total for step in long]) - usual - sum(excess.values())
    phase = max(excess, key=excess.__getitem__)
    worst = max(long, key=lambda step: step.total)
    evidence = (
        f"{fact}, and cost {cost:.0%} of the time; mostly by {_PHASE_NAMES[phase]} (the longest is step {worst.step}, "
        f"{worst.total:.3g} s). The first steps of a run and of each epoch do not count."
    )
    mend = _MENDS.get(phase, "Look for other work on this machine at these moments; --profile-steps 20 shows more.")
    return found(evidence, mend, {"outliers": len(long), "cost": cost, "usual": usual}, stage=FINETUNE)


_PHASE_NAMES = {
    "wait": "waiting for photos",
    "copy": "the copy to the GPU",
    "forward": "the forward pass",
    "backward": "the backward pass",
    "optimizer": "the optimizer",
    "rest": "work between the phases",
}
_MENDS = {
    "wait": "Some photos take long to read: look for huge ones, or for a disk that pauses; more --workers hide it."
}


def max_initialization_time(run: Run) -> Finding:
    """The run takes long until it computes anything."""
    begun = facts.about(run, "process_started", math.nan)
    if math.isnan(begun):
        return skipped("When the process was started is not recorded.")
    # A resumed run goes on in the record of the one before.
    starts = [step.t - step.total for step in run.steps] + [line.t for line in run.scalars]
    first = min((t for t in starts if t >= begun), default=math.nan)
    last = max(
        (t for t in (facts.about(run, "ended", math.nan), *(s.t for s in run.system)) if t >= begun), default=math.nan
    )
    moment = last if math.isnan(first) else first
    if math.isnan(moment):
        return skipped("Nothing has been computed yet.")
    minutes = (moment - begun) / 60
    until = "without a single step" if math.isnan(first) else "to the first step"
    evidence = f"From the start of the process it took {minutes:.1f} minutes {until}."
    if minutes < START_MINUTES:
        return clear(evidence)
    early = [(phase.end - phase.start, phase.name) for phase in run.phases if phase.end and phase.start < moment]
    if early:
        evidence += f" The longest part was {max(early)[1]}, {max(early)[0] / 60:.1f} minutes."
    mend = "Put photos and weights on a local disk: every photo is read once at first, and --weights saves a download."
    return found(evidence, mend, {"minutes": minutes})
