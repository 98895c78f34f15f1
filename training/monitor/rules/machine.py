"""Whether processor, disk and GPU are used as they could be; from samples twice a second.

Only phases that compute count: a GPU has nothing to do while photos are hashed or a head trains on known features.
Thresholds named SageMaker's are the defaults of its profiler rules, as shares.
"""

from __future__ import annotations

import math
from itertools import pairwise

from ..finding import Finding
from ..recording import FEATURES, FINETUNE, Gpu, SystemSample
from . import facts
from .facts import Run, clear, found, quantile, skipped
from .steps import wait_share

LEAST_SAMPLES = 20
"""Ten seconds at the default interval; SageMaker waits for 1000, which is more than most of our runs have."""

BUSY_P95 = 0.7
"""SageMaker's threshold_p95: a GPU that is never busier than this is too large for the work."""
BUSY_MEAN = 0.5
"""A GPU that is busy at times is half unused. SageMaker looks at the 5th percentile instead, which every pause between
epochs brings to zero."""

LONG_FEATURES = 120.0
"""Seconds below which it does not matter how features are computed: they are kept."""

CORES_BUSY, GPU_IDLE, MOST_SAMPLES = 0.9, 0.5, 0.5
"""SageMaker's cpu_threshold and threshold. Its gpu_threshold is 10 %, but a GPU that gets its batches late is busy in
between: half the time is idle enough."""

DISK_WAIT = 0.5
"""SageMaker's io_threshold; here of the processes that read, since of all cores a single one is hardly seen."""
MUCH_READ = 50e6
"""Bytes a second and process: several times what one can decode, so that reading it took a good part of the time."""
IDLE_READERS = 0.5
WAITING = 0.2

LOW_MEMORY, FILL = 0.7, 0.8
"""SageMaker's gpu_memory_threshold_p95, and how much of the memory a larger batch may take."""
FEW_STEPS = 20
"""An epoch of fewer steps is not given larger ones: there would be too few to train with."""

MEMORY_GROWTH = 0.05
"""Of the GPU's memory: SageMaker's increase."""
EACH_GROWTH, GROWN_PARTS = 0.005, 3
"""How much and how often from one eighth of the time to the next; what is taken once shows between two or three."""
GROWTH_SAMPLES = 40


def low_gpu_utilization(run: Run) -> Finding:
    """The GPU is never busy, or half the time not."""
    if word := _no_gpu(run):
        return word
    return facts.worst([_gpu_use(run, stage) for stage in _stages(run)])


def _gpu_use(run: Run, stage: str) -> Finding:
    samples = _during(run, stage)
    if word := _too_few(samples):
        return word
    if stage == FEATURES and samples[-1].t - samples[0].t < LONG_FEATURES:
        return clear("Features took less than two minutes, once and for all.", stage)
    busy = [_busy(run, sample) for sample in samples]
    high, usual = quantile(busy, 0.95), facts.mean(busy)
    evidence = f"While it computes {_what(stage)} the GPU is {usual:.0%} busy, and {high:.0%} at its busiest."
    if high >= BUSY_P95 and usual >= BUSY_MEAN:
        return clear(evidence, stage)
    share = wait_share(run, stage)
    if share > WAITING:
        evidence += f" It waits for photos {share:.0%} of the time."
    numbers = {"p95": high, "mean": usual, "wait_share": share}
    return found(evidence, _feed(stage, share), numbers, stage=stage)


def _feed(stage: str, share: float) -> str:
    if stage == FEATURES:
        return "Take more cores to decode photos, or a smaller GPU: the features are computed once and then kept."
    if share > WAITING:
        return "See Dataloader: take more --workers, or --autotune-loader to find out how many."
    return "Take a larger --finetune-batch-size, or a smaller GPU."


