"""Which hyperparameters a search draws, and from what.

By default those of `config.search_space()`. A hyperparameter that is given a value is not searched. `--search` adds
dimensions or changes their ranges, one after another, parted by spaces:

    weight_decay                     as it is declared in TrainingConfig
    learning_rate=0.001:0.1:log      a range, on a logarithmic scale
    epochs=20:80                     whole numbers, since epochs are
    backbone=resnet50|resnet152      choices
    hidden=none|256|512,256
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from training.config import TrainingConfig, search_space
from training.errors import ConfigError
from training.settings import Choices, Range, as_text

Space = dict[str, Range | Choices]

NOT_SEARCHED = ("weights", "seed", "skip_unreadable", "workers", "amp", "patience")
"""What changes no model, or makes trials incomparable."""


def space(given: Iterable[str], wishes: str, config: TrainingConfig) -> Space:
    """The dimensions of a search with `config` for all else, where values for the names `given` are fixed.

    ConfigError for what cannot be searched, with the mend.
    """
    found = {name: dimension for name, dimension in search_space().items() if name not in set(given)}
    for wish in wishes.replace(";", " ").split():
        name, _, text = wish.partition("=")
        name = name.replace("-", "_")
        _require_searchable(name, config)
        found[name] = _dimension(name, text) if text else _declared(name)
    for name, dimension in found.items():
        _require_allowed(name, dimension, config)
    if not found:
        raise ConfigError("nothing is left to search: every hyperparameter has been given a value")
    return found


def text(value: Any) -> Any:
    """A value as Optuna keeps it: numbers as they are, widths as `512,256` or `none`."""
    return as_text(value) if isinstance(value, tuple) else value


def is_whole(name: str) -> bool:
    """Whether a range of the hyperparameter has whole numbers only."""
    return isinstance(TrainingConfig.options()[name].default, int)


def contains(dimension: Range | Choices, value: Any) -> bool:
    """Whether a search could draw the value."""
    if isinstance(dimension, Choices):
        return value in dimension.values
    return bool(dimension.low <= value <= dimension.high)


def _require_searchable(name: str, config: TrainingConfig) -> None:
    if name not in TrainingConfig.options():
        raise ConfigError(f"search: {name} is no hyperparameter; there are {', '.join(TrainingConfig.options())}")
    if name in NOT_SEARCHED:
        raise ConfigError(f"search: {name} makes no better model. Leave it out.")
    if name in config.STAGE_OF_PHOTOS and not config.finetunes:
        raise ConfigError(f"search: {name} does nothing without --unfreeze. Add --unfreeze 1, or leave it out.")


def _declared(name: str) -> Range | Choices:
    found: Range | Choices | None = TrainingConfig.options()[name].metadata["search"]
    if found is None:
        raise ConfigError(f"search: {name} has no range of its own. Give one, as {name}=LOW:HIGH or {name}=A|B.")
    return found


def _dimension(name: str, wish: str) -> Range | Choices:
    if ":" not in wish:
        return Choices(tuple(dict.fromkeys(TrainingConfig.parse(name, part) for part in wish.split("|"))))
    low, _, rest = wish.partition(":")
    high, _, scale = rest.partition(":")
    kind = type(TrainingConfig.options()[name].default)
    if kind not in (int, float) or scale not in ("", "log", "linear"):
        raise ConfigError(f"search: {name}={wish} is no range. Write LOW:HIGH, LOW:HIGH:log, or choices as A|B.")
    found = Range(TrainingConfig.parse(name, low), TrainingConfig.parse(name, high), scale == "log")
    if found.low >= found.high or (found.log and found.low <= 0):
        raise ConfigError(f"search: {name}={wish} is empty, or begins at 0 on a logarithmic scale.")
    return found


def _require_allowed(name: str, dimension: Range | Choices, config: TrainingConfig) -> None:
    """ConfigError names a value that could be drawn and is no configuration."""
    for value in dimension.values if isinstance(dimension, Choices) else (dimension.low, dimension.high):
        dataclasses.replace(config, **{name: value})
