"""Rules of where time and memory go on recordings made up for it: what trips each one, and what just does not."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from training.config import TrainingConfig
from training.monitor.finding import CLEAR, FOUND, SKIPPED, Finding
from training.monitor.recording import (
    FEATURES,
    FINETUNE,
    HEAD,
    TRAIN,
    Gpu,
    Phase,
    Recording,
    Scalars,
    Step,
    SystemSample,
)
from training.monitor.rules import check
from training.monitor.settings import DEBUG_RULES, PROFILE_RULES, Monitoring
from training.photos import MAX_WORKERS

GB = 1_000_000_000
CPU, CUDA = {"kind": "cpu"}, {"kind": "cuda"}


def about(**more: Any) -> dict[str, Any]:
    """A run on one GPU with 16 cores and 4 workers."""
    known = {"hyperparameters": TrainingConfig(unfreeze="1").as_dict(), "photos": {"train": 10_000}, "device": CUDA}
    return {**known, "cores": 16, "processes": 1, "workers": 4, "status": "done", "traced": None, **more}


def steps(*pairs: tuple[float, float], epoch: int = 20, stage: str = FINETUNE) -> list[Step]:
    """Steps that wait and compute so long, one after another from time 0; `epoch` of them are one."""
    found, now = [], 0.0
    for number, (wait, compute) in enumerate(pairs):
        now += wait + compute
        spent = {"wait": wait, "copy": 0.0, "forward": 0.4 * compute, "backward": 0.6 * compute, "optimizer": 0.0}
        known = {"t": now, "epoch": number // epoch + 1, "step": number + 1, "photos": 32, "total": wait + compute}
        found.append(Step(stage=stage, **known, **spent))  # type: ignore[arg-type]
    return found


def samples(count: int, **values: Any) -> list[SystemSample]:
    """Looks at the machine every half second from time 0; a function as value is told which one it is."""
    known = {
        "cpu": 0.3, "busiest": 0.5, "iowait": 0.0, "memory": 8 * GB, "memory_total": 32 * GB, "process_memory": GB,
        "read": 1e6, "written": 0.0, "gpu": 0.9, "filled": 0.8,
    } | values  # fmt: skip
    found = []
    for number in range(count):
        now = {name: value(number) if callable(value) else value for name, value in known.items()}
        gpus = (Gpu(now.pop("gpu"), int(now.pop("filled") * 24 * GB), 24 * GB),)
        found.append(SystemSample(t=number / 2, gpus=gpus, **now))
    return found


def recording(steps: Sequence[Step] = (), system: Sequence[SystemSample] = (), **more: Any) -> Recording:
    """A run that did nothing but fine-tune."""
    return Recording(about(**more), [], list(steps), list(system), [Phase(FINETUNE, 0.0, None)])


def one(rule: str, recording: Recording) -> Finding:
    """The rule's word, which is whole, and names no flag that there is not."""
    (finding,) = check(recording, [rule])
    assert finding.rule == rule
    assert finding.evidence
    assert bool(finding.mend) == (finding.status == FOUND)
    flags = {f"--{name.replace('_', '-')}" for name in {**TrainingConfig.options(), **Monitoring.options()}}
    words = {word.strip(".,;:()") for word in finding.mend.split()}
    assert {word for word in words if word.startswith("--")} <= flags
    return finding


def test_without_a_gpu_its_rules_are_left_out() -> None:
    """And say why; that the cores are busy is what should be."""
    busy = [dataclasses.replace(sample, gpus=()) for sample in samples(40, cpu=0.97)]
    run = recording(steps(*[(0.01, 1.0)] * 40), busy, device=CPU, workers=0)
    for rule in ("LowGPUUtilization", "CPUBottleneck", "BatchSize", "GPUMemoryIncrease"):
        assert one(rule, run).status == SKIPPED
        assert "No GPU" in one(rule, run).evidence
    assert "97%" in one("CPUBottleneck", run).evidence
    assert not [finding for finding in check(run) if finding.status == FOUND]


def test_a_gpu_that_was_not_looked_at() -> None:
    """Says how to look."""
    run = recording(steps(*[(0.01, 1.0)] * 40))
    for rule in ("LowGPUUtilization", "BatchSize", "GPUMemoryIncrease"):
        assert "nvidia-ml-py" in one(rule, run).evidence


