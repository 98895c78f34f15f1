"""Photo -> archive, read top to bottom: features, head, perhaps the backbone too, calibration, one look at test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model_serving.classifier import Head, ModelSpec, memory, network

from .backbone import Backbone, Extractor, load
from .calibrate import calibrate, prototypes, summary
from .config import TrainingConfig
from .data.layout import Dataset
from .distributed import World
from .features import FeatureStore
from .head import Trained, apply_head
from .learn import Learning
from .monitor.monitor import Monitor
from .monitor.recording import FINETUNE
from .prepare import Preparation, Prepared
from .progress import Progress, test_line


@dataclass(frozen=True)
class Folders:
    """Where a run keeps what it can go on from; no features are kept without a folder for them."""

    features: Path | None
    checkpoints: Path


@dataclass(frozen=True, eq=False)
class Model:
    """A description and the weights of the whole network with its class means, ready to be packed."""

    spec: ModelSpec
    state: dict[str, torch.Tensor]


class Fit:
    """One training run. Every process of it makes the same calls; only the leader's model counts."""

    def __init__(
        self,
        dataset: Dataset,
        config: TrainingConfig,
        folders: Folders,
        world: World,
        progress: Progress,
        monitor: Monitor | None = None,
    ) -> None:
        """Errors as `backbone.load`; nothing is computed yet."""
        memory.keep_activations()
        self._dataset, self._config, self._folders = dataset, config, folders
        self._world, self._progress, self._monitor = world, progress, monitor or Monitor(None)
        self._backbone = load(config)
        self._head = Head(config.hidden, config.dropout)
        self._learning: Learning | None = None

    def run(self, name: str) -> Model | None:
        """Train, calibrate, and look at the test photos once. The model is given out in the leading process.

        DataError names photos that cannot be read; what was computed of the others is kept for the next run.
        """
        if idle := self._config.idle():
            self._progress.say(f"note: {', '.join(idle)} do nothing without --unfreeze")
        features = self._folders.features
        preparation = Preparation(self._dataset, self._config, features, self._world, self._progress, self._monitor)
        prepared = preparation.run(self._backbone)
        self._learning = Learning(
            prepared, self._backbone, self._config, len(self._dataset.classes), self._folders.checkpoints,
            self._world, self._monitor,
        )  # fmt: skip
        stages = self._learning.run(self._progress.epoch, self._progress.say)
        stage, trained = stages[-1]
        backbone, state, store = self._backbone, trained.state, prepared.store
        if stage == FINETUNE:
            backbone, state = self._backbone.split(trained.state)
            store = FeatureStore(Extractor(backbone, self._world.device), None, self._world)
            preparation.compute(store, prepared.photos, "features of the tuned backbone")
        if not self._world.leads:
            return None
        with self._monitor.phase("calibration"):
            return self._model(name, backbone, state, prepared, store, stages)

    def done(self) -> None:
        """The model is safe: what a restart would go on from may go."""
        if self._learning is not None:
            self._learning.done()

    def _model(
        self,
        name: str,
        backbone: Backbone,
        head_state: dict[str, torch.Tensor],
        prepared: Prepared,
        store: FeatureStore,
        stages: list[tuple[str, Trained]],
    ) -> Model:
        classes, splits = self._dataset.classes, prepared.splits
        features = {split: store.of(part.photos) for split, part in splits.items() if part.photos}
        logits = {k: apply_head(head_state, rows, self._head, len(classes)) for k, rows in features.items()}
        means = prototypes(features["train"], splits["train"].labels, len(classes))
        known = network.similarity(features["valid"], means)
        calibration = calibrate(logits["valid"], splits["valid"].labels, known)
        metrics: dict[str, Any] = {
            split: summary(rows, splits[split].labels, calibration.temperature)
            for split, rows in logits.items()
            if split != "train"
        }
        if "test" in metrics:
            self._progress.say(test_line(metrics["test"]))
        if self._monitor.stopped_by:
            metrics["stopped_by"] = self._monitor.stopped_by
        metrics["best_epoch"] = {stage: trained.best_epoch for stage, trained in stages}
        metrics["history"] = [epoch.as_dict() for _, trained in stages for epoch in trained.history]
        spec = ModelSpec(
            name=name,
            backbone=backbone.name,
            classes=classes,
            head=self._head,
            preprocessing=backbone.preprocessing,
            calibration=calibration,
            metrics=metrics,
            # A folder of this machine is nobody's business; the name of the file says enough.
            hyperparameters={**self._config.as_dict(), "weights": Path(self._config.weights).name},
            data=self._data(prepared),
        )
        state = backbone.whole_state(head_state)
        return Model(spec, {**state, network.PROTOTYPES: means})

    def _data(self, prepared: Prepared) -> dict[str, Any]:
        """What was trained on: the fingerprint, how many photos a split has, and how many training photos a class."""
        labels = prepared.splits["train"].labels
        counts = torch.bincount(labels, minlength=len(self._dataset.classes)).tolist()
        return {
            "fingerprint": prepared.fingerprint,
            "photos": {name: len(split.photos) for name, split in prepared.splits.items()},
            "train_counts": {info.class_id: n for info, n in zip(self._dataset.classes, counts, strict=True)},
            "generated_splits": list(self._dataset.generated),
            "split_seed": self._dataset.seed,
        }
