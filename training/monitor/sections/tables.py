"""Operators of the traced steps; settings and environment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.config import TrainingConfig
from training.monitor.recording import Operator, Recording
from training.monitor.settings import Monitoring
from training.page.markup import NO_VALUE, Html, fold, join, number, paragraph, percent, table, tag
from training.page.words import duration, listed, size
from training.settings import Settings

_MOST = 25
_LONGEST = 200  # characters of a value


def operators_section(recording: Recording, trace: Path | None) -> Html | None:
    """The operators that took longest, and where the trace is; None without either."""
    if not recording.operators and trace is None:
        return None
    parts = []
    if recording.operators:
        parts.append(_operator_table(recording.operators))
    if trace is not None:
        where = tag("code", trace.name)
        how = " beside the record shows each of them in time: open it in chrome://tracing or ui.perfetto.dev."
        parts.append(paragraph(where, how, class_="note"))
    return join(parts)


def _operator_table(operators: Sequence[Operator]) -> Html:
    on_device = any(operator.device_seconds > 0 for operator in operators)

    def seconds(operator: Operator) -> float:
        return operator.device_seconds if on_device else operator.self_seconds

    total = sum(map(seconds, operators)) or 1.0
    ordered = sorted(operators, key=seconds, reverse=True)
    whose = "GPU" if on_device else "own"
    rows = [
        [
            tag("code", operator.name),
            number(duration(seconds(operator)), seconds(operator)),
            number(percent(seconds(operator) / total), seconds(operator) / total, bar=True),
            number(f"{operator.calls:,}", operator.calls),
            number(duration(seconds(operator) / max(operator.calls, 1)), seconds(operator) / max(operator.calls, 1)),
        ]
        for operator in ordered
    ]
    head = ("Operator", "GPU time" if on_device else "Own time", "Share", "Calls", "A call")
    caption = f"Operators of the traced steps by their {whose} time; click a heading to sort"
    first = table(caption, head, rows[:_MOST], sortable=True)
    if len(rows) <= _MOST:
        return first
    return join([first, fold(f"{len(rows) - _MOST} more", table("The others", head, rows[_MOST:], sortable=True))])


def settings_section(about: Mapping[str, Any]) -> Html:
    """Hyperparameters and options of recording, the changed ones first; then where the run ran."""
    parts = [
        _settings("Hyperparameters", about.get("hyperparameters") or {}, TrainingConfig),
        _settings("Options of recording", about.get("monitoring") or {}, Monitoring),
        table("Environment", ("Fact", "Value"), list(_environment(about))),
    ]
    return join(parts)


def _settings(title: str, values: Mapping[str, Any], settings: type[Settings]) -> Html:
    defaults = settings().as_dict()
    changed = {name: value for name, value in values.items() if name in defaults and value != defaults[name]}
    rows = [(tag("strong", n), tag("strong", _shown(v)), _shown(defaults.get(n))) for n, v in changed.items()]
    others = [(name, _shown(value)) for name, value in values.items() if name not in changed]
    parts = []
    if rows:
        parts.append(table(f"{title} that were changed", ("Name", "Value", "Default"), rows))
    if others:
        kind = " with their default value" if rows else ", all with their default value"
        parts.append(fold(f"{title}{kind}", table(f"{title}{kind}", ("Name", "Value"), others)))
    return join(parts)


def _environment(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    device = about.get("device") or {}
    memory = f", {size(device['memory'])}" if device.get("memory") else ""
    yield "device", f"{device.get('kind') or NO_VALUE} {device.get('name') or ''}{memory}".strip()
    for name in ("cores", "processes", "workers"):
        if about.get(name) is not None:
            yield {"workers": "processes that read photos"}.get(name, name), str(about[name])
    if photos := about.get("photos"):
        yield "photos", listed(f"{n:,} {split}" for split, n in photos.items())
    if counts := about.get("train_counts"):
        yield "training photos a class", f"{min(counts.values())} to {max(counts.values())}, {len(counts)} classes"
    for name, version in (about.get("versions") or {}).items():
        yield str(name), _shown(version)


def _shown(value: Any) -> str:
    """Text as it is, anything else as JSON, what is empty as a dash, cut where it goes on and on."""
    if value in ("", [], None):
        return NO_VALUE
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "\N{HORIZONTAL ELLIPSIS}"
