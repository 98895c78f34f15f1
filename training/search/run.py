"""A search on one machine: features once, then trial after trial, each written down when it ends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.study import MaxTrialsCallback
from optuna.trial import FrozenTrial, TrialState

from model_serving.classifier import memory
from training.config import TrainingConfig
from training.data.layout import Dataset
from training.distributed import World, world
from training.errors import ConfigError, TrainingError
from training.progress import Progress
from training.run import prepare_folder

from . import results
from .options import SearchOptions
from .space import Space, contains, text
from .study import FINISHED, best, finished, needs_baseline, open_study
from .trial import FEATURE_SETTINGS, Objective


def search(
    dataset: Dataset,
    config: TrainingConfig,
    space: Space,
    options: SearchOptions,
    output: Path,
    name: str,
    storage: str | None = None,
    features: Path | None = None,
) -> TrainingConfig | None:
    """Search, write `best.json`, `trials.csv`, `curves.csv` and `report.html`; returns what was best, if a trial ended.

    It goes on where an earlier start with the same arguments was ended, and beside others on the same `storage` (a
    file in the output by default). `name` is what the photos are called in the report. What ends it early leaves the
    results so far. TrainingError and ClassifierError as they come.
    """
    with world() as processes:
        if processes.size > 1:
            raise ConfigError("a search is one process. Start several with the same --storage, not by torchrun.")
        return _Search(dataset, config, space, options, output, name, storage, features, processes).run()


class _Search:
    def __init__(
        self, dataset: Dataset, config: TrainingConfig, space: Space, options: SearchOptions, output: Path,
        name: str, storage: str | None, features: Path | None, processes: World,
    ) -> None:  # fmt: skip
        memory.keep_activations()
        prepare_folder(output)
        self._progress = Progress()
        self._dataset, self._config, self._space, self._options = dataset, config, space, options
        self._output, self._name, self._storage = output, name, storage or str(output / "study.db")
        self._objective = Objective(dataset, config, space, options.objective, features, processes, self._progress)

    def run(self) -> TrainingConfig | None:
        started = time.monotonic()
        identity = self._identity(self._objective.fingerprint())
        study = open_study(self._storage, self._objective.direction, identity, self._facts())
        if done := len(finished(study)):
            self._progress.say(f"{self._storage}: {done} trials are there already")
        if done < self._options.trials and not self._space.keys() & set(FEATURE_SETTINGS):
            self._objective.prepare(self._config)
        if needs_baseline(study):
            self._start_with_defaults(study)
        try:
            if done < self._options.trials:
                self._optimize(study, started)
        finally:
            found = best(study)
            for line in results.write(study, found, self._config, self._output):
                self._progress.say(line)
        return results.chosen(found, self._config) if found else None

    def _optimize(self, study: optuna.Study, started: float) -> None:
        enough = MaxTrialsCallback(self._options.trials, FINISHED)
        while len(finished(study)) < self._options.trials:
            timeout = None
            if self._options.max_minutes:
                timeout = max(self._options.max_minutes * 60 - (time.monotonic() - started), 0.001)
            try:
                study.optimize(self._trial, timeout=timeout, callbacks=[enough, self._said])
                return
            except optuna.exceptions.UpdateFinishedTrialError:
                self._progress.say(
                    "note: this process was silent for so long that others gave its trial up; it goes on"
                )
            except optuna.exceptions.StorageInternalError as error:
                message = f"{self._storage} failed as storage of the search ({error}). The same command goes on."
                raise TrainingError(message) from None

    def _trial(self, trial: optuna.Trial) -> float:
        # By the trial's number, so that processes draw differently and a search that goes on draws as it would have.
        # Each dimension by itself: all at once would be drawn before the trial has its number.
        seed = self._config.seed * 1_000_003 + trial.number
        trial.study.sampler = TPESampler(seed=seed, multivariate=False)
        return self._objective(trial)

    def _start_with_defaults(self, study: optuna.Study) -> None:
        """The first trial is what a run without a search would take: the least that the winner has to beat."""
        values = {name: getattr(self._config, name) for name in self._space}
        outside = [name for name, value in values.items() if not contains(self._space[name], value)]
        if outside:
            self._progress.say(f"note: the defaults are no trial, since {', '.join(outside)} would be out of range")
        else:
            params = {name: text(value) for name, value in values.items()}
            study.enqueue_trial(params, user_attrs={"baseline": True})

    def _said(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """One line a trial, and the best so far on disk, so that a kill leaves something to use."""
        done, found = len(finished(study)), best(study)
        words = [f"trial={trial.number} ({done}/{self._options.trials})"]
        attrs = trial.user_attrs
        if "valid_loss" in attrs:
            words.append(f"valid_loss={attrs['valid_loss']:.4f} valid_top1={attrs['valid_top1']:.4f}")
        if found is not None:
            best_attrs = found.user_attrs
            words.append(f"best_valid_loss={best_attrs['valid_loss']:.4f}")
            words.append(f"best_valid_top1={best_attrs['valid_top1']:.4f}")
        words += [f"{name}={_short(value)}" for name, value in trial.params.items()]
        words.append(f"seconds={attrs.get('seconds', 0):.1f}")
        if attrs.get("baseline"):
            words.append("(the defaults)")
        if trial.state == TrialState.PRUNED:
            words.append(f"({attrs.get('why', 'stopped early')})")
        self._progress.say(" ".join(words))
        results.write_best(study, found, self._config, self._output)

    def _identity(self, fingerprint: str) -> dict[str, Any]:
        """What trials must have in common to be compared."""
        fixed = {k: v for k, v in self._config.as_dict().items() if k not in self._space and k != "workers"}
        ranges = {name: repr(dimension) for name, dimension in self._space.items()}
        return {"photos": fingerprint, "settings": fixed, "ranges": ranges, "objective": self._options.objective}

    def _facts(self) -> dict[str, Any]:
        return {
            "objective": self._options.objective,
            "data": self._name,
            "photos": {split: len(self._dataset.split(split)) for split in ("train", "valid")},
        }


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
