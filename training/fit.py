"""Photo -> archive, read top to bottom: features, head, perhaps the backbone too, calibration, one look at test."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model_serving.classifier import Head, ModelSpec, memory, network

from .backbone import Backbone, Extractor, load
from .calibrate import calibrate, prototypes, summary
from .checkpoint import Checkpoint
from .config import TrainingConfig
from .data.layout import Dataset, Example, fingerprint
from .distributed import World
from .errors import DataError
from .features import BLOCK, FeatureStore, Photo, identify, refuse
from .finetune import FineTuning
from .head import Features, Trained, apply_head, train_head
from .monitor.monitor import Monitor
from .monitor.recording import FEATURES, FINETUNE, HEAD
from .photos import Photos
from .progress import Progress, test_line

SPLITS = ("train", "valid", "test")


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


@dataclass(frozen=True, eq=False)
class _Split:
    """The usable photos of one split and their labels (N,)."""

    photos: list[Photo]
    labels: torch.Tensor


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
        self._monitor = monitor or Monitor(None)
        memory.keep_activations()
        self._dataset, self._config, self._folders = dataset, config, folders
        self._world, self._progress = world, progress
        self._backbone = load(config)
        self._head = Head(config.hidden, config.dropout)
        self._fingerprint = ""
        self._checkpoint: Checkpoint | None = None

    def run(self, name: str) -> Model | None:
        """Train, calibrate, and look at the test photos once. The model is given out in the leading process.

        DataError names photos that cannot be read; what was computed of the others is kept for the next run.
        """
        if idle := self._config.idle():
            self._progress.say(f"note: {', '.join(idle)} do nothing without --unfreeze")
        splits = self._identify()
        store = FeatureStore(Extractor(self._backbone, self._world.device), self._folders.features, self._world)
        splits = self._readable(splits, store)
        head = self._train_head(splits, store)
        backbone, state, stages = self._backbone, head.state, [("head", head)]
        if self._config.finetunes and not self._world.broadcast(self._monitor.stopped_by):
            tuned = self._fine_tune(splits, head.state)
            backbone, state = self._backbone.split(tuned.state)
            stages.append(("finetune", tuned))
            store = FeatureStore(Extractor(backbone, self._world.device), None, self._world)
            self._compute(store, _everything(splits), 0, "features of the tuned backbone")
        if not self._world.leads:
            return None
        with self._monitor.phase("calibration"):
            return self._model(name, backbone, state, splits, store, stages)

    def done(self) -> None:
        """The model is safe: what a restart would go on from may go."""
        if self._checkpoint is not None and self._world.leads:
            self._checkpoint.clear()

    def _identify(self) -> dict[str, _Split]:
        """Hash every file; those that cannot be opened are refused or left out."""
        examples = list(self._dataset)
        photos, problems = identify([(example.path, example.name) for example in examples])
        self._refuse(problems)
        found = {photo.name: photo for photo in photos}
        self._fingerprint = fingerprint({photo.name: photo.sha256 for photo in photos})
        self._require_equal_data(len(photos))
        return {name: self._split(self._dataset.split(name), found) for name in SPLITS}

    def _require_equal_data(self, photos: int) -> None:
        """Processes that share out different lists would wait for each other for ever."""
        seen = self._world.gather((self._fingerprint, photos))
        if len(set(seen)) > 1:
            counts = ", ".join(f"process {rank} has {n}" for rank, (_, n) in enumerate(seen))
            raise DataError(
                f"the processes see different photos: {counts}. Give every machine all of them (FullyReplicated)."
            )

    def _split(self, examples: Sequence[Example], found: dict[str, Photo]) -> _Split:
        usable = [example for example in examples if example.name in found]
        labels = torch.tensor([example.label for example in usable], dtype=torch.int64)
        return _Split([found[example.name] for example in usable], labels)

    def _refuse(self, problems: dict[str, str]) -> None:
        if not self._config.skip_unreadable:
            kept = " What was computed of the others is kept." if self._folders.features else ""
            refuse(problems, f"Remove or replace them, or add --skip-unreadable (skip_unreadable in a job).{kept}")
        for name, why in sorted(problems.items()):
            self._progress.say(f"left out {name}: {why}")

    def _readable(self, splits: dict[str, _Split], store: FeatureStore) -> dict[str, _Split]:
        """Compute plain features of all, and augmented ones of train; without the photos that cannot be decoded."""
        self._compute(store, _everything(splits), 0, "features")
        readable = {name: _without(split, store) for name, split in splits.items()}
        self._require_all_classes(readable)
        for view in range(1, self._config.views):
            self._compute(store, readable["train"].photos, view, f"features of view {view + 1}")
            readable["train"] = _without(readable["train"], store, view)
        return readable

    def _require_all_classes(self, splits: dict[str, _Split]) -> None:
        """Only where photos were left out: the layout has seen to it that each class had some."""
        for name in ("train", "valid"):
            present = set(splits[name].labels.tolist())
            gone = [info.class_id for label, info in enumerate(self._dataset.classes) if label not in present]
            if gone:
                raise DataError(
                    f"no readable photo is left of {', '.join(gone[:5])} in {name}. Add some, or remove the class."
                )

    def _compute(self, store: FeatureStore, photos: list[Photo], view: int, what: str) -> None:
        """The features of all that can be decoded; the others are refused or left out."""
        with self._progress.bar(what, store.look_up(photos, view)) as advance, self._monitor.phase(what):
            watch = self._monitor.stage(
                FEATURES, self._world.device, records=False, block=BLOCK, traced=not self._config.finetunes
            )
            store.compute(photos, view, advance, watch)
            watch.close()
        # By photo and not by content: six empty files are six to be mended.
        failed = [photo for photo in photos if not store.has(photo, view)]
        self._refuse({photo.name: store.problems[photo.sha256] for photo in failed})

    def _train_head(self, splits: dict[str, _Split], store: FeatureStore) -> Trained:
        """The leader trains, since it takes a moment; all get the result."""
        if not self._world.leads:
            return self._world.broadcast(Trained({}, 0, ()))
        train, valid = splits["train"], splits["valid"]
        views = torch.stack([store.of(train.photos, view) for view in range(self._config.views)])
        watch = self._monitor.stage(HEAD, self._world.device, every_step=False, traced=not self._config.finetunes)
        with self._monitor.phase(HEAD):
            trained = train_head(
                Features(views, train.labels),
                Features(store.of(valid.photos)[None], valid.labels),
                self._config,
                len(self._dataset.classes),
                self._world.device,
                self._progress.epoch,
                watch,
            )
        return self._world.broadcast(trained)

    def _fine_tune(self, splits: dict[str, _Split], head_state: dict[str, torch.Tensor]) -> Trained:
        whole = self._backbone.network(self._head, len(self._dataset.classes), head_state)
        self._checkpoint = Checkpoint(self._folders.checkpoints, self._key())
        if others := self._checkpoint.others():
            self._progress.say(f"note: checkpoints of other settings are left as they are: {', '.join(others)}")
        preprocessing, config = self._backbone.preprocessing, self._config
        train, valid = (
            Photos([p.path for p in split.photos], split.labels.tolist(), preprocessing, augmentation, config.seed)
            for split, augmentation in ((splits["train"], config.augment), (splits["valid"], "none"))
        )
        watch = self._monitor.stage(FINETUNE, self._world.device)
        head_name = self._backbone.head_name
        stage = FineTuning(whole, head_name, train, valid, config, self._world, self._checkpoint, watch)
        with self._monitor.phase(FINETUNE):
            tuned = stage.run(self._progress.epoch)
        if not tuned.best_epoch:
            self._progress.say("note: nothing that was trained after the head is better; the network stays as it was")
        return tuned

    def _key(self) -> str:
        """What a checkpoint must have been made of to go on from it: all that changes the result."""
        settings = {k: v for k, v in self._config.as_dict().items() if k not in ("weights", "workers", "amp")}
        parts = [settings, self._fingerprint, self._backbone.digest]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _model(
        self,
        name: str,
        backbone: Backbone,
        head_state: dict[str, torch.Tensor],
        splits: dict[str, _Split],
        store: FeatureStore,
        stages: list[tuple[str, Trained]],
    ) -> Model:
        classes = self._dataset.classes
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
            data=self._data(splits),
        )
        state = backbone.whole_state(head_state)
        return Model(spec, {**state, network.PROTOTYPES: means})

    def _data(self, splits: dict[str, _Split]) -> dict[str, Any]:
        """What was trained on: the fingerprint, how many photos a split has, and how many training photos a class."""
        counts = torch.bincount(splits["train"].labels, minlength=len(self._dataset.classes)).tolist()
        return {
            "fingerprint": self._fingerprint,
            "photos": {name: len(split.photos) for name, split in splits.items()},
            "train_counts": {info.class_id: n for info, n in zip(self._dataset.classes, counts, strict=True)},
            "generated_splits": list(self._dataset.generated),
            "split_seed": self._dataset.seed,
        }


def _everything(splits: dict[str, _Split]) -> list[Photo]:
    return [photo for split in splits.values() for photo in split.photos]


def _without(split: _Split, store: FeatureStore, view: int = 0) -> _Split:
    """The split without photos that have no features."""
    usable = [index for index, photo in enumerate(split.photos) if store.has(photo, view)]
    return dataclasses.replace(split, photos=[split.photos[i] for i in usable], labels=split.labels[usable])
