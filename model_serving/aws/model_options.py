"""What a model on SageMaker is made for where it has no endpoint of its own: in a registry, in a transform job."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from training.aws.account import Account
from training.settings import Choices, setting

from .options import EndpointOptions


@dataclass(frozen=True)
class ModelOptions(Account):
    """The machine and the image; AWS's images for CPUs and for GPUs differ."""

    NOUN: ClassVar[str] = "option of models"
    PANEL: ClassVar[str] = "Model"

    instance_type: str = setting("ml.m5.xlarge", "Machine that the image and its settings are for.")
    runtime: str = setting(
        "pytorch", "AWS's image: pytorch (2.6, no patches since 2026-06-30) or ray (Ray Serve, PyTorch 2.10).",
        allowed=Choices(("pytorch", "ray")),
    )  # fmt: skip
    image_uri: str = setting("", "Container image of your own instead of AWS's for the runtime.")

    def __post_init__(self) -> None:
        """ConfigError too for a machine that is none."""
        super().__post_init__()
        self.endpoint()

    def endpoint(self) -> EndpointOptions:
        """The same for what makes models."""
        return EndpointOptions(
            **account_of(self), instance_type=self.instance_type, runtime=self.runtime, image_uri=self.image_uri
        )


def account_of(options: Account) -> dict[str, Any]:
    """What options of any kind say of the account, by name."""
    return {option.name: getattr(options, option.name) for option in dataclasses.fields(Account)}
