"""The trials of a study, and which of them is the best and which the default."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from training.page.plots import GREEN, PURPLE
from training.page.words import count

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


class Marked:
    """A study's trials, which of them is the best and which the default."""

    def __init__(self, study: optuna.Study, best: int | None, baseline: int | None) -> None:
        self.study = study
        self.trials: list[FrozenTrial] = study.get_trials(deepcopy=False)
        by_number = {trial.number: trial for trial in self.trials}
        self.best = None if best is None else by_number.get(best)
        self.baseline = None if baseline is None else by_number.get(baseline)
        self.complete = [trial for trial in self.trials if trial.state.name == "COMPLETE"]
        self.names = list(dict.fromkeys(name for trial in self.trials for name in trial.params))
        self.by_accuracy = study.user_attrs.get("objective") == "accuracy" or study.direction.name == "MAXIMIZE"
        self.word = "accuracy" if self.by_accuracy else "loss"
        self.target = f"validation {self.word}"

    def stars(self) -> list[tuple[FrozenTrial, dict[str, Any]]]:
        """The trials with a mark of their own, and the mark."""
        star = {"symbol": "star", "size": 13, "color": GREEN}
        diamond = {"symbol": "diamond", "size": 10, "color": PURPLE}
        return [(trial, mark) for trial, mark in ((self.baseline, diamond), (self.best, star)) if trial is not None]

    def words(self) -> str:
        """What the marks mean."""
        known = [name for name, trial in (("The star is the best trial", self.best),
                                          ("the diamond the default", self.baseline)) if trial is not None]  # fmt: skip
        said = ", ".join(known)
        return f" {said[:1].upper()}{said[1:]}." if said else ""

    def missing(self, least: int = 1) -> str:
        """Why a plot of so many finished trials cannot be; empty if it can."""
        if not self.names:
            return "No hyperparameter has been drawn."
        if len(self.complete) < least:
            return f"That takes {count(least, 'finished trial')}; there are {len(self.complete) or 'none'}."
        return ""


def metric(trial: FrozenTrial | None, name: str) -> float | None:
    """A number that a trial has kept, None if it has not or it is none."""
    value = None if trial is None else trial.user_attrs.get(name)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
