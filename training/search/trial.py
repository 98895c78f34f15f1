"""One trial: draw hyperparameters, train, say how good it is on validation photos. Test photos are never read."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection

from training.backbone import Backbone, load
from training.config import TrainingConfig
from training.data.layout import Dataset
from training.distributed import World
from training.errors import DivergedError
from training.learn import Learning
from training.monitor.monitor import Monitor
from training.monitor.recording import FINETUNE
from training.prepare import Preparation, Prepared
from training.progress import Epoch, Progress
from training.settings import Choices

from .options import ACCURACY
from .space import Space, is_whole, text

SPLITS = ("train", "valid")
FEATURE_SETTINGS = ("backbone", "weights", "crop", "resize", "views", "unfreeze")
"""What features, or the network that is unfrozen, depend on."""

HISTORY = ("stage", "epoch", "train_loss", "valid_loss", "valid_top1", "learning_rate")
"""Fields of Epoch that a trial keeps, as columns."""


class Objective:
    """What Optuna calls for each trial. Features are computed once for each backbone and kept in memory."""

    def __init__(
        self, dataset: Dataset, config: TrainingConfig, space: Space, objective: str, features: Path | None,
        world: World, progress: Progress,
    ) -> None:  # fmt: skip
        self._dataset, self._config, self._space, self._objective = dataset, config, space, objective
        self._features, self._world, self._progress = features, world, progress
        self._prepared: dict[tuple[Any, ...], tuple[Backbone, Prepared]] = {}

    @property
    def direction(self) -> StudyDirection:
        """Optuna's word for what is better."""
        return StudyDirection.MAXIMIZE if self._objective == ACCURACY else StudyDirection.MINIMIZE

    def prepare(self, config: TrainingConfig) -> tuple[Backbone, Prepared]:
        """Network and features of a configuration; DataError names photos that cannot be read."""
        key = tuple(getattr(config, name) for name in FEATURE_SETTINGS)
        if key not in self._prepared:
            backbone = load(config)
            self._prepared[key] = backbone, self._preparation(config).run(backbone, SPLITS)
        return self._prepared[key]

    def fingerprint(self) -> str:
        """Of the photos; DataError names those that cannot be opened."""
        return self._preparation(self._config).identify(SPLITS)[1]

    def _preparation(self, config: TrainingConfig) -> Preparation:
        return Preparation(self._dataset, config, self._features, self._world, self._progress, Monitor(None))

    def configuration(self, trial: optuna.Trial) -> TrainingConfig:
        """What the trial draws, and the rest as it was given."""
        return dataclasses.replace(self._config, **{name: self._draw(trial, name) for name in self._space})

    def _draw(self, trial: optuna.Trial, name: str) -> Any:
        dimension = self._space[name]
        if isinstance(dimension, Choices):
            return TrainingConfig.parse(name, trial.suggest_categorical(name, [text(v) for v in dimension.values]))
        if is_whole(name):
            return trial.suggest_int(name, int(dimension.low), int(dimension.high), log=dimension.log)
        return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)

    def __call__(self, trial: optuna.Trial) -> float:
        """Loss or accuracy of the epoch that would be kept. TrialPruned if others were better by then, or diverged."""
        config = self.configuration(trial)
        backbone, prepared = self.prepare(config)
        started, history = time.perf_counter(), list[Epoch]()

        def on_epoch(epoch: Epoch) -> None:
            history.append(epoch)
            self._report(trial, config, epoch)

        try:
            self._train(prepared, backbone, config, on_epoch)
        except DivergedError:
            trial.set_user_attr("why", "diverged")
            raise optuna.TrialPruned from None
        finally:
            self._keep(trial, history, time.perf_counter() - started)
        best = _best(history)
        return best.valid_top1 if self._objective == ACCURACY else best.valid_loss

    def _train(
        self, prepared: Prepared, backbone: Backbone, config: TrainingConfig, on_epoch: Callable[[Epoch], None]
    ) -> None:
        with tempfile.TemporaryDirectory() as checkpoints:
            classes = len(self._dataset.classes)
            learning = Learning(prepared, backbone, config, classes, Path(checkpoints), self._world, Monitor(None))
            learning.run(on_epoch, lambda _: None)

    def _report(self, trial: optuna.Trial, config: TrainingConfig, epoch: Epoch) -> None:
        """Tell Optuna how the epoch went; TrialPruned if there is no hope."""
        step = epoch.epoch + (config.epochs if epoch.stage == FINETUNE else 0)
        trial.report(epoch.valid_top1 if self._objective == ACCURACY else epoch.valid_loss, step)
        if trial.should_prune():
            trial.set_user_attr("why", f"behind others after epoch {epoch.epoch} of the {epoch.stage}")
            raise optuna.TrialPruned

    @staticmethod
    def _keep(trial: optuna.Trial, history: Sequence[Epoch], seconds: float) -> None:
        trial.set_user_attr("seconds", seconds)
        trial.set_user_attr("history", {name: [getattr(epoch, name) for epoch in history] for name in HISTORY})
        if history:
            best = _best(history)
            for name, value in (("valid_loss", best.valid_loss), ("valid_top1", best.valid_top1)):
                trial.set_user_attr(name, value)
            trial.set_user_attr("best_epoch", best.epoch)


def _best(history: Sequence[Epoch]) -> Epoch:
    return min(history, key=lambda epoch: epoch.valid_loss)