def test_a_healthy_run_on_a_gpu_trips_nothing() -> None:
    """Busy GPU, hidden loading, steady memory."""
    run = recording(steps(*[(0.01, 0.2)] * 100), samples(60))
    assert [finding.rule for finding in check(run) if finding.status == FOUND] == []
    assert {finding.status for finding in check(run, PROFILE_RULES[:-1])} == {CLEAR}


@pytest.mark.parametrize(
    ("gpu", "status"),
    [
        (0.71, CLEAR),
        (0.69, FOUND),
        (lambda n: 0.95 if n % 5 < 3 else 0.0, CLEAR),
        (lambda n: 0.95 if n % 2 else 0.0, FOUND),
    ],
)
def test_a_gpu_that_is_not_used(gpu: Any, status: str) -> None:
    """Never busy, or half the time not."""
    assert one("LowGPUUtilization", recording(system=samples(100, gpu=gpu))).status == status
    assert one("LowGPUUtilization", recording(system=samples(20, gpu=gpu))).status == status
    assert one("LowGPUUtilization", recording(system=samples(19, gpu=gpu))).status == SKIPPED


def test_why_a_gpu_is_not_used_decides_what_to_do() -> None:
    """It waits for photos, or its steps are small."""
    idle = samples(40, gpu=0.3)
    waits = one("LowGPUUtilization", recording(steps(*[(0.3, 0.2)] * 40), idle))
    assert "--workers" in waits.mend and "60%" in waits.evidence
    assert "--finetune-batch-size" in one("LowGPUUtilization", recording(steps(*[(0.01, 0.2)] * 40), idle)).mend


def test_only_phases_that_compute_count() -> None:
    """A GPU rests while the head trains on known features, and while photos are hashed."""
    run = recording(system=samples(100, gpu=lambda n: 0.95 if n >= 50 else 0.0))
    run.phases[:] = [Phase("start-up", 0, 10), Phase(HEAD, 10, 25), Phase(FINETUNE, 25, None)]
    assert one("LowGPUUtilization", run).status == CLEAR
    run.phases[:] = [Phase(FINETUNE, 0, None), Phase("calibration", 25, None)]
    assert one("LowGPUUtilization", run).status == FOUND


@pytest.mark.parametrize(("minutes", "status"), [(1.9, CLEAR), (2.1, FOUND)])
def test_features_that_take_long_on_an_idle_gpu(minutes: float, status: str) -> None:
    """Decoding's share is said; what takes a minute once does not matter."""
    run = recording(steps(*[(0.8, 0.2)] * 40, stage=FEATURES), samples(int(minutes * 120), gpu=0.2))
    run.phases[:] = [Phase("features", 0, None)]
    found = one("LowGPUUtilization", run)
    assert found.status == status and found.stage == FEATURES
    assert ("80%" in found.evidence) == (status == FOUND)


def test_other_gpus_of_the_machine_are_not_ours() -> None:
    """One process uses one of them, two use two."""
    other = Gpu(0.0, 0, 24 * GB)
    shared = [dataclasses.replace(sample, gpus=(other, *sample.gpus)) for sample in samples(40)]
    assert one("LowGPUUtilization", recording(system=shared)).status == CLEAR
    assert one("LowGPUUtilization", recording(system=shared, processes=2)).status == FOUND


@pytest.mark.parametrize(
    ("cpu", "gpu", "share", "status"),
    [(0.91, 0.45, 51, FOUND), (0.95, 0.3, 49, CLEAR), (0.85, 0.3, 51, CLEAR), (0.95, 0.55, 51, CLEAR)],
)
def test_cores_that_keep_a_gpu_waiting(cpu: float, gpu: float, share: int, status: str) -> None:
    """All of them, most of the time, while it is less than half busy."""
    system = samples(100, cpu=lambda n: cpu if n < share else 0.5, gpu=gpu)
    assert one("CPUBottleneck", recording(system=system)).status == status


@pytest.mark.parametrize(
    ("iowait", "wait", "status"),
    [(0.13, 0.0525, FOUND), (0.12, 0.3, CLEAR), (0.13, 0.0475, CLEAR)],
)
def test_readers_that_wait_for_the_disk(iowait: float, wait: float, status: str) -> None:
    """Half of the four, which is an eighth of 16 cores; only if steps wait for them."""
    run = recording(steps(*[(wait, 0.2)] * 40), samples(40, iowait=iowait, read=30e6))
    found = one("IOBottleneck", run)
    assert found.status == status
    assert "30 MB" in found.evidence


