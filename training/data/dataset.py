"""The dataset: classes, and labelled photos by split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model_serving.classifier import ClassInfo

from .folders import SPLITS


@dataclass(frozen=True)
class Example:
    """One labelled photo.

    `label` is an index into the classes. `name` is its POSIX path below the root, the same on every machine:
    `014.Basenji/x.jpg`, or `train/014.Basenji/x.jpg` where the folders of splits were found.
    """

    path: Path
    label: int
    name: str


@dataclass(frozen=True)
class Dataset:
    """Labelled photos in three splits; `test` may be empty, train and valid hold every class.

    `generated` are the splits that were made here rather than found, by `seed`. `ignored` counts files that are
    no photos.
    """

    classes: tuple[ClassInfo, ...]
    train: tuple[Example, ...]
    valid: tuple[Example, ...]
    test: tuple[Example, ...]
    generated: tuple[str, ...] = ()
    seed: int = 0
    ignored: int = 0

    def split(self, name: str) -> tuple[Example, ...]:
        """The examples of train, valid or test; KeyError for any other name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]

    def __iter__(self) -> Iterator[Example]:
        """All examples, train first."""
        for name in SPLITS:
            yield from self.split(name)

    def counts(self) -> dict[str, dict[str, int]]:
        """Photos by split and class: `{"train": {"014.Basenji": 70, …}, "valid": …}`, zeros included."""
        return {name: self._count(name) for name in SPLITS}

    def _count(self, name: str) -> dict[str, int]:
        labels = Counter(example.label for example in self.split(name))
        return {info.class_id: labels[label] for label, info in enumerate(self.classes)}
