"""What a job runs on and for how long; flags come from the fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from training.errors import ConfigError
from training.settings import Choices, Range, setting

from .account import Account

MAX_PARENTS = 5
"""So many earlier tuners may warm-start a new one (AWS's limit)."""

OLDEST = (2, 6)
"""PyTorch that the trainer needs at least."""

_SECONDS = 3600


@dataclass(frozen=True)
class JobOptions(Account):
    """How SageMaker runs a training or a search; nothing of it changes the model."""

    NOUN: ClassVar[str] = "option of SageMaker jobs"
    PANEL: ClassVar[str] = "SageMaker"
    OF_TUNERS: ClassVar[tuple[str, ...]] = (
        "parallel_jobs", "strategy", "early_stopping", "warm_start", "warm_start_type",
    )  # fmt: skip
    """Those that count for a tuner alone."""

    instance_type: str = setting("ml.g4dn.xlarge", "Machine of a job.")
    instance_count: int = setting(1, "Machines of a job.", allowed=Range(1, 100))
    volume_gb: int = setting(0, "Gigabytes of disk of each; 0 is by the size of the photos.", allowed=Range(0, 16_384))
    spot: bool = setting(False, "Spare capacity: cheaper, may be interrupted and then goes on from its checkpoint.")
    max_hours: float = setting(2.0, "Hours after which AWS ends a job.", allowed=Range(1 / 60, 672))
    max_wait_hours: float = setting(
        0.0, "With --spot, hours with the waiting for capacity; 0 is one more than max_hours.", allowed=Range(0, 673)
    )
    max_retries: int = setting(
        0, "Times AWS starts a job again that an error of its own has ended.", allowed=Range(0, 30)
    )
    keep_alive_minutes: float = setting(
        0.0, "Minutes that machines stay warm, and are billed, for the next job of the same kind; not with --spot.",
        allowed=Range(0, 60),
    )  # fmt: skip
    network_isolation: bool = setting(
        False, "No network for the code of a job, not even a package index; needs --weights and --no-debugger."
    )
    encrypt_traffic: bool = setting(False, "Encrypt what several machines tell one another; slower.")
    image_uri: str = setting("", "Container image of your own instead of AWS's for PyTorch.")
    framework_version: str = setting("2.8.0", "PyTorch of AWS's image; with an image of your own, what it holds.")
    py_version: str = setting("py312", "Python of AWS's image.")
    debugger: bool = setting(True, "SageMaker's debugger rules beside ours, on jobs that are no tuner's.")
    profiler: bool = setting(True, "SageMaker's profiler rules beside ours, on jobs that are no tuner's.")
    parallel_jobs: int = setting(2, "Jobs of a tuner at a time.", allowed=Range(1, 100))
    strategy: str = setting(
        "bayesian", "How a tuner draws: bayesian, hyperband, random, or grid (choices only).",
        allowed=Choices(("bayesian", "hyperband", "random", "grid")),
    )  # fmt: skip
    early_stopping: bool = setting(False, "Let a tuner end jobs that are worse than the others were by then.")
    warm_start: tuple[str, ...] = setting((), "Names of earlier tuners to learn from, at most five.", items=str)
    warm_start_type: str = setting(
        "identical", "Their photos and code: identical, or transfer where either has changed.",
        allowed=Choices(("identical", "transfer")),
    )  # fmt: skip

    def __post_init__(self) -> None:
        """ConfigError too for options that do not go together; AWS would say so minutes later, or never."""
        super().__post_init__()
        self._check_machine()
        self._check_time()
        self._check_tuner()

    def _check_machine(self) -> None:
        if not re.fullmatch(r"ml\.[a-z0-9-]+\.[a-z0-9]+", self.instance_type):
            raise ConfigError(f"instance_type: {self.instance_type!r} is none; take one like ml.g4dn.xlarge")
        if not re.fullmatch(r"\d+\.\d+\.\d+", self.framework_version):
            raise ConfigError(f"framework_version: take a full one like 2.8.0, found {self.framework_version!r}")
        if self.framework < OLDEST and not self.image_uri:
            oldest = ".".join(map(str, OLDEST))
            raise ConfigError(
                f"framework_version: jobs need PyTorch {oldest} or later, found {self.framework_version}. "
                f"Take {oldest}.0 or later, or give an --image-uri of your own"
            )
        if self.encrypt_traffic and self.instance_count == 1:
            raise ConfigError("encrypt_traffic: one machine talks to no other. Take more, or leave it out")

    def _check_time(self) -> None:
        if self.keep_alive_minutes and self.spot:
            raise ConfigError("keep_alive_minutes: AWS keeps no spot machines warm. Leave it out, or --spot")
        if not self.max_wait_hours:
            return
        if not self.spot:
            raise ConfigError("max_wait_hours: only spot jobs wait. Add --spot, or leave it out")
        if self.max_wait_hours < self.max_hours:
            raise ConfigError(
                f"max_wait_hours: {self.max_wait_hours:g} is less than the {self.max_hours:g} of max_hours, "
                "which it includes"
            )

    def _check_tuner(self) -> None:
        if self.strategy == "hyperband" and self.early_stopping:
            raise ConfigError("early_stopping: hyperband ends jobs by itself. Take one of the two")
        if self.strategy in ("hyperband", "grid") and self.warm_start:
            raise ConfigError(f"warm_start: {self.strategy} learns from no earlier tuner. Take bayesian or random")
        if len(self.warm_start) > MAX_PARENTS:
            raise ConfigError(f"warm_start: at most {MAX_PARENTS} earlier tuners, found {len(self.warm_start)}")
        if len(set(self.warm_start)) < len(self.warm_start):
            raise ConfigError("warm_start: the same tuner is named twice")

    @property
    def max_run_seconds(self) -> int:
        """After which AWS ends a job."""
        return round(self.max_hours * _SECONDS)

    @property
    def keep_alive_seconds(self) -> int | None:
        """How long machines stay warm after a job; None where they do not."""
        return round(self.keep_alive_minutes * 60) or None

    @property
    def max_wait_seconds(self) -> int | None:
        """The same with the waiting for spot capacity; None where nothing is waited for."""
        return round((self.max_wait_hours or self.max_hours + 1) * _SECONDS) if self.spot else None

    @property
    def framework(self) -> tuple[int, int]:
        """Major and minor version of PyTorch in the image."""
        major, minor, _ = self.framework_version.split(".")
        return int(major), int(minor)

    @property
    def has_gpu(self) -> bool:
        """By the family of the machine: AWS calls those with NVIDIA's GPUs g and p."""
        return re.match(r"ml\.[gp]\d", self.instance_type) is not None
