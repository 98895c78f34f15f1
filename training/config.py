"""The one list of hyperparameters and options. Flags, SageMaker's hyperparameters and search ranges come from it.

TrainingConfig(backbone="resnet50", epochs=20)         in code
python -m training fit --backbone resnet50 --epochs 20  flags
{"backbone": "\"resnet50\"", "epochs": "20"}            SageMaker: JSON as text
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import ConfigError


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; a search draws them on a logarithmic scale if `log`."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Choices:
    """One of these values."""

    values: tuple[Any, ...]


def _setting(default: Any, help: str, *, allowed: Range | Choices | None = None, search: Any = None) -> Any:  # noqa: A002
    return field(default=default, metadata={"help": help, "allowed": allowed, "search": search})


_SHARE = Range(0, 1)


@dataclass(frozen=True)
class TrainingConfig:
    """All that decides a training run beside the photos.

    The defaults of the head were chosen on validation photos (docs/training.md): they bring a linear head on a
    frozen backbone past a plain logistic regression, also where some classes have a tenth of the others' photos.
    """

    backbone: str = _setting("resnet152", "Torchvision's name of the network, or efficientnet_lite0.")
    weights: str = _setting("", "A state_dict of the backbone to start from instead of its pretrained weights.")
    crop: int = _setting(
        0, "Pixels a side that the network sees; 0 takes what the weights were made for.", allowed=Range(0, 4096)
    )
    resize: int = _setting(
        0, "Pixels of the shorter side before the crop; 0 keeps the weights' ratio to the crop.", allowed=Range(0, 4096)
    )
    hidden: tuple[int, ...] = _setting(
        (), "Widths of the head's hidden layers, as 512 or 512,256; none is one linear layer.",
        search=Choices(((), (256,), (512,), (512, 256))),
    )  # fmt: skip
    dropout: float = _setting(
        0.0, "Share of inputs that each layer of the head forgets.", allowed=Range(0, 0.95), search=Range(0, 0.6)
    )
    epochs: int = _setting(40, "Passes of the head over the photos' features.", allowed=Range(1, 10_000))
    batch_size: int = _setting(
        64, "Photos a step of the head.", allowed=Range(1, 65_536), search=Choices((16, 32, 64, 128, 256))
    )
    learning_rate: float = _setting(
        0.005, "Largest step size of the head (SGD with momentum 0.9).",
        allowed=Range(1e-8, 100), search=Range(5e-4, 0.1, log=True),
    )  # fmt: skip
    weight_decay: float = _setting(
        0.01, "Pull of all weights to zero.", allowed=Range(0, 10), search=Range(1e-4, 0.1, log=True)
    )
    balance: float = _setting(
        1.0, "Weight of rare classes: 0 counts photos, 1 counts classes alike.", allowed=_SHARE, search=_SHARE
    )
    label_smoothing: float = _setting(0.0, "Share of each label that is spread over all classes.", allowed=_SHARE)
    patience: int = _setting(
        10, "Epochs without a better one before training stops; 0 never stops.", allowed=Range(0, 10_000)
    )
    views: int = _setting(1, "Views of each photo whose features are kept: 1 plain and the rest augmented.",
                          allowed=Range(1, 100))  # fmt: skip
    unfreeze: str = _setting("0", "Last stages of the backbone to train after the head: 0, a number, or all.")
    finetune_epochs: int = _setting(10, "Passes over the photos with the backbone unfrozen.", allowed=Range(1, 10_000))
    finetune_batch_size: int = _setting(32, "Photos a step then.", allowed=Range(1, 65_536))
    finetune_learning_rate: float = _setting(
        0.001, "Largest step size then, of the head.", allowed=Range(1e-8, 100), search=Range(1e-4, 0.01, log=True)
    )
    layer_decay: float = _setting(0.7, "Each stage further from the head steps smaller by this.", allowed=_SHARE)
    augment: str = _setting("light", "Augmentation then: light (part and mirror), strong (colours too) or none.",
                            allowed=Choices(("light", "strong", "none")))  # fmt: skip
    mixup: float = _setting(0.0, "Alpha of mixup then; 0 is off.", allowed=Range(0, 10))
    ema: float = _setting(0.0, "Decay of the averaged weights that are kept then, as 0.99; 0 is off.",
                          allowed=Range(0, 0.99999))  # fmt: skip
    amp: str = _setting("auto", "bfloat16 then: auto (on GPUs that have it), true or false.",
                        allowed=Choices(("auto", "true", "false")))  # fmt: skip
    workers: int = _setting(-1, "Processes that read photos then; -1 takes the cores that a GPU leaves idle.",
                            allowed=Range(-1, 1024))  # fmt: skip
    skip_unreadable: bool = _setting(False, "Train without photos that cannot be read instead of stopping.")
    seed: int = _setting(0, "Seed of every random choice but that of cached views.", allowed=Range(0, 2**32 - 1))

    def __post_init__(self) -> None:
        """ConfigError names the first value that is out of its range."""
        for option in dataclasses.fields(self):
            _check(option, getattr(self, option.name))
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
        ours = ("layer_decay", "augment", "mixup", "ema", "amp", "workers")
        chosen = [name for name in options() if name in ours or name.startswith("finetune_")]
        return [n for n in chosen if not self.finetunes and getattr(self, n) != options()[n].default]

    @classmethod
    def from_texts(cls, texts: Mapping[str, Any]) -> TrainingConfig:
        """Of hyperparameters by name, `-` as good as `_`, each JSON, plain text, or a value already.

        ConfigError names an unknown one and those there are.
        """
        values = {name.replace("-", "_"): value for name, value in texts.items()}
        if unknown := sorted(values.keys() - options().keys()):
            raise ConfigError(f"{unknown[0]} is no hyperparameter; there are {', '.join(options())}")
        return cls(**{name: parse(name, value) for name, value in values.items()})

    def as_dict(self) -> dict[str, Any]:
        """By name, JSON-ready; `from_texts` reads it back."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}