def cpu_bottleneck(run: Run) -> Finding:
    """All cores are busy while the GPU has nothing to do."""
    samples = [*_during(run, FINETUNE), *_during(run, FEATURES)]
    if not facts.on_gpu(run):
        used = f", and are {facts.mean([s.cpu for s in samples]):.0%} busy, as they should be" if samples else ""
        return skipped(f"No GPU: the cores are what computes{used}.")
    if word := _too_few(samples):
        return word
    stuck = [s for s in samples if s.cpu >= CORES_BUSY and _busy(run, s) < GPU_IDLE]
    share = len(stuck) / len(samples)
    evidence = f"In {share:.0%} of the time all cores are busy while the GPU is less than {GPU_IDLE:.0%} so."
    if share <= MOST_SAMPLES:
        return clear(evidence)
    mend = (
        "Take a machine with more cores for the GPU, or store the photos smaller: most of the work is to decode "
        "them. With --augment strong try light."
    )
    return found(evidence, mend, {"share": share})


def io_bottleneck(run: Run) -> Finding:
    """Those who read photos wait for the disk."""
    return facts.worst([_disk_use(run, stage) for stage in _stages(run)])


def _disk_use(run: Run, stage: str) -> Finding:
    samples = _during(run, stage)
    if word := _too_few(samples):
        return word
    cores, workers = max(1.0, facts.about(run, "cores", 1)), max(1.0, facts.about(run, "workers", 0))
    readers = min(workers, cores) if stage == FINETUNE else cores
    share = sum(s.iowait * cores / readers >= DISK_WAIT for s in samples) / len(samples)
    read, used = facts.mean([s.read for s in samples]), facts.mean([s.cpu for s in samples]) * cores
    waits = wait_share(run, stage)
    fact = f"{_megabytes(read)} a second are read while it computes {_what(stage)}"
    numbers = {"disk_wait": share, "read": read, "wait_share": waits}
    if waits > WAITING and share > MOST_SAMPLES:
        evidence = f"In {share:.0%} of the time at least half of those who read photos wait for the disk; {fact}."
        return found(evidence, _DISK, numbers, stage=stage)
    if waits > WAITING and used < IDLE_READERS * readers and read >= MUCH_READ * readers:
        evidence = f"Steps wait for photos {waits:.0%} of the time, though cores are idle; {fact}."
        return found(evidence, _DISK, numbers, stage=stage)
    return clear(f"{fact}; those who read wait for the disk in {share:.0%} of the time.", stage)


_DISK = "Copy the photos to a local disk, store them smaller, or read with more --workers, so that waits overlap."


def batch_size(run: Run) -> Finding:
    """GPU and its memory have room for a larger batch."""
    if word := _no_gpu(run):
        return word
    samples = _during(run, FINETUNE)
    if word := _too_few(samples):
        return word
    memory = quantile([max(map(_filled, s.gpus), default=0.0) for s in samples], 0.95)
    busy, cores = quantile([_busy(run, s) for s in samples], 0.95), quantile([s.cpu for s in samples], 0.95)
    batch = facts.setting(run, "finetune_batch_size")
    evidence = f"With {batch:.0f} photos a step the GPU is {busy:.0%} busy and its memory {memory:.0%} full."
    if memory >= LOW_MEMORY or busy >= BUSY_P95 or cores >= BUSY_P95:
        return clear(evidence)
    if wait_share(run, FINETUNE) > WAITING:
        return clear(f"{evidence} It waits for photos, so that a larger batch would not help: see Dataloader.")
    larger = batch * 2 ** max(1, math.floor(math.log2(FILL / memory)) if memory > 0 else 1)
    photos = facts.photos(run, "train")
    while larger > batch and photos and photos / larger < FEW_STEPS:
        larger /= 2
    if larger <= batch:
        return clear(f"{evidence} An epoch has too few steps for larger ones.")
    rate = facts.setting(run, "finetune_learning_rate") * math.sqrt(larger / batch)
    mend = f"Try --finetune-batch-size {larger:.0f}, with --finetune-learning-rate up to {rate:.2g}."
    return found(evidence, mend, {"memory": memory, "busy": busy, "batch_size": larger}, stage=FINETUNE)


