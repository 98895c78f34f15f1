"""The study in its file: made or gone on with, by one process or several."""

from __future__ import annotations

import fcntl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from training.errors import ConfigError

NAME = "whippet"
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

HEARTBEAT = 10
"""Seconds between signs of life of a trial; three times as long without one, and it counts as dead."""

START, WARM_UP = 5, 5
"""Trials before any is stopped early, and epochs before one may be: the step size is still rising then."""


def open_study(
    storage: str, direction: StudyDirection, identity: dict[str, Any], facts: dict[str, Any]
) -> optuna.Study:
    """The study in the storage, a file (`.journal` is Optuna's journal, else SQLite) or a URL of a database.

    ConfigError if the storage has a search over other photos or settings.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        # Heartbeats have been experimental since Optuna 2.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            with _alone(storage):
                study = optuna.create_study(
                    storage=_storage(storage),
                    study_name=NAME,
                    direction=direction,
                    load_if_exists=True,
                    pruner=optuna.pruners.MedianPruner(n_startup_trials=START, n_warmup_steps=WARM_UP),
                )
        except Exception as error:  # whatever the database's driver raises
            raise ConfigError(f"{storage} cannot be used as storage of a search ({error}).") from None
    known = study.user_attrs.get("identity")
    if known is None:
        study.set_user_attr("identity", identity)
        for name, value in facts.items():
            study.set_user_attr(name, value)
    elif known != identity:
        changed = sorted(name for name in known.keys() | identity.keys() if known.get(name) != identity.get(name))
        raise ConfigError(
            f"{storage} holds a search with other {' and '.join(changed)}. Choose another --output or --storage, "
            "or give the same again."
        )
    return study


@contextmanager
def _alone(storage: str) -> Iterator[None]:
    """No other process of this machine makes the tables of the same file meanwhile: both would, and one would fail.

    A database has one answer to that of its own: the second process says so and can be started again.
    """
    if "://" in storage:
        yield
        return
    path = Path(storage).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _storage(storage: str) -> BaseStorage:
    if storage.endswith(".journal"):
        return JournalStorage(JournalFileBackend(storage))
    url = storage if "://" in storage else f"sqlite:///{Path(storage).absolute()}"
    arguments = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None
    return RDBStorage(url, arguments, heartbeat_interval=HEARTBEAT, grace_period=3 * HEARTBEAT)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that came to an end, by their own or because others were better."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def baseline(study: optuna.Study) -> FrozenTrial | None:
    """The trial of the defaults, if it came as far as to be measured."""
    found = [trial for trial in finished(study) if trial.user_attrs.get("baseline")]
    return next((trial for trial in found if "valid_top1" in trial.user_attrs), None)


def needs_baseline(study: optuna.Study) -> bool:
    """Whether the defaults are neither tried nor waiting to be.

    One that says it is running may have been killed; at worst the defaults are tried twice.
    """
    known = study.get_trials(deepcopy=False, states=(*FINISHED, TrialState.WAITING))
    return not any(trial.user_attrs.get("baseline") for trial in known)


def best(study: optuna.Study) -> FrozenTrial | None:
    """The best trial by the objective among those that are not less accurate than the defaults; None without any.

    Loss tells more than accuracy on few photos, yet nobody wants a winner that is right less often than what
    they had. Of two that are equally accurate the one with the lower loss is better.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    least = start.user_attrs["valid_top1"] if (start := baseline(study)) else 0.0
    complete = [trial for trial in complete if trial.user_attrs["valid_top1"] >= least]
    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    return min(complete, key=lambda t: (sign * (t.value or 0.0), t.user_attrs["valid_loss"]), default=None)
