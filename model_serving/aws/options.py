"""What an endpoint runs on, how it is updated, and what it must hold to; flags come from the fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from training.aws.account import Account
from training.errors import ConfigError
from training.settings import Choices, Range, setting

SERVERLESS_STEP = 1024
"""Megabytes; AWS gives serverless endpoints one to six times as much."""

MAX_ALARMS = 8
"""SageMaker looks at ten during an update; two of them are ours."""

OFF = "off"
"""Ends what an update would keep."""

GPU_FAMILY = re.compile(r"ml\.[gp]\d")
"""AWS calls machines with NVIDIA's GPUs g and p."""


@dataclass(frozen=True)
class EndpointOptions(Account):
    """How SageMaker serves a model; nothing of it changes what the model answers."""

    NOUN: ClassVar[str] = "option of endpoints"
    PANEL: ClassVar[str] = "Endpoint"

    instance_type: str = setting("ml.m5.xlarge", "Machine of the endpoint.")
    instance_count: int = setting(1, "Machines to begin with.", allowed=Range(1, 100))
    runtime: str = setting(
        "pytorch", "AWS's image: pytorch (2.6, no patches since 2026-06-30) or ray (Ray Serve, PyTorch 2.10).",
        allowed=Choices(("pytorch", "ray")),
    )  # fmt: skip
    image_uri: str = setting("", "Container image of your own instead of AWS's for the runtime.")
    serverless_mb: int = setting(
        0, "Serverless with so many megabytes, 1024 to 6144 in steps of 1024; 0 takes machines.", allowed=Range(0, 6144)
    )
    max_concurrency: int = setting(5, "Requests at once of a serverless endpoint.", allowed=Range(1, 200))
    autoscale: str = setting("", "MIN:MAX machines, scaled by requests a machine; off ends it.")
    autoscale_target: int = setting(
        0, "Requests a machine and minute to scale by; 0 is 300, or 3000 with a GPU.", allowed=Range(0, 1_000_000)
    )
    data_capture: str = setting("", "s3:// URI where requests and answers are kept; off ends it.")
    capture_percent: int = setting(100, "Share of them.", allowed=Range(1, 100))
    canary: int = setting(
        10, "Percent of the machines that get traffic first in an update; 0 shifts all at once.", allowed=Range(0, 50)
    )
    bake_minutes: float = setting(5.0, "Minutes that alarms are watched after each shift.", allowed=Range(0, 60))
    alarms: tuple[str, ...] = setting((), "CloudWatch alarms of yours that roll an update back, too.", items=str)
    max_wait_minutes: float = setting(
        30.0, "Minutes to wait for an endpoint, without those of --bake-minutes.", allowed=Range(0.01, 480)
    )
    gate_labels: float = setting(0.98, "Share of golden photos that must keep their label.", allowed=Range(0, 1))
    gate_score: float = setting(0.05, "Mean difference of their scores, at most.", allowed=Range(0, 1))
    gate_slower: float = setting(2.0, "Times the latency of what is live, at most.", allowed=Range(1, 1000))

    def __post_init__(self) -> None:
        """ConfigError too for options that do not go together; AWS would say so minutes later, or never."""
        super().__post_init__()
        self._check_machine()
        self._check_serverless()
        self._check_scaling()
        if self.data_capture not in ("", OFF) and not re.fullmatch(r"s3://[^/]+(/.*)?", self.data_capture):
            raise ConfigError(f"data_capture: write s3://BUCKET/PREFIX, found {self.data_capture!r}")
        if len(self.alarms) > MAX_ALARMS:
            raise ConfigError(f"alarms: at most {MAX_ALARMS} of yours, found {len(self.alarms)}")

    def _check_machine(self) -> None:
        if not re.fullmatch(r"ml\.[a-z0-9-]+\.[a-z0-9]+", self.instance_type):
            raise ConfigError(f"instance_type: {self.instance_type!r} is none; take one like ml.m5.xlarge")

    def _check_serverless(self) -> None:
        if not self.serverless_mb:
            return
        if self.serverless_mb % SERVERLESS_STEP:
            raise ConfigError(f"serverless_mb: 1024 to 6144 in steps of 1024, found {self.serverless_mb}")
        if self.runtime == "ray":
            raise ConfigError("serverless_mb: Ray Serve needs more than serverless gives. Take --runtime pytorch")
        there = {
            "autoscale": self.scale,
            "data_capture": self.data_capture.removeprefix(OFF),
            "subnets": self.subnets,
            "alarms": self.alarms,
        }
        if unfit := next((name for name, value in there.items() if value), None):
            raise ConfigError(f"{unfit}: serverless endpoints have none. Leave it out, or take machines")
        if self.instance_count > 1:
            raise ConfigError("instance_count: serverless endpoints scale by themselves. Take --max-concurrency")

    def _check_scaling(self) -> None:
        if self.autoscale in ("", OFF):
            if self.autoscale_target:
                raise ConfigError("autoscale_target: only with --autoscale MIN:MAX. Give both")
            return
        if not (found := re.fullmatch(r"(\d{1,4}):(\d{1,4})", self.autoscale)):
            raise ConfigError(f"autoscale: write MIN:MAX like 1:4, found {self.autoscale!r}")
        low, high = int(found[1]), int(found[2])
        if not 1 <= low <= high:
            raise ConfigError(f"autoscale: from 1 machine up and MIN not above MAX, found {self.autoscale!r}")
        if self.instance_count > high:
            raise ConfigError(f"instance_count: {self.instance_count} is not within {self.autoscale} of autoscale")

    @property
    def scale(self) -> tuple[int, int] | None:
        """Least and most machines; None where their number stays."""
        low, _, high = self.autoscale.partition(":")
        return (int(low), int(high)) if high else None

    @property
    def initial_count(self) -> int:
        """Machines to begin with, not below those of autoscaling."""
        return max(self.instance_count, self.scale[0] if self.scale else 1)

    @property
    def has_gpu(self) -> bool:
        """By the family of the machine."""
        return not self.serverless_mb and GPU_FAMILY.match(self.instance_type) is not None

    @property
    def vcpus(self) -> int:
        """Of a machine by its size (`large` has 2, `xlarge` 4, `Nxlarge` N times 4), of serverless one a gigabyte."""
        if self.serverless_mb:
            return self.serverless_mb // SERVERLESS_STEP
        size = re.search(r"\.(\d*)xlarge$", self.instance_type)
        return 4 * int(size[1] or 1) if size else 2

    @property
    def gpus(self) -> int:
        """Of a machine by the SDK's table; of one that it does not know 1, if its family has any."""
        if not self.has_gpu:
            return 0
        from sagemaker import instance_types_gpu_info

        known = instance_types_gpu_info.retrieve(self.region or "us-east-1").get(self.instance_type)
        return int(known["Count"]) if known is not None else 1
