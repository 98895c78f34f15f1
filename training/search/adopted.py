"""Figures of optuna.visualization as plain data that the page can colour."""

from __future__ import annotations

import base64
import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from training.page.markup import escape
from training.page.plots import BLUE, GREEN, GREY, MARGIN, ORANGE, PURPLE

Scale = Sequence[tuple[float, str]]

BLUE_TO_ORANGE: Scale = ((0.0, BLUE), (0.5, GREY), (1.0, ORANGE))
ORANGE_TO_BLUE: Scale = ((0.0, ORANGE), (0.5, GREY), (1.0, BLUE))
"""To be seen on white and on the dark page at either end, unlike Optuna's own."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna's notes on what is experimental, or on too few trials, are not for readers of a page."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def adopted(make: Callable[[], Any]) -> dict[str, Any]:
    """A figure of Optuna as plain data, without its title and its colours of text and ground."""
    with quiet():
        found: dict[str, Any] = plain_figure(make().to_plotly_json())
    layout = found["layout"]
    for name in ("template", "title", "plot_bgcolor", "coloraxis"):
        layout.pop(name, None)
    for note in layout.get("annotations", ()):
        note.get("font", {}).pop("color", None)
    for axis in (value for key, value in layout.items() if key.startswith(("xaxis", "yaxis"))):
        axis["automargin"] = True
    layout |= {"margin": MARGIN, "colorway": [BLUE, ORANGE, GREEN, PURPLE, GREY]}
    return found


def plain_figure(value: Any) -> Any:
    """What JSON has, of plotly's figures: arrays, also those that plotly packs as base64, become lists.

    Texts are escaped, since plotly reads tags in them; its own line breaks and empty boxes stay.
    """
    if isinstance(value, Mapping):
        if "bdata" in value:
            numbers = np.frombuffer(base64.b64decode(value["bdata"]), np.dtype(value["dtype"]))
            shape = str(value.get("shape", len(numbers))).split(",")
            return plain_figure(numbers.reshape([int(part) for part in shape]))
        return {key: plain_figure(item) for key, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return plain_figure(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain_figure(item) for item in value]
    if isinstance(value, str):
        return (
            str(escape(value)).replace("&lt;br&gt;", "<br>").replace("&lt;extra&gt;&lt;/extra&gt;", "<extra></extra>")
        )
    return value


def mixed(scale: Scale, place: float) -> str:
    """The colour at a place from 0 to 1 of a scale whose colours are written `#rrggbb`."""
    place = min(max(place, 0.0), 1.0) if math.isfinite(place) else 1.0
    upper = next(i for i in range(1, len(scale)) if place <= scale[i][0])
    (low, first), (high, second) = scale[upper - 1], scale[upper]
    share = (place - low) / (high - low)
    parts = [(int(first[i : i + 2], 16), int(second[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in parts)