@pytest.mark.parametrize(
    ("cpu", "read", "status"), [(0.12, 210e6, FOUND), (0.13, 210e6, CLEAR), (0.1, 190e6, CLEAR)]
)  # fmt: skip
def test_a_disk_that_no_core_waits_for(cpu: float, read: float, status: str) -> None:
    """As over a network: much is read, and the readers compute little."""
    run = recording(steps(*[(0.3, 0.2)] * 40), samples(40, cpu=cpu, read=read))
    assert one("IOBottleneck", run).status == status


def test_a_disk_that_features_wait_for() -> None:
    """There every core reads."""
    for iowait, status in ((0.55, FOUND), (0.45, CLEAR)):
        run = recording(steps(*[(0.8, 0.2)] * 40, stage=FEATURES), samples(40, iowait=iowait), device=CPU, workers=0)
        run.phases[:] = [Phase("features", 0, None)]
        assert one("IOBottleneck", run).status == status


def loader(wait: float, compute: float, count: int = 60, **more: Any) -> Finding:
    """What Dataloader says of equal steps."""
    return one("Dataloader", recording(steps(*[(wait, compute)] * count), **more))


@pytest.mark.parametrize(("wait", "status"), [(0.24, CLEAR), (0.26, FOUND)])
def test_waiting_for_photos(wait: float, status: str) -> None:
    """From a fifth of the time on."""
    found = loader(wait, 1.0, workers=0)
    assert found.status == status
    assert f"{wait / (1 + wait):.0%}" in found.evidence


def test_workers_that_hide_the_loading_without_any_now() -> None:
    """In series 0.9 s of one process and 0.2 s of the GPU: five workers bring a batch each 0.18 s."""
    found = loader(0.9, 0.2, workers=0)
    assert found.values["workers"] == 5
    assert found.values["wait_share"] == pytest.approx(0.9 / 1.1)
    assert found.values["expected_step"] == pytest.approx(0.2)
    assert found.values["speedup"] == pytest.approx(5.5)
    assert "--workers 5" in found.mend and "hides the loading" in found.mend


def test_workers_that_hide_the_loading_of_two_now() -> None:
    """A batch each 0.5 s from two workers is 1 s of one; of the 0.2 s computed they hide it as five."""
    found = loader(0.3, 0.2, workers=2)
    assert found.values["workers"] == 5
    assert found.values["expected_step"] == pytest.approx(0.2)


def test_a_wait_in_bursts_is_the_same_wait() -> None:
    """Two workers hand their batches over together: one long wait, one none."""
    run = recording(steps(*[(0.6, 0.2), (0.0, 0.2)] * 30), workers=2)
    found = one("Dataloader", run)
    assert found.values["workers"] == 5
    assert found.values["speedup"] == pytest.approx(2.5)
    assert one("StepOutlier", run).status == CLEAR


def test_the_fewest_within_five_in_a_hundred_are_proposed() -> None:
    """Loading of 1.04 times the passes by four is as good as hidden; of 1.06 it is not."""
    assert loader(4.16, 1.0, workers=0).values["workers"] == 4
    assert loader(4.24, 1.0, workers=0).values["workers"] == 5


def test_cores_bound_what_workers_bring() -> None:
    """On a GPU with four cores loading of 2 s of one core takes half a second at least."""
    found = loader(2.0, 0.2, workers=0, cores=4)
    assert found.values["workers"] == 4
    assert found.values["expected_step"] == pytest.approx(0.5)
    assert "4 cores" in found.mend
    shared = loader(2.0, 0.2, workers=0, cores=8, processes=2)
    assert shared.values["expected_step"] == pytest.approx(0.5)


def test_never_more_workers_than_the_loader_has_by_itself() -> None:
    """More take memory and hardly read faster."""
    found = loader(40.0, 0.2, workers=0, cores=96)
    assert found.values["workers"] == MAX_WORKERS


