"""How much of a run is recorded, and which findings end it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.errors import ConfigError
from training.settings import Choices, Range, Settings, setting

DEBUG_RULES = (
    "LossNotDecreasing",
    "VanishingGradient",
    "ExplodingTensor",
    "Overfit",
    "Overtraining",
    "PoorWeightInitialization",
    "DeadRelu",
    "ClassImbalance",
)
"""Of training itself, by the names that SageMaker's debugger gives them."""

PROFILE_RULES = (
    "LowGPUUtilization",
    "CPUBottleneck",
    "IOBottleneck",
    "Dataloader",
    "BatchSize",
    "GPUMemoryIncrease",
    "StepOutlier",
    "MaxInitializationTime",
)
"""Of where time and memory go, by the same names."""


@dataclass(frozen=True)
class Monitoring(Settings):
    """All that decides what is recorded; nothing of it changes the model, unless a rule stops the run."""

    NOUN: ClassVar[str] = "option of recording"
    PANEL: ClassVar[str] = "Recording and profiling"

    record_interval: int = setting(
        10, "Steps from one record of norms and activations to the next; 0 records nothing.", allowed=Range(0, 100_000)
    )
    system_interval: int = setting(
        500, "Milliseconds from one look at the machine to the next; 0 never looks.", allowed=Range(0, 60_000)
    )
    profile_steps: int = setting(
        0, "Steps that torch.profiler traces, for operators and a Chrome trace; it slows them.", allowed=Range(0, 100)
    )
    profile_after: int = setting(3, "Steps before that, which are slower than the rest.", allowed=Range(0, 100_000))
    stop_on: tuple[str, ...] = setting(
        (), "Rules whose finding ends training; the best epoch so far is packed.",
        allowed=Choices(DEBUG_RULES), items=str,
    )  # fmt: skip
    autotune_loader: bool = setting(
        False, "Try 0, 2, 4 … processes that read photos for a few steps, and take the fastest."
    )

    def __post_init__(self) -> None:
        """ConfigError too for what cannot be without a record."""
        super().__post_init__()
        if not self.record_interval and (self.stop_on or self.profile_steps):
            name = "stop_on" if self.stop_on else "profile_steps"
            raise ConfigError(f"{name}: nothing is recorded with record_interval 0. Take 1 or more.")
