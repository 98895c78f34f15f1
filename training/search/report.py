"""One HTML file on a search: the best trial beside the default, what mattered, and every trial with its curve."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.page.document import Section, page, plotly_js
from training.page.markup import NO_VALUE, Html, card, cards, join, number, paragraph, percent, table, tag
from training.page.output import write_whole
from training.page.words import count, duration, listed

from .curves import curves
from .figures import history, importances, parallel, slices, weights
from .marked import Marked, metric

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

STATES = {"COMPLETE": "finished", "PRUNED": "stopped early", "FAIL": "failed", "RUNNING": "unfinished"}
DIVERGED = "diverged"


def write_report(
    study: optuna.Study, best: int | None, output_file: Path, title: str, baseline: int | None = None
) -> Path:
    """Write the page, whole or not at all, and return its path; about 5 MB.

    `best` and `baseline` are numbers of trials, the latter that of the default configuration. Of a trial the user
    attributes `valid_loss`, `valid_top1`, `best_epoch`, `seconds`, `why` and `history` (columns of epochs) are
    shown where they are there; of the study `objective`, `data` and `photos`. TrainingError if plotly is not
    installed.
    """
    library = plotly_js()
    marked = Marked(study, best, baseline)
    return write_whole(output_file, page(title, list(_sections(marked)), library))


def _sections(marked: Marked) -> Iterator[Section]:
    yield Section("summary", "Summary", join([paragraph(_lead(marked), class_="lead"), cards(*_cards(marked))]))
    if marked.best is not None:
        yield Section("best", "The best hyperparameters", _best_table(marked, marked.best))
    yield Section("history", "One trial after another", history(marked))
    yield Section("importance", "What mattered", importances(marked))
    yield Section("parallel", "All hyperparameters at once", parallel(marked))
    yield Section("slices", "Each hyperparameter", slices(marked))
    yield Section("curves", "Learning curves", curves(marked))
    yield Section("trials", "Trials", _trial_table(marked))


def state(trial: FrozenTrial) -> str:
    """How a trial ended, in words."""
    if trial.state.name != "COMPLETE" and DIVERGED in str(trial.user_attrs.get("why", "")).lower():
        return DIVERGED
    return STATES.get(trial.state.name, "waiting")


def _lead(marked: Marked) -> str:
    attrs = marked.study.user_attrs
    where = [f"on {attrs['data']}"] if attrs.get("data") else []
    if photos := attrs.get("photos"):
        where.append(f"({listed(f'{n:,} {split}' for split, n in photos.items())} photos)")
    searched = " ".join([f"{listed(marked.names) or 'Nothing yet'} searched", *where])
    return f"{searched}, judged by the {marked.word} on validation photos."


def _cards(marked: Marked) -> Iterator[Html]:
    best, default = marked.best, marked.baseline
    for name in ("valid_top1", "valid_loss") if marked.by_accuracy else ("valid_loss", "valid_top1"):
        if best is not None and metric(best, name) is not None:
            yield _metric_card(name, best, default)
    yield _best_card(marked)
    states = Counter(state(trial) for trial in marked.trials)
    each = listed(f"{n} {words}" for words, n in states.most_common())
    yield card("Trials", str(len(marked.trials)), f"{each}." if each else "None has begun.")
    yield _time_card(marked)
    found, reason = weights(marked)
    if found:
        (first, share), *others = found.items()
        then = listed(f"{name} {percent(weight)}" for name, weight in others[:2])
        yield card("Mattered most", first, f"{percent(share)} of the difference{f'; then {then}' if then else ''}.")
    else:
        yield card("Mattered most", NO_VALUE, reason)


def _best_card(marked: Marked) -> Html:
    best, default = marked.best, marked.baseline
    if best is None:
        return card("Best trial", "None yet", "No trial has come to its end.")
    epoch = metric(best, "best_epoch")
    after = f"After its epoch {epoch:.0f}." if epoch is not None else ""
    known = f"Trial {default.number} is the default." if default is not None else ""
    meaning = "It is the default itself." if best is default else known
    return card("Best trial", str(best.number), " ".join(filter(None, [after, meaning])))


def _metric_card(name: str, best: FrozenTrial, default: FrozenTrial | None) -> Html:
    value, before = metric(best, name), metric(default, name)
    meaning = f"Of trial {best.number}."
    beside = ""
    if default is not None and default.number != best.number and before is not None and value is not None:
        beside = f"default {_shown(name, before)}: {_difference(name, value, before)}"
    title = "Validation accuracy" if name == "valid_top1" else "Validation loss"
    return card(title, _shown(name, value), meaning, beside)


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return NO_VALUE
    return percent(value) if name == "valid_top1" else f"{value:.4f}"


def _difference(name: str, value: float, before: float) -> str:
    """How much better or worse; accuracy in points."""
    if name == "valid_top1":
        points = 100 * (value - before)
        return "the same" if round(points, 1) == 0 else f"{abs(points):.1f} points {'more' if points > 0 else 'less'}"
    lower = before - value
    return "the same" if round(lower, 4) == 0 else f"{abs(lower):.4f} {'lower' if lower > 0 else 'higher'}"


def _time_card(marked: Marked) -> Html:
    spent = [s for s in (metric(trial, "seconds") for trial in marked.trials) if s is not None]
    if not spent:
        return card("Time", NO_VALUE, "No trial has been timed.")
    saved = sum(state(trial) == "stopped early" for trial in marked.trials)
    meaning = f"Of all trials together, {duration(sum(spent) / len(spent))} each."
    early = f" {count(saved, 'trial was', 'trials were')} stopped early." if saved else ""
    return card("Time", duration(sum(spent)), meaning + early)


def _best_table(marked: Marked, best: FrozenTrial) -> Html:
    default = marked.baseline
    if default is None:
        rows = [(name, tag("strong", text(best.params.get(name)))) for name in marked.names]
        return table("Values of the best trial", ("Hyperparameter", "Best"), rows)
    pairs = ((name, text(best.params.get(name)), text(default.params.get(name))) for name in marked.names)
    changed = [(name, tag("strong", new) if new != old else new, old) for name, new, old in pairs]
    return table("Values of the best trial and of the default", ("Hyperparameter", "Best", "Default"), changed)


def text(value: Any) -> str:
    """A hyperparameter as it is read: numbers with four digits, what was not drawn as a dash."""
    if value is None:
        return NO_VALUE
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _trial_table(marked: Marked) -> Html:
    if not marked.trials:
        return paragraph("There are no trials.")
    head = ["Trial", "State", *marked.names, "Loss", "Accuracy", "Best epoch", "Epochs", "Time", "Why"]
    sign = -1 if marked.by_accuracy else 1

    def place(trial: FrozenTrial) -> tuple[bool, float, int]:
        value = metric(trial, "valid_top1" if marked.by_accuracy else "valid_loss")
        return (trial.state.name != "COMPLETE", math.inf if value is None else sign * value, trial.number)

    rows = [_row(marked, trial) for trial in sorted(marked.trials, key=place)]
    return table("All trials, the best first; click a heading to sort", head, rows, sortable=True)


def _row(marked: Marked, trial: FrozenTrial) -> list[str]:
    epochs = len((trial.user_attrs.get("history") or {}).get("epoch") or ())
    loss, accuracy, seconds = (metric(trial, name) for name in ("valid_loss", "valid_top1", "seconds"))
    best_epoch = metric(trial, "best_epoch")
    return [
        _name(marked, trial),
        state(trial),
        *(_value(trial.params.get(name)) for name in marked.names),
        number(_shown("valid_loss", loss), loss),
        number(percent(accuracy), accuracy, bar=True),
        number(NO_VALUE if best_epoch is None else f"{best_epoch:.0f}", best_epoch),
        number(str(epochs) if epochs else NO_VALUE, epochs or None),
        number(NO_VALUE if seconds is None else duration(seconds), seconds),
        tag("td", str(trial.user_attrs.get("why") or ""), class_="sentence"),
    ]


def _name(marked: Marked, trial: FrozenTrial) -> Html:
    """The number, with what the trial is known for."""
    known = [name for name, other in (("best", marked.best), ("default", marked.baseline)) if trial is other]
    if not known:
        return tag("span", str(trial.number))
    return join([tag("strong", str(trial.number)), *(join([" ", tag("mark", name, class_=name)]) for name in known)])


def _value(value: Any) -> str:
    """A cell; numbers sort as such."""
    return number(text(value), float(value)) if isinstance(value, (int, float)) else text(value)