def options() -> dict[str, dataclasses.Field[Any]]:
    """The fields by name; their metadata has `help`, `allowed` and `search`."""
    return {option.name: option for option in dataclasses.fields(TrainingConfig)}


def search_space() -> dict[str, Range | Choices]:
    """What a search may vary, by name."""
    return {name: option.metadata["search"] for name, option in options().items() if option.metadata["search"]}


def parse(name: str, value: Any) -> Any:
    """The value of the field `name` out of a text: JSON first, since SageMaker's tuner quotes its choices.

    Lists may be written as `512,256`, truth values in any case. ConfigError if it is none of the field's type.
    """
    kind = type(options()[name].default)
    try:
        value = _as(kind, _unquoted(value) if kind is str else _loads(value))
        allowed = options()[name].metadata["allowed"]
        return value.lower() if isinstance(allowed, Choices) and kind is str else value
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{name}: {value!r} is no {_KINDS[kind]}") from None


_KINDS = {str: "text", int: "whole number", float: "number", bool: "truth value", tuple: "list of whole numbers"}


def _loads(value: Any) -> Any:
    """Unquoted as often as it was quoted; text that is no JSON stays."""
    while isinstance(value, str):
        try:
            found = json.loads(value)
        except ValueError:
            return value
        if found == value:
            return value
        value = found
    return value


def _unquoted(value: Any) -> Any:
    """Texts lose their JSON quotes; what only looks like a number stays as it was typed."""
    found = _loads(value)
    return found if found is None or not isinstance(value, str) or isinstance(found, str) else value.strip('"')


def _as(kind: type, value: Any) -> Any:
    if kind is tuple:
        return _widths(value)
    if kind is str:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return "" if value is None else json.dumps(value) if isinstance(value, bool) else str(value)
    if kind is bool:
        return _truth(value)
    if isinstance(value, bool) or (kind is int and float(value) != int(float(value))):
        raise ValueError
    return kind(float(value)) if kind is int else kind(value)


def _truth(value: Any) -> bool:
    text = str(value).lower()
    if text not in ("true", "false", "1", "0"):
        raise ValueError
    return text in ("true", "1")


def _widths(value: Any) -> tuple[int, ...]:
    if isinstance(value, str):
        value = [part for part in value.replace(" ", ",").split(",") if part and part.lower() != "none"]
    elif not isinstance(value, Sequence):
        value = [] if value is None or value == 0 else [value]
    return tuple(_as(int, part) for part in value)


def _check(option: dataclasses.Field[Any], value: Any) -> None:
    allowed = option.metadata["allowed"]
    if isinstance(allowed, Choices) and value not in allowed.values:
        raise ConfigError(f"{option.name}: {value!r} is none of {', '.join(allowed.values)}")
    if isinstance(allowed, Range) and not allowed.low <= value <= allowed.high:  # false for NaN too
        raise ConfigError(f"{option.name}: {value!r} is not from {allowed.low:g} to {allowed.high:g}")
