"""The one list of hyperparameters. Flags, SageMaker's hyperparameters and search ranges come from it.

TrainingConfig(backbone="resnet50", epochs=20)         in code
python -m training fit --backbone resnet50 --epochs 20  flags
{"backbone": "\"resnet50\"", "epochs": "20"}            SageMaker: JSON as text
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .errors import ConfigError
from .settings import Choices, Range, Settings, setting

_SHARE = Range(0, 1)


@dataclass(frozen=True)
class TrainingConfig(Settings):
    """All that decides a training run beside the photos.

    The defaults of the head were chosen on validation photos (docs/training.md): they bring a linear head on a
    frozen backbone past a plain logistic regression, also where some classes have a tenth of the others' photos.
    """

    NOUN: ClassVar[str] = "hyperparameter"
    PANEL: ClassVar[str] = "Hyperparameters"
    STAGE_OF_PHOTOS: ClassVar[tuple[str, ...]] = (
        "finetune_epochs", "finetune_batch_size", "finetune_learning_rate", "layer_decay", "augment", "mixup", "ema",
        "amp", "workers",
    )  # fmt: skip
    """Those that count in the unfrozen stage alone."""

    backbone: str = setting("resnet152", "Torchvision's name of the network, or efficientnet_lite0.")
    weights: str = setting("", "A state_dict of the backbone to start from instead of its pretrained weights.")
    crop: int = setting(
        0, "Pixels a side that the network sees; 0 takes what the weights were made for.", allowed=Range(0, 4096)
    )
    resize: int = setting(
        0, "Pixels of the shorter side before the crop; 0 keeps the weights' ratio to the crop.", allowed=Range(0, 4096)
    )
    hidden: tuple[int, ...] = setting(
        (), "Widths of the head's hidden layers, as 512 or 512,256; none is one linear layer.",
        search=Choices(((), (128,), (256,))),
    )  # fmt: skip
    dropout: float = setting(
        0.0, "Share of inputs that each layer of the head forgets.", allowed=Range(0, 0.95), search=Range(0, 0.5)
    )
    epochs: int = setting(40, "Passes of the head over the photos' features.", allowed=Range(1, 10_000))
    batch_size: int = setting(64, "Photos a step of the head.", allowed=Range(1, 65_536), search=Choices((32, 64, 128)))
    learning_rate: float = setting(
        0.005, "Largest step size of the head (SGD with momentum 0.9).",
        allowed=Range(1e-8, 100), search=Range(1e-4, 0.02, log=True),
    )  # fmt: skip
    weight_decay: float = setting(
        0.01, "Pull of all weights to zero.",
        allowed=Range(0, 10), search=Range(1e-4, 0.1, log=True), on_request=True,
    )  # fmt: skip
    balance: float = setting(
        1.0, "Weight of rare classes: 0 counts photos, 1 counts classes alike.",
        allowed=_SHARE, search=_SHARE, on_request=True,
    )  # fmt: skip
    label_smoothing: float = setting(
        0.0, "Share of each label that is spread over all classes.",
        allowed=_SHARE, search=Range(0, 0.2), on_request=True,
    )  # fmt: skip
    patience: int = setting(
        10, "Epochs without a better one before training stops; 0 never stops.", allowed=Range(0, 10_000)
    )
    views: int = setting(1, "Views of each photo whose features are kept: 1 plain and the rest augmented.",
                         allowed=Range(1, 100))  # fmt: skip
    unfreeze: str = setting("0", "Last stages of the backbone to train after the head: 0, a number, or all.")
    finetune_epochs: int = setting(10, "Passes over the photos with the backbone unfrozen.", allowed=Range(1, 10_000))
    finetune_batch_size: int = setting(32, "Photos a step then.", allowed=Range(1, 65_536))
    finetune_learning_rate: float = setting(
        0.001, "Largest step size then, of the head.",
        allowed=Range(1e-8, 100), search=Range(1e-4, 0.01, log=True), on_request=True,
    )  # fmt: skip
    layer_decay: float = setting(0.7, "Each stage further from the head steps smaller by this.", allowed=_SHARE)
    augment: str = setting("light", "Augmentation then: light (part and mirror), strong (colours too) or none.",
                            allowed=Choices(("light", "strong", "none")))  # fmt: skip
    mixup: float = setting(0.0, "Alpha of mixup then; 0 is off.", allowed=Range(0, 10))
    ema: float = setting(0.0, "Decay of the averaged weights that are kept then, as 0.99; 0 is off.",
                         allowed=Range(0, 0.99999))  # fmt: skip
    amp: str = setting("auto", "bfloat16 then: auto (on GPUs that have it), true or false.",
                        allowed=Choices(("auto", "true", "false")))  # fmt: skip
    workers: int = setting(-1, "Processes that read photos then; -1 takes the cores that a GPU leaves idle.",
                            allowed=Range(-1, 1024))  # fmt: skip
    golden: int = setting(
        32, "Photos that the archive keeps, shrunk, with the model's answers, to prove a deployment; 0 is none.",
        allowed=Range(0, 512),
    )  # fmt: skip
    skip_unreadable: bool = setting(False, "Train without photos that cannot be read instead of stopping.")
    seed: int = setting(0, "Seed of every random choice but that of cached views.", allowed=Range(0, 2**32 - 1))

    def __post_init__(self) -> None:
        """ConfigError names the first value that is out of its range."""
        super().__post_init__()
        if any(width < 1 for width in self.hidden):
            raise ConfigError(f"hidden: widths are at least 1, found {list(self.hidden)}")
        if self.unfreeze != "all" and not self.unfreeze.isdecimal():
            raise ConfigError(f"unfreeze: take a number of stages or all, found {self.unfreeze!r}")
        if self.resize and (self.crop or 1) > self.resize:
            raise ConfigError(f"resize: {self.resize} is smaller than the crop of {self.crop}")

    @property
    def unfrozen_stages(self) -> int | None:
        """How many of the last stages train after the head; None for all."""
        return None if self.unfreeze == "all" else int(self.unfreeze)

    @property
    def finetunes(self) -> bool:
        """Whether any part of the backbone is trained."""
        return self.unfrozen_stages != 0

    def idle(self) -> list[str]:
        """Names of options that were set for the unfrozen stage of a run that has none."""
        chosen = [name for name in self.changed() if name in self.STAGE_OF_PHOTOS]
        return [] if self.finetunes else chosen


def search_space() -> dict[str, Range | Choices]:
    """What a search varies unless it is told otherwise, by name: the ranges of the original's ten jobs."""
    found = TrainingConfig.options().items()
    return {name: o.metadata["search"] for name, o in found if o.metadata["search"] and not o.metadata["on_request"]}
