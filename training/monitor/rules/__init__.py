"""What goes wrong in a run, read out of its record: each rule gives its evidence and the mend.

Rules have the names of SageMaker's debugger and profiler, and its thresholds where these make sense here; every one
that is another has its reason beside it.

learning     LossNotDecreasing, VanishingGradient, ExplodingTensor
layers       PoorWeightInitialization, DeadRelu
validation   Overfit, Overtraining, ClassImbalance
steps        Dataloader, StepOutlier, MaxInitializationTime
machine      LowGPUUtilization, CPUBottleneck, IOBottleneck, BatchSize, GPUMemoryIncrease
facts        what they share
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from ..finding import SKIPPED, Finding
from ..recording import Recording
from ..settings import DEBUG_RULES, PROFILE_RULES
from . import layers, learning, machine, steps, validation
from .facts import Run

RULES: dict[str, Callable[[Run], Finding]] = {
    "LossNotDecreasing": learning.loss_not_decreasing,
    "VanishingGradient": learning.vanishing_gradient,
    "ExplodingTensor": learning.exploding_tensor,
    "Overfit": validation.overfit,
    "Overtraining": validation.overtraining,
    "PoorWeightInitialization": layers.poor_weight_initialization,
    "DeadRelu": layers.dead_relu,
    "ClassImbalance": validation.class_imbalance,
    "LowGPUUtilization": machine.low_gpu_utilization,
    "CPUBottleneck": machine.cpu_bottleneck,
    "IOBottleneck": machine.io_bottleneck,
    "Dataloader": steps.dataloader,
    "BatchSize": machine.batch_size,
    "GPUMemoryIncrease": machine.gpu_memory_increase,
    "StepOutlier": steps.step_outlier,
    "MaxInitializationTime": steps.max_initialization_time,
}
"""What judges a recording, by the rule's name."""


def check(recording: Recording, names: Sequence[str] = DEBUG_RULES + PROFILE_RULES) -> list[Finding]:
    """One finding for each name, in their order; of partial recordings too, also while the run goes on."""
    run = Run(recording)
    return [dataclasses.replace(_judged(name, run), rule=name) for name in names]


def _judged(name: str, run: Run) -> Finding:
    """A rule that stumbles over a record must not end the training that it looks at."""
    try:
        return RULES[name](run)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return Finding(name, SKIPPED, f"The record is other than this rule expects ({type(error).__name__}: {error}).")