def test_enough_workers_already() -> None:
    """Says so, and what else there is."""
    found = loader(0.3, 0.2, workers=4, cores=4)
    assert found.status == FOUND and found.values["speedup"] == 1.0 and found.values["workers"] == 4
    assert "would not help" in found.evidence
    assert "--workers" not in found.mend and "more cores" in found.mend


def test_on_a_cpu_readers_and_passes_share_the_cores() -> None:
    """Two cores: 1 s of reading by one of them takes half a second of both, which no number of workers hides."""
    found = loader(1.0, 1.0, workers=0, cores=2, device=CPU)
    assert found.values["workers"] == 1
    assert found.values["expected_step"] == pytest.approx(1.5)
    assert "share 2 cores" in found.mend
    assert loader(0.3, 1.0, workers=0, cores=2, device=CPU).status == CLEAR


def test_one_core_has_nothing_to_share() -> None:
    """Much waiting is said all the same, with what helps there."""
    assert loader(0.6, 1.0, workers=0, cores=1, device=CPU).status == CLEAR
    found = loader(0.7, 1.0, workers=0, cores=1, device=CPU)
    assert found.status == FOUND and "1 core is" in found.evidence and "--workers" not in found.mend


def test_readers_that_sleep_need_no_cores() -> None:
    """The machine was idle meanwhile, so they wait for something else than cores; that can be hidden."""
    pairs = [(2.0, 0.5)] * 20
    idle = recording(steps(*pairs), samples(100, cpu=0.2), workers=0, cores=2, device=CPU)
    assert one("Dataloader", idle).values["workers"] == 4
    assert one("Dataloader", idle).values["expected_step"] == pytest.approx(0.5)
    assert "hides the loading" in one("Dataloader", idle).mend
    decoding = recording(steps(*pairs), samples(100, cpu=0.6), workers=0, cores=2, device=CPU)
    assert one("Dataloader", decoding).values["expected_step"] == pytest.approx(1.5)


def test_steps_that_start_up_do_not_count() -> None:
    """The first one of each epoch and worker, and those that the profiler slowed."""
    epoch = [*[(9.0, 0.2)] * 4, *[(0.01, 0.2)] * 16]
    assert one("Dataloader", recording(steps(*epoch * 3))).status == CLEAR
    assert one("Dataloader", recording(steps(*epoch * 3), workers=3)).status == FOUND
    slow = [(0.01, 0.2)] * 8 + [(0.9, 0.9)] * 4 + [(0.01, 0.2)] * 8
    traced = recording(steps(*slow), workers=1, traced=[FINETUNE, 9, 3])
    assert one("Dataloader", traced).values == {} and "5%" in one("Dataloader", traced).evidence
    traced.about["traced"] = [HEAD, 9, 3]
    assert one("Dataloader", traced).status == FOUND


def test_short_epochs_are_taken_as_they_are() -> None:
    """Fewer steps than workers: nothing else is known."""
    assert loader(0.9, 0.2, count=9, workers=0).status == FOUND
    run = recording(steps(*[(0.9, 0.2)] * 12, epoch=2), workers=4)
    assert one("Dataloader", run).status == FOUND


def test_few_steps_are_no_pattern() -> None:
    """Seven after the first."""
    assert loader(0.9, 0.2, count=8, workers=0).status == SKIPPED
    assert one("Dataloader", recording()).status == SKIPPED


@pytest.mark.parametrize(
    ("filled", "gpu", "cpu", "status"),
    [(0.69, 0.69, 0.69, FOUND), (0.71, 0.5, 0.3, CLEAR), (0.3, 0.71, 0.3, CLEAR), (0.3, 0.5, 0.71, CLEAR)],
)
def test_room_for_a_larger_batch(filled: float, gpu: float, cpu: float, status: str) -> None:
    """In memory and time of the GPU, with cores to read the photos."""
    run = recording(steps(*[(0.01, 0.2)] * 40), samples(40, filled=filled, gpu=gpu, cpu=cpu))
    found = one("BatchSize", run)
    assert found.status == status
    assert ("--finetune-batch-size 64" in found.mend) == (status == FOUND)