def gpu_memory_increase(run: Run) -> Finding:
    """GPU memory grows on and on, as when losses are kept with all that they were computed from."""
    if word := _no_gpu(run):
        return word
    samples = _during(run, FINETUNE, last=True)
    if word := _too_few(samples, GROWTH_SAMPLES):
        return word
    filled = [max(map(_filled, s.gpus), default=0.0) for s in samples]
    size = len(filled) // 8
    # The first quarter is when memory is taken.
    parts = [facts.mean(filled[size * i : size * (i + 1)]) for i in range(2, 8)]
    grown, minutes = parts[-1] - parts[0], 5 * size * (samples[-1].t - samples[0].t) / (len(samples) - 1) / 60
    fact = f"GPU memory went from {parts[0]:.0%} to {parts[-1]:.0%} full within {minutes:.1f} minutes"
    steps_up = sum(after - before >= EACH_GROWTH for before, after in pairwise(parts))
    if grown < MEMORY_GROWTH or steps_up < GROWN_PARTS:
        return clear(f"{fact}.")
    left = max(0.0, 1 - filled[-1]) / grown * minutes
    mend = (
        "Equal photos need equal memory, so something is kept from step to step: in code of your own keep numbers "
        "(loss.item()), not tensors. Until then a smaller --finetune-batch-size makes it last longer."
    )
    return found(f"{fact}, steadily; in {left:.0f} minutes it is full.", mend, {"growth": grown, "minutes_left": left})


def _no_gpu(run: Run) -> Finding | None:
    if not facts.on_gpu(run):
        return skipped("No GPU: the run was on a processor.")
    if not any(sample.gpus for sample in run.system):
        return skipped("The GPU was not looked at. Install nvidia-ml-py, and leave --system-interval above 0.")
    return None


def _too_few(samples: list[SystemSample], least: int = LEAST_SAMPLES) -> Finding | None:
    if len(samples) >= least:
        return None
    return skipped(f"{len(samples)} looks at the machine while it computed are too few to tell; {least} would do.")


def _stages(run: Run) -> list[str]:
    """Those that there were, the last one first; features if there were none."""
    return [stage for stage in (FINETUNE, FEATURES) if _spans(run, stage)] or [FEATURES]


def _spans(run: Run, stage: str) -> list[tuple[float, float]]:
    """From when to when, as often as the run was started; one whose end is unknown lasts until another begins.

    Features have several phases, as `features of the tuned backbone`.
    """
    spans = []
    for phase in run.phases:
        if phase.name.partition(" ")[0] == stage:
            later = (other.start for other in run.phases if other.start > phase.start)
            spans.append((phase.start, phase.end if phase.end is not None else min(later, default=math.inf)))
    return spans


def _during(run: Run, stage: str, *, last: bool = False) -> list[SystemSample]:
    """Samples of the stage, or of its last start only."""
    spans = _spans(run, stage)[-1:] if last else _spans(run, stage)
    return [s for s in run.system if any(start <= s.t <= end for start, end in spans)]


def _busy(run: Run, sample: SystemSample) -> float:
    """Mean over as many GPUs as the run has processes, the busiest: others of the machine are not ours."""
    ours = sorted((gpu.utilization for gpu in sample.gpus), reverse=True)
    return facts.mean(ours[: max(1, int(facts.about(run, "processes", 1)))]) if ours else 0.0


def _filled(gpu: Gpu) -> float:
    return gpu.memory / gpu.memory_total if gpu.memory_total else 0.0


def _what(stage: str) -> str:
    return "features" if stage == FEATURES else "steps of fine-tuning"


def _megabytes(read: float) -> str:
    return f"{read / 1e6:.0f} MB"
