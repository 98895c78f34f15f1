"""Look at every photo before hours are spent on training with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from ..errors import DataError
from .dataset import Dataset
from .defaults import NEAR_BITS
from .files import fingerprint, require_folder
from .finding import INFO, LEVELS, WARNING, Finding, number
from .folders import SPLITS, Located, locate
from .layout import assemble
from .look import Look, look_at_all
from .photos import of_photos
from .report import Report
from .twins import of_twins

IMBALANCE = 5
"""A class with so many times fewer training photos than the largest is worth a warning: a rule of thumb."""

FEW_PHOTOS = 5
"""Classes with fewer training photos are told: they can hardly be learnt, let alone validated."""


def check(
    root: Path,
    *,
    seed: int = 0,
    split_file: Path | None = None,
    near_bits: int = NEAR_BITS,
    progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> Report:
    """Read every photo below `root` once and report what would spoil training, or cost accuracy.

    `seed` and `split_file` as for `load`. `near_bits` is how many bits the hashes of nearly equal photos may
    differ in; below 0 only exact copies are found. `progress` is called with what is done, photos done, and all.
    DataError for a folder that is not there and for a split file that cannot be read.
    """
    require_folder(root)
    try:
        located = locate(root)
    except DataError as error:
        return _without_layout(root, str(error))
    dataset, structure = assemble(located, seed=seed, split_file=split_file)
    looks = _looks(dataset, progress)
    findings = [
        *structure,
        *of_photos(looks),
        *of_twins(dataset, looks, near_bits, partial(progress, "comparing")),
        *_of_balance(dataset),
        *_of_leftovers(located, dataset),
    ]
    return Report(
        root=str(root),
        counts=dataset.counts(),
        generated=dataset.generated,
        seed=dataset.seed,
        photos=len(looks),
        ignored=dataset.ignored,
        fingerprint=fingerprint({name: seen.sha256 for name, seen in looks.items() if seen.sha256}),
        findings=tuple(sorted(findings, key=lambda finding: LEVELS.index(finding.level))),
    )


def _without_layout(root: Path, problem: str) -> Report:
    """The report on folders that cannot be told apart into classes: no photo of them was read."""
    counts: dict[str, dict[str, int]] = {split: {} for split in SPLITS}
    finding = Finding("layout", problem.removesuffix("."))
    return Report(str(root), counts, (), 0, 0, 0, fingerprint({}), (finding,))


def _looks(dataset: Dataset, progress: Callable[[str, int, int], None]) -> Mapping[str, Look]:
    examples = list(dataset)
    looks = {}
    for example, seen in zip(examples, look_at_all([e.path for e in examples]), strict=True):
        looks[example.name] = seen
        progress("checking", len(looks), len(examples))
    return looks


def _of_balance(dataset: Dataset) -> Iterator[Finding]:
    train = {name: count for name, count in dataset.counts()["train"].items() if count}
    if few := tuple(name for name, count in train.items() if count < FEW_PHOTOS):
        fact = f"{number(len(few), 'class', 'classes')} with fewer than {FEW_PHOTOS} training photos"
        yield Finding("few photos", fact, "Add photos of them.", few, WARNING)
    if not train:
        return
    smallest, largest = min(train, key=train.__getitem__), max(train, key=train.__getitem__)
    if train[smallest] * IMBALANCE <= train[largest]:
        fact = f"classes differ in size: {train[smallest]} to {train[largest]:,} training photos"
        mend = "Add photos of the small ones: the model will prefer the large ones when in doubt."
        yield Finding("imbalance", fact, mend, (smallest, largest), WARNING)


def _of_leftovers(located: Located, dataset: Dataset) -> Iterator[Finding]:
    if dataset.test and "test" not in dataset.generated:
        untested = tuple(name for name, count in dataset.counts()["test"].items() if not count)
        if untested:
            fact = f"{number(len(untested), 'class', 'classes')} without a photo in test/"
            mend = "Add some, or the test figures say nothing of them."
            yield Finding("class differs", fact, mend, untested, WARNING)
    if located.unused:
        fact = f"{number(len(located.unused), 'folder')} beside train/ not used"
        yield Finding("unused folder", fact, "", located.unused, INFO)
    if dataset.ignored:
        yield Finding("other files", f"{number(dataset.ignored, 'file')} left out: no photos", level=INFO)
