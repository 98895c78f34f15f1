"""Photos -> features of every split: what each training run and each trial of a search begins with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .backbone import Backbone, Extractor
from .config import TrainingConfig
from .data.layout import SPLITS, Dataset, Example, fingerprint
from .distributed import World
from .errors import DataError
from .features import BLOCK, FeatureStore, Photo, identify, refuse
from .head import Features
from .monitor.monitor import Monitor
from .monitor.recording import FEATURES
from .progress import Progress


@dataclass(frozen=True, eq=False)
class Split:
    """The usable photos of one split and their labels (N,)."""

    photos: list[Photo]
    labels: torch.Tensor


@dataclass(frozen=True, eq=False)
class Prepared:
    """Photos that can be read, and the store that has their features."""

    splits: dict[str, Split]
    store: FeatureStore
    fingerprint: str
    """Of names and contents of all photos that could be opened."""

    @property
    def photos(self) -> list[Photo]:
        """Of all splits."""
        return [photo for split in self.splits.values() for photo in split.photos]

    def features(self, split: str, views: int = 1) -> Features:
        """What the head trains on, in the leading process."""
        part = self.splits[split]
        return Features(torch.stack([self.store.of(part.photos, view) for view in range(views)]), part.labels)


class Preparation:
    """Reads, hashes, looks up and computes. Every process of a run makes the same calls."""

    def __init__(
        self,
        dataset: Dataset,
        config: TrainingConfig,
        folder: Path | None,
        world: World,
        progress: Progress,
        monitor: Monitor,
    ) -> None:
        """Features are kept in `folder`, if there is one."""
        self._dataset, self._config, self._folder = dataset, config, folder
        self._world, self._progress, self._monitor = world, progress, monitor

    def run(self, backbone: Backbone, names: Sequence[str] = SPLITS) -> Prepared:
        """The splits of these names; the others are neither read nor named.

        DataError names photos that cannot be read; what was computed of the others is kept for the next run.
        """
        splits, digest = self.identify(names)
        prepared = Prepared(splits, FeatureStore(Extractor(backbone, self._world.device), self._folder, self._world),
                            digest)  # fmt: skip
        self.compute(prepared.store, prepared.photos, "features")
        splits = {name: _without(split, prepared.store) for name, split in splits.items()}
        self._require_all_classes(splits)
        for view in range(1, self._config.views):
            self.compute(prepared.store, splits["train"].photos, f"features of view {view + 1}", view)
            splits["train"] = _without(splits["train"], prepared.store, view)
        return dataclasses.replace(prepared, splits=splits)

    def compute(self, store: FeatureStore, photos: list[Photo], what: str, view: int = 0) -> None:
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

    def identify(self, names: Sequence[str]) -> tuple[dict[str, Split], str]:
        """Hash every file, for the splits and the fingerprint; those that cannot be opened are refused or left out."""
        examples = [example for name in names for example in self._dataset.split(name)]
        photos, problems = identify([(example.path, example.name) for example in examples])
        self._refuse(problems)
        found = {photo.name: photo for photo in photos}
        digest = fingerprint({photo.name: photo.sha256 for photo in photos})
        self._require_equal_data(digest, len(photos))
        return {name: _split(self._dataset.split(name), found) for name in names}, digest

    def _require_equal_data(self, digest: str, photos: int) -> None:
        """Processes that share out different lists would wait for each other for ever."""
        seen = self._world.gather((digest, photos))
        if len(set(seen)) > 1:
            counts = ", ".join(f"process {rank} has {n}" for rank, (_, n) in enumerate(seen))
            raise DataError(
                f"the processes see different photos: {counts}. Give every machine all of them (FullyReplicated)."
            )

    def _refuse(self, problems: dict[str, str]) -> None:
        if not self._config.skip_unreadable:
            kept = " What was computed of the others is kept." if self._folder else ""
            refuse(problems, f"Remove or replace them, or add --skip-unreadable (skip_unreadable in a job).{kept}")
        for name, why in sorted(problems.items()):
            self._progress.say(f"left out {name}: {why}")

    def _require_all_classes(self, splits: dict[str, Split]) -> None:
        """Only where photos were left out: the layout has seen to it that each class had some."""
        for name in ("train", "valid"):
            present = set(splits[name].labels.tolist())
            gone = [info.class_id for label, info in enumerate(self._dataset.classes) if label not in present]
            if gone:
                raise DataError(
                    f"no readable photo is left of {', '.join(gone[:5])} in {name}. Add some, or remove the class."
                )


def _split(examples: Sequence[Example], found: dict[str, Photo]) -> Split:
    usable = [example for example in examples if example.name in found]
    labels = torch.tensor([example.label for example in usable], dtype=torch.int64)
    return Split([found[example.name] for example in usable], labels)


def _without(split: Split, store: FeatureStore, view: int = 0) -> Split:
    """The split without photos that have no features."""
    usable = [index for index, photo in enumerate(split.photos) if store.has(photo, view)]
    return dataclasses.replace(split, photos=[split.photos[i] for i in usable], labels=split.labels[usable])
