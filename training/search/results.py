"""What a search leaves: `best.json`, `trials.csv`, `curves.csv` and `report.html`."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from training.config import TrainingConfig
from training.page.output import plain, write_whole

from .study import baseline, finished
from .trial import HISTORY


def write(study: optuna.Study, best: FrozenTrial | None, config: TrainingConfig, output: Path) -> Iterator[str]:
    """Write all of it, and say what and what to do next."""
    write_best(study, best, config, output)
    write_whole(output / "trials.csv", _csv(_trial_rows(study)))
    write_whole(output / "curves.csv", _csv(_curve_rows(study)))
    from .report import write_report

    start = baseline(study)
    numbers = [trial.number if trial else None for trial in (best, start)]
    title = f"Search over {study.user_attrs['data']}"
    yield str(write_report(study, numbers[0], output / "report.html", title, numbers[1]))
    if best is None:
        yield "no trial has ended yet; the same command goes on"
        return
    attrs = best.user_attrs
    said = f"best: trial {best.number}, valid_loss={attrs['valid_loss']:.4f} valid_top1={attrs['valid_top1']:.4f}"
    if start is not None:
        said += f"; the defaults: {start.user_attrs['valid_loss']:.4f}, {start.user_attrs['valid_top1']:.4f}"
    yield said
    yield f"next: python -m training fit --data DIR --hyperparameters {output / 'best.json'}"


def write_best(study: optuna.Study, best: FrozenTrial | None, config: TrainingConfig, output: Path) -> None:
    """The best trial so far as `best.json`, which `fit --hyperparameters` reads; nothing without one."""
    if best is None:
        return
    won = chosen(best, config)
    start = baseline(study)
    found = {
        # All that was searched, also where it is the default, and what else was given.
        "hyperparameters": won.changed() | {name: won.as_dict()[name] for name in best.params},
        "objective": study.user_attrs["objective"],
        "trial": best.number,
        "trials": len(finished(study)),
        **_scores(best),
        "defaults": _scores(start) if start else None,
        "photos": study.user_attrs["photos"],
    }
    write_whole(output / "best.json", json.dumps(plain(found), indent=1) + "\n")


def chosen(trial: FrozenTrial, config: TrainingConfig) -> TrainingConfig:
    """The configuration of a trial: what it drew, and `config` for the rest."""
    drawn = {name: TrainingConfig.parse(name, value) for name, value in trial.params.items()}
    return dataclasses.replace(config, **drawn)


def _scores(trial: FrozenTrial) -> dict[str, Any]:
    return {name: trial.user_attrs.get(name) for name in ("valid_loss", "valid_top1", "best_epoch", "seconds")}


STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped early",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
    TrialState.WAITING: "waiting",
}
"""Of trials, in words."""


def _trial_rows(study: optuna.Study) -> Iterator[dict[str, Any]]:
    trials = study.get_trials(deepcopy=False)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    for trial in trials:
        attrs = trial.user_attrs
        yield {
            "trial": trial.number,
            "state": STATES[trial.state],
            **{name: trial.params.get(name) for name in names},
            **_scores(trial),
            "epochs": len(attrs.get("history", {}).get("epoch", ())),
            "why": attrs.get("why"),
            "defaults": bool(attrs.get("baseline")),
        }


def _curve_rows(study: optuna.Study) -> Iterator[dict[str, Any]]:
    for trial in study.get_trials(deepcopy=False):
        history = trial.user_attrs.get("history", {})
        for values in zip(*(history.get(name, ()) for name in HISTORY), strict=True):
            yield {"trial": trial.number, **dict(zip(HISTORY, values, strict=True))}


def _csv(rows: Iterator[dict[str, Any]]) -> str:
    found, text = list(rows), io.StringIO()
    if found:
        writer = csv.DictWriter(text, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    return text.getvalue()