def test_how_large_a_batch_may_become() -> None:
    """Four fifths of the memory, and epochs keep twenty steps; a GPU that waits for photos gets none."""
    small = samples(40, filled=0.1, gpu=0.4)
    hidden = steps(*[(0.01, 0.2)] * 40)
    assert one("BatchSize", recording(hidden, small)).values["batch_size"] == 256
    assert one("BatchSize", recording(hidden, samples(40, filled=0.105, gpu=0.4))).values["batch_size"] == 128
    assert one("BatchSize", recording(hidden, small, photos={"train": 2600})).values["batch_size"] == 128
    assert one("BatchSize", recording(hidden, small, photos={"train": 1200})).status == CLEAR
    waiting = one("BatchSize", recording(steps(*[(0.3, 0.2)] * 40), small))
    assert waiting.status == CLEAR and "Dataloader" in waiting.evidence


@pytest.mark.parametrize(
    ("filled", "status"),
    [
        (lambda n: 0.3 + 0.0009 * n, FOUND),
        (lambda n: 0.3 + 0.0008 * n, CLEAR),
        (lambda n: 0.2 if n < 25 else 0.6, CLEAR),
        (lambda n: 0.3 if n < 55 else 0.5, CLEAR),
        (lambda n: 0.3 if n < 62 else 0.5, CLEAR),
        (lambda n: 0.3 + 0.1 * (n // 20), FOUND),
    ],
)
def test_gpu_memory_that_grows(filled: Callable[[int], float], status: str) -> None:
    """On and on by a twentieth; not what is taken at first, nor once."""
    found = one("GPUMemoryIncrease", recording(system=samples(100, filled=filled)))
    assert found.status == status
    assert one("GPUMemoryIncrease", recording(system=samples(39, filled=filled))).status == SKIPPED


@pytest.mark.parametrize(("each", "status"), [(0.0055, FOUND), (0.0045, CLEAR)])
def test_gpu_memory_grows_more_than_once_or_twice(each: float, status: str) -> None:
    """Of six eighths of the time three begin with more than the one before."""
    levels = [0.3, 0.3, 0.3, 0.345, 0.345 + each, *[0.345 + 2 * each] * 3]
    run = recording(system=samples(96, filled=lambda n: levels[n // 12]))
    assert one("GPUMemoryIncrease", run).status == status


def test_memory_of_a_resumed_run_is_that_of_its_last_start() -> None:
    """Hours may lie between."""
    early, late = samples(50, filled=0.3), samples(50, filled=0.6)
    late = [dataclasses.replace(sample, t=sample.t + 36_000) for sample in late]
    run = recording(system=[*early, *late])
    run.phases[:] = [Phase(FINETUNE, 0, None), Phase("start-up", 35_990, 35_999), Phase(FINETUNE, 35_999, None)]
    assert one("GPUMemoryIncrease", run).status == CLEAR
    assert "60% to 60%" in one("GPUMemoryIncrease", run).evidence


def outliers(count: int, long: tuple[float, float], of: int = 100) -> Recording:
    """Steps of about 0.2 s, and some long ones among them."""
    chance = random.Random(0)
    pairs = [(0.01, 0.19 + 0.02 * chance.random()) for _ in range(of)]
    for number in range(count):
        pairs[30 + 6 * number] = long
    return recording(steps(*pairs, epoch=1000), workers=1)


@pytest.mark.parametrize(
    ("count", "long", "status"), [(2, 2.0, CLEAR), (3, 1.0, FOUND), (3, 0.8, CLEAR), (9, 0.5, FOUND), (11, 0.5, CLEAR)]
)
def test_a_few_long_steps(count: int, long: float, status: str) -> None:
    """At least three of twice the usual time that cost a tenth of all; more than one of ten are how steps are."""
    assert one("StepOutlier", outliers(count, (0.01, long))).status == status


@pytest.mark.parametrize(("long", "status"), [(0.6, CLEAR), (0.7, FOUND)])
def test_steps_that_differ_anyway_have_a_wider_limit(long: float, status: str) -> None:
    """Of 0.1, 0.2 and 0.3 s the median deviation is 0.1 s: 0.15 as sigma, so the limit is 0.64 s."""
    pairs = [(0.0, (0.1, 0.3, 0.2, 0.3, 0.1)[number % 5]) for number in range(100)]
    for number in range(9, 81, 9):
        pairs[number] = (0.0, long)
    assert one("StepOutlier", recording(steps(*pairs, epoch=1000), workers=1)).status == status


@pytest.mark.parametrize(("count", "status"), [(23, CLEAR), (22, SKIPPED)])
def test_few_steps_have_no_outliers(count: int, status: str) -> None:
    """Twenty after the first three."""
    assert one("StepOutlier", recording(steps(*[(0.01, 0.2)] * count, epoch=1000), workers=1)).status == status


def test_what_made_steps_long_is_named() -> None:
    """Waiting has its own mend."""
    found = one("StepOutlier", outliers(4, (3.0, 0.2)))
    assert "waiting for photos" in found.evidence and "--workers" in found.mend
    found = one("StepOutlier", outliers(4, (0.01, 3.0)))
    assert "backward pass" in found.evidence and "--profile-steps" in found.mend
    run = outliers(4, (0.01, 0.2))
    for number in (40, 50, 60, 70):
        run.steps[number] = dataclasses.replace(run.steps[number], total=3.0)
    assert "between the phases" in one("StepOutlier", run).evidence


def test_first_and_traced_steps_are_no_outliers() -> None:
    """They are known to be slow."""
    run = recording(steps(*[(0.01, 5.0)] * 3, *[(0.01, 0.2)] * 17, *[(0.01, 5.0), *[(0.01, 0.2)] * 19] * 4), workers=1)
    assert one("StepOutlier", run).status == CLEAR
    traced = outliers(1, (0.01, 0.2))
    for number in range(40, 44):
        traced.steps[number] = dataclasses.replace(traced.steps[number], total=5.0)
    assert one("StepOutlier", traced).status == FOUND
    traced.about["traced"] = [FINETUNE, 41, 4]
    assert one("StepOutlier", traced).status == CLEAR


@pytest.mark.parametrize(("minutes", "status"), [(4.9, CLEAR), (5.1, FOUND)])
def test_a_long_start(minutes: float, status: str) -> None:
    """From the process's start to the start of the first step, whichever comes first of what is recorded."""
    run = recording(steps(*[(0.5, 0.5)] * 9), process_started=-minutes * 60)
    run.phases.insert(0, Phase("start-up", -minutes * 60, -2.0))
    found = one("MaxInitializationTime", run)
    assert found.status == status
    assert ("start-up" in found.evidence) == (status == FOUND)
    run.scalars.append(Scalars(-3 * 60, HEAD, TRAIN, 1, 1, {}))
    assert one("MaxInitializationTime", run).status == CLEAR


def test_a_run_that_never_came_to_a_step() -> None:
    """As long as it is known to have lived."""
    assert one("MaxInitializationTime", recording()).status == SKIPPED
    assert one("MaxInitializationTime", recording(process_started=0.0)).status == SKIPPED
    assert one("MaxInitializationTime", recording(process_started=0.0, ended=301.0)).status == FOUND
    assert one("MaxInitializationTime", recording((), samples(601), process_started=-1.0)).status == FOUND


def test_a_resumed_run_starts_anew() -> None:
    """Steps before the restart are not its first ones."""
    run = recording(steps(*[(0.5, 0.5)] * 400), process_started=50.0)
    assert one("MaxInitializationTime", run).status == CLEAR
    later = [dataclasses.replace(step, t=step.t + 1000) for step in run.steps]
    assert one("MaxInitializationTime", recording([*run.steps[:20], *later], process_started=50.0)).status == FOUND


def test_numbers_that_are_none_are_left_out() -> None:
    """As JSON has them: nan is a text. Phases may lack an end, a run its description."""
    broken: Any = "nan"
    run = recording(steps(*[(0.01, 0.2)] * 40), samples(60))
    whole = check(run)
    run.steps.insert(20, dataclasses.replace(run.steps[19], wait=broken))
    run.steps.insert(20, dataclasses.replace(run.steps[19], total=float("inf")))
    run.system.insert(20, dataclasses.replace(run.system[19], cpu=broken))
    run.system.insert(20, dataclasses.replace(run.system[19], gpus=(Gpu(broken, 0, 0),)))
    run.phases.append(Phase("calibration", broken, None))
    assert check(run) == whole
    nothing = Recording({}, run.scalars, run.steps, run.system, run.phases)
    assert {finding.rule for finding in check(nothing)} == {*DEBUG_RULES, *PROFILE_RULES}
    zero = [dataclasses.replace(step, wait=0.0, total=0.0) for step in run.steps]
    assert check(recording(zero, samples(60, filled=0.0, gpu=0.0)))
