"""Recordings of runs that never were, for what reads them."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

from training.config import TrainingConfig
from training.monitor.recording import (
    EVAL,
    FEATURES,
    FINETUNE,
    FORMAT,
    HEAD,
    TRAIN,
    Gpu,
    Operator,
    Phase,
    Recording,
    Scalars,
    Step,
    SystemSample,
)
from training.monitor.settings import Monitoring

STARTED = 1_700_000_000.0


def about(**more: Any) -> dict[str, Any]:
    """What a run says of itself, finished unless told otherwise."""
    settings = TrainingConfig(backbone="resnet50", unfreeze="2", hidden=(256,), dropout=0.3)
    known = {
        "format": FORMAT,
        "name": "dogs",
        "started": STARTED,
        "ended": STARTED + 400,
        "status": "done",
        "message": None,
        "process_started": STARTED - 5,
        "hyperparameters": settings.as_dict(),
        "monitoring": Monitoring().as_dict(),
        "device": {"kind": "cuda", "name": "NVIDIA A10G", "memory": 24_000_000_000},
        "cores": 8,
        "processes": 1,
        "versions": {"python": "3.12.1", "torch": "2.8.0"},
        "train_counts": {"beagle": 40, "pug": 6},
        "photos": {"train": 46, "valid": 12, "test": 12},
        "workers": 4,
        "traced": None,
    }
    return known | more


def step(stage: str, number: int, t: float, total: float = 0.1, wait: float = 0.03, **more: Any) -> Step:
    """A step of 32 photos that forwards half of what it does not wait."""
    rest = total - wait
    known: dict[str, Any] = {
        "copy": 0.02 * rest,
        "forward": 0.5 * rest,
        "backward": 0.38 * rest,
        "optimizer": 0.06 * rest,
    }
    if stage == FEATURES:
        known = {"copy": 0.0, "forward": 0.96 * rest, "backward": 0.0, "optimizer": 0.0}
    known |= {"epoch": 1, "photos": 32} | more
    return Step(t=t, stage=stage, step=number, wait=wait, total=total, **known)


def sample(t: float, **more: Any) -> SystemSample:
    """The machine, moderately busy."""
    known: dict[str, Any] = {
        "cpu": 0.45, "busiest": 0.9, "iowait": 0.02, "memory": 9_000_000_000, "memory_total": 32_000_000_000,
        "process_memory": 3_000_000_000, "read": 20e6, "written": 1e6,
        "gpus": (Gpu(0.6, 8_000_000_000, 24_000_000_000),),
    }  # fmt: skip
    return SystemSample(t=t, **(known | more))


def training_scalars(stage: str, number: int, t: float, epoch: int, loss: float, generator: random.Random) -> Scalars:
    """A saved step of a head of two layers."""
    values = {"loss": loss, "accuracy": math.exp(-loss), "learning_rate": 0.01 * math.exp(-number / 400)}
    for name, size in (("head.0", 2.0), ("head.3", 0.7)):
        values[f"gradient_norm/{name}.weight"] = size * loss * generator.uniform(0.8, 1.2)
        values[f"weight_norm/{name}.weight"] = 10 * size + number / 100
        values[f"activation_mean/{name}"] = size * generator.uniform(-1, 1)
        values[f"activation_std/{name}"] = size * generator.uniform(0.9, 1.1)
    values |= {"gradient_norm": 2.1 * loss, "weight_norm": 21 + number / 100}
    values |= {"zeros/head.1": 0.5 + 0.05 * generator.random(), "dead_units/head.1": 0.02}
    return Scalars(t, stage, TRAIN, epoch, number, values)


def validation_scalars(stage: str, number: int, t: float, epoch: int, loss: float) -> Scalars:
    """Validation after an epoch."""
    values = {"loss": 1.1 * loss, "loss_scaled": loss, "accuracy": math.exp(-loss / 2), "train_loss": 0.8 * loss}
    return Scalars(t, stage, EVAL, epoch, number, values | {"recall_rare": 0.5, "recall_common": 0.8})


def trained(stage: str, start: float, seconds: float, epochs: int, steps: int, loss: float) -> Recording:
    """One stage of training, whose validation loss falls and at the end rises a little."""
    generator = random.Random(stage)
    found = Recording({})
    every = seconds / (epochs * steps)
    for number in range(1, epochs * steps + 1):
        epoch, t = (number - 1) // steps + 1, start + every * number
        total = every * generator.uniform(0.9, 1.1) * (4 if number == 7 else 1)
        found.steps.append(step(stage, number, t, total, 0.3 * total * generator.random(), epoch=epoch))
        now = loss * math.exp(-2 * number / (epochs * steps))
        if number == 1 or number % 10 == 0:
            found.scalars.append(
                training_scalars(stage, number, t, epoch, now * generator.uniform(0.7, 1.3), generator)
            )
        if number % steps == 0:
            late = max(epoch / epochs - 0.7, 0)
            found.scalars.append(validation_scalars(stage, number, t, epoch, now + late))
    return found


def finished(**more: Any) -> Recording:
    """A whole run: features, the head, two unfrozen stages; sampled twice a second, with GPU and operators."""
    t = STARTED
    generator = random.Random(0)
    phases = [
        Phase("start-up", t - 5, t + 2),
        Phase("features", t + 2, t + 60),
        Phase(HEAD, t + 60, t + 75),
        Phase(FINETUNE, t + 76, t + 360),
        Phase("features of the tuned backbone", t + 360, t + 395),
        Phase("calibration", t + 395, t + 397),
        Phase("packing", t + 397, t + 400),
    ]
    head = trained(HEAD, t + 60, 15, 12, 30, 1.6)
    finetune = trained(FINETUNE, t + 76, 284, 6, 60, 0.7)
    features = [step(FEATURES, n, t + 2 + n, 0.95, 0.2, photos=128) for n in range(1, 58)]
    system = [
        sample(
            t + n / 2,
            cpu=0.4 + 0.2 * math.sin(n / 30) + 0.1 * generator.random(),
            busiest=0.8 + 0.2 * generator.random(),
            read=2e7 * generator.random(),
            process_memory=int(3e9 + 2e6 * n),
            gpus=(Gpu(0.1 if n < 160 else 0.75 + 0.2 * generator.random(), int(4e9 + 5e6 * n), 24_000_000_000),),
        )
        for n in range(1, 800)
    ]
    operators = [
        Operator("aten::cudnn_convolution", 530, 0.02, 0.41),
        Operator("aten::addmm", 20, 0.001, 0.012),
        Operator("Optimizer.step#SGD.step", 10, 0.03, 0.1),
    ]
    return Recording(
        about(traced=[FINETUNE, 4, 10], **more),
        [*head.scalars, *finetune.scalars],
        [*features, *head.steps[9::10], *finetune.steps],
        system,
        phases,
        operators,
    )


def frozen(**more: Any) -> Recording:
    """Features and a head on a CPU, and nothing else."""
    whole = finished()
    settings = TrainingConfig(backbone="efficientnet_lite0").as_dict()
    cpu = {"kind": "cpu", "name": "x86_64", "memory": None}
    facts = {"hyperparameters": settings, "device": cpu, "traced": None, "ended": STARTED + 75} | more
    return Recording(
        about(**facts),
        [line for line in whole.scalars if line.stage == HEAD],
        [line for line in whole.steps if line.stage != FINETUNE],
        [dataclasses.replace(line, gpus=()) for line in whole.system if line.t < STARTED + 75],
        whole.phases[:3],
    )


def resumed(pause: float = 36_000, cut: float = 220) -> Recording:
    """The same run, killed in the middle of finetune and started again after a pause."""
    whole = finished()

    def later(t: float) -> float:
        return t if t < STARTED + cut else t + pause

    def moved(lines: list[Any]) -> list[Any]:
        return [dataclasses.replace(line, t=later(line.t)) for line in lines]

    restart = later(STARTED + cut)
    phases = [
        *whole.phases[:3],
        Phase(FINETUNE, STARTED + 76, None),
        Phase("start-up", restart, restart + 4),
        Phase(FINETUNE, restart + 4, later(STARTED + 360)),
        *(Phase(p.name, later(p.start), later(p.end or 0)) for p in whole.phases[4:]),
    ]
    facts = whole.about | {"ended": STARTED + 400 + pause, "process_started": restart}
    return Recording(facts, moved(whole.scalars), moved(whole.steps), moved(whole.system), phases, whole.operators)


def killed() -> Recording:
    """Cut off in the middle of finetune; nothing says so but the silence."""
    whole = finished(status="running", ended=None)
    end = STARTED + 220

    def before(lines: list[Any]) -> list[Any]:
        return [line for line in lines if line.t < end]

    phases = [*whole.phases[:3], Phase(FINETUNE, STARTED + 76, None)]
    return Recording(whole.about, before(whole.scalars), before(whole.steps), before(whole.system), phases)
