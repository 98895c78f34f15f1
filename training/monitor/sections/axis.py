"""The run's time from left to right. Long pauses are cut short, so that a night between two halves hides neither."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from training.page.plots import GREY, rounded
from training.page.words import duration

_LONGEST_PAUSE = 0.12  # of the time at work: longer ones are drawn as long as this
_SHORTEST_PAUSE = 0.005  # shorter ones are not worth a mark
_TICKS = 5
_STEPS = (1, 2, 5, 10, 15, 20, 30)
_UNITS = ((1.0, "s"), (60.0, "min"), (3600.0, "h"), (86_400.0, "d"))


class TimeAxis:
    """Places of moments on one axis, in seconds, minutes or hours since the run began."""

    def __init__(self, spans: Sequence[tuple[float, float]]) -> None:
        """`spans` are those of `story.spans`: at least one."""
        self._spans = list(spans)
        self.restarts = [start for start, _ in spans[1:]]
        work = sum(end - start for start, end in spans)
        self._pauses = [(end, start) for (_, end), (start, _) in itertools.pairwise(spans)]
        self._shown = [min(start - end, _LONGEST_PAUSE * work) for end, start in self._pauses]
        self._work = work
        length = work + sum(self._shown)
        self.unit, self.name = next(((u, n) for u, n in reversed(_UNITS) if length >= 2 * u), _UNITS[0])
        self.length = max(length / self.unit, 1e-9)

    @property
    def start(self) -> float:
        """The moment at its left end."""
        return self._spans[0][0]

    @property
    def cut(self) -> bool:
        """Whether a pause is shorter here than it was."""
        return any(shown < start - end for shown, (end, start) in zip(self._shown, self._pauses, strict=True))

    def x(self, t: float) -> float:
        """Where the moment `t` is."""
        place = t - self.start
        for (end, start), shown in zip(self._pauses, self._shown, strict=True):
            if t > end:
                place -= (start - end - shown) * min((t - end) / (start - end), 1.0)
        return rounded(place / self.unit, 7)

    def layout(self) -> dict[str, Any]:
        """What plotly needs to draw the axis; labels tell the true time, pauses included."""
        edge = 0.01 * self.length
        axis = {"title": {"text": f"{self.name} since the start"}, "range": [-edge, self.length + edge]}
        return axis | {"zeroline": False} | (self._ticks() if self.cut else {})

    def _ticks(self) -> dict[str, Any]:
        """Round times within each stretch of work, and where each one after a pause begins."""
        step = self._step()
        moments: list[float] = []
        for number, (start, end) in enumerate(self._spans):
            if number:
                moments.append(start)
            first = int((start - self.start) // step) + bool(number)
            whole = (self.start + step * n for n in range(first, int((end - self.start) // step) + 1))
            apart = 0.6 * step if number else 0.0
            moments += [t for t in whole if t >= start + apart]
        texts = [_text((t - self.start) / self.unit) for t in moments]
        return {"tickmode": "array", "tickvals": [self.x(t) for t in moments], "ticktext": texts}

    def _step(self) -> float:
        wanted = max(self._work / self.unit / _TICKS, 1e-9)
        power = 1.0
        while power * _STEPS[-1] < wanted:
            power *= 10
        while power * _STEPS[0] > 2 * wanted:
            power /= 10
        return self.unit * next(power * step for step in _STEPS if power * step >= wanted)

    def shapes(self) -> dict[str, Any]:
        """Pauses as grey bands that say how long they were, for a layout."""
        bands: list[dict[str, Any]] = []
        notes: list[dict[str, Any]] = []
        for end, start in self._pauses:
            left, right = self.x(end), self.x(start)
            if right - left < _SHORTEST_PAUSE * self.length:
                continue
            place = {"xref": "x", "yref": "paper"}
            band = {"type": "rect", "x0": left, "x1": right, "y0": 0, "y1": 1, "layer": "below"}
            bands.append(place | band | {"fillcolor": GREY, "opacity": 0.18, "line": {"width": 0}})
            text = f"not running for {duration(start - end)}"
            note = {"x": (left + right) / 2, "y": 0.5, "text": text, "textangle": -90, "showarrow": False}
            notes.append(place | note | {"font": {"size": 11}})
        return {"shapes": bands, "annotations": notes}

    def pauses(self) -> list[float]:
        """How long each pause was, in seconds."""
        return [start - end for end, start in self._pauses]


def _text(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
