"""Options as fields of frozen dataclasses: flags, SageMaker's hyperparameters and search ranges come from them.

    @dataclass(frozen=True)
    class Options(Settings):
        epochs: int = setting(40, "Passes over the photos.", allowed=Range(1, 10_000))

Options.from_texts({"epochs": "20"})      SageMaker: JSON as text
--epochs 20                               the same text, from a command line
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from .errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Self


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


def setting(
    default: Any,
    help: str,  # noqa: A002  # what a flag shows
    *,
    allowed: Range | Choices | None = None,
    search: Range | Choices | None = None,
    on_request: bool = False,
    items: type = int,
) -> Any:
    """A field with its help, what is allowed, and what a search draws: always, or only `on_request`.

    `items` is the type within a tuple.
    """
    metadata = {"help": help, "allowed": allowed, "search": search, "on_request": on_request, "items": items}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """Base of such a dataclass; its fields are text, whole number, number, truth value, or tuple of one of these."""

    NOUN: ClassVar[str] = "option"
    PANEL: ClassVar[str] = "Options"
    """Above its flags in a command's help."""

    def __post_init__(self) -> None:
        """ConfigError names the first value that is out of its range."""
        for option in dataclasses.fields(self):
            _check(option, getattr(self, option.name))

    @classmethod
    def options(cls) -> dict[str, dataclasses.Field[Any]]:
        """The fields by name; their metadata has what was given to `setting`."""
        return {option.name: option for option in dataclasses.fields(cls)}

    @classmethod
    def from_texts(cls, texts: Mapping[str, Any]) -> Self:
        """Of values by name, `-` as good as `_`, each JSON, plain text, or a value already.

        ConfigError names an unknown one and those there are.
        """
        values = {name.replace("-", "_"): value for name, value in texts.items()}
        if unknown := sorted(values.keys() - cls.options().keys()):
            raise ConfigError(f"{unknown[0]} is no {cls.NOUN}; there are {', '.join(cls.options())}")
        return cls(**{name: cls.parse(name, value) for name, value in values.items()})

    @classmethod
    def parse(cls, name: str, value: Any) -> Any:
        """The value of the field `name` out of a text: JSON first, since SageMaker's tuner quotes its choices.

        Lists may be written as `512,256`, truth values in any case. ConfigError if it is none of the field's type.
        """
        option = cls.options()[name]
        kind, allowed = type(option.default), option.metadata["allowed"]
        try:
            if kind is tuple:
                return _several(option.metadata["items"], value)
            value = _as(kind, _unquoted(value) if kind is str else _loads(value))
        except (TypeError, ValueError, OverflowError):
            noun = f"list of {_KINDS[option.metadata['items']]}s" if kind is tuple else _KINDS[kind]
            raise ConfigError(f"{name}: {value!r} is no {noun}") from None
        return value.lower() if isinstance(allowed, Choices) and kind is str else value

    def as_dict(self) -> dict[str, Any]:
        """By name, JSON-ready; `from_texts` reads it back."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}

    def changed(self) -> dict[str, Any]:
        """Those of `as_dict` that are not the default."""
        return {name: v for name, v in self.as_dict().items() if getattr(self, name) != self.options()[name].default}


def as_text(value: Any) -> str:
    """A value as `from_texts` reads it back: tuples as `512,256` or `none`, truth values as `true`."""
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def shown(default: Any) -> str:
    """A default for people."""
    if isinstance(default, bool):
        return "yes" if default else "no"
    return as_text(default) or "none"


_KINDS = {str: "text", int: "whole number", float: "number", bool: "truth value"}


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


def _several(kind: type, value: Any) -> tuple[Any, ...]:
    value = _loads(value)
    if isinstance(value, str):
        value = [part for part in value.replace(" ", ",").split(",") if part and part.lower() != "none"]
    elif not isinstance(value, Sequence):
        value = [] if value is None or value == 0 else [value]
    return tuple(_as(kind, part) for part in value)


def _check(option: dataclasses.Field[Any], value: Any) -> None:
    allowed = option.metadata["allowed"]
    values = value if isinstance(value, tuple) else (value,)
    if isinstance(allowed, Choices):
        for one in values:
            if one not in allowed.values:
                raise ConfigError(f"{option.name}: {one!r} is none of {', '.join(allowed.values)}")
    if isinstance(allowed, Range):
        for one in values:
            if not allowed.low <= one <= allowed.high:  # false for NaN too
                raise ConfigError(f"{option.name}: {one!r} is not from {allowed.low:g} to {allowed.high:g}")
