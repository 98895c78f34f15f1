"""How a search is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.settings import Choices, Range, Settings, setting

LOSS, ACCURACY = "loss", "accuracy"


@dataclass(frozen=True)
class SearchOptions(Settings):
    """What is searched for, for how long, and where."""

    NOUN: ClassVar[str] = "option of the search"
    PANEL: ClassVar[str] = "Search"

    trials: int = setting(20, "Trials in all, those of earlier starts included.", allowed=Range(1, 1_000_000))
    max_minutes: float = setting(0.0, "Minutes after which no trial begins; 0 is no limit.", allowed=Range(0, 1e6))
    objective: str = setting(
        LOSS, "What is best on the validation photos: loss or accuracy.", allowed=Choices((LOSS, ACCURACY))
    )
    search: str = setting(
        "", "More or other ranges, as \"weight_decay learning_rate=0.001:0.1:log backbone=resnet50|resnet152\"."
    )  # fmt: skip
