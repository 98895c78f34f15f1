"""Labelled folders -> a dataset.

Three ways in: a folder with `train/ valid/ test/` of class folders (as Udacity's dogImages), one folder of class
folders, or separate folders for each split. What has no split gets one: stratified, seeded, the same on every
machine. `write_split` writes it down.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from model_serving.classifier import ClassInfo

from ..errors import DataError
from .dataset import Dataset, Example
from .defaults import FRACTIONS
from .files import content_hash, fingerprint, photos_of, require_folder, subfolders
from .finding import Finding, first_few, number, raise_for, shown
from .folders import SPLITS, WHOLE, ClassFolders, Located, channels, findings_of, locate, scan, structure
from .names import class_infos, display_name
from .partition import check_fractions, partition
from .splitfile import assign, pick, read_split, write_split

__all__ = [
    "FRACTIONS",
    "SPLITS",
    "Dataset",
    "Example",
    "assemble",
    "content_hash",
    "display_name",
    "evaluation_examples",
    "fingerprint",
    "load",
    "load_channels",
    "photos_of",
    "write_split",
]


def load(
    root: Path, *, seed: int = 0, fractions: tuple[float, float] = FRACTIONS, split_file: Path | None = None
) -> Dataset:
    """The dataset below a folder of either layout.

    A missing `valid/` is split off train by the first of `fractions`; without `train/` all is split. A
    `split_file` decides instead of folders and seed. DataError tells everything that would spoil training;
    ConfigError for fractions that leave nothing.
    """
    check_fractions(fractions)
    return _complete(*assemble(locate(root), seed=seed, fractions=fractions, split_file=split_file))


def load_channels(
    train: Path,
    valid: Path | None,
    test: Path | None,
    *,
    seed: int = 0,
    fractions: tuple[float, float] = FRACTIONS,
) -> Dataset:
    """The dataset of three separate folders of class folders, two of which may be missing; else as `load`."""
    check_fractions(fractions)
    located = channels({"train": train, "valid": valid, "test": test})
    return _complete(*assemble(located, seed=seed, fractions=fractions))


def _complete(dataset: Dataset, findings: list[Finding]) -> Dataset:
    raise_for(findings)
    return dataset


def assemble(
    located: Located, *, seed: int = 0, fractions: tuple[float, float] = FRACTIONS, split_file: Path | None = None
) -> tuple[Dataset, list[Finding]]:
    """The dataset as far as the folders allow, and the findings for which `load` would refuse it."""
    findings = structure(located)
    classes = class_infos({name for part in located.parts.values() for name in part.photos})
    labels = {info.class_id: label for label, info in enumerate(classes)}
    found = {split: _examples(part, labels) for split, part in located.parts.items()}
    ignored = sum(part.ignored for part in located.parts.values())
    empty = Dataset(classes, (), (), (), seed=seed, ignored=ignored)
    if split_file is not None:
        return _as_written(empty, found, split_file, findings)
    return _as_found(empty, found, fractions, findings)


def _examples(part: ClassFolders, labels: dict[str, int]) -> list[Example]:
    return [
        Example(part.folder / name, labels[class_folder], part.prefix + name)
        for class_folder, names in part.photos.items()
        for name in names
    ]


def _as_written(
    empty: Dataset, found: dict[str, list[Example]], split_file: Path, findings: list[Finding]
) -> tuple[Dataset, list[Finding]]:
    content = read_split(split_file)
    parts, strange = assign([example for part in found.values() for example in part], content, split_file)
    dataset = _filled(replace(empty, seed=content["seed"]), parts)
    return dataset, [*findings, *strange, *_missing(dataset, split_file)]


def _missing(dataset: Dataset, split_file: Path) -> Iterator[Finding]:
    """Classes that a split file gives nothing to learn from, or to validate on."""
    for split in ("train", "valid"):
        if missing := tuple(name for name, count in dataset.counts()[split].items() if not count):
            fact = f"{number(len(missing), 'class', 'classes')} without a photo in {split} of {shown(str(split_file))}"
            yield Finding("class differs", fact, "Make a new split.", missing)


def _filled(empty: Dataset, parts: Mapping[str, list[Example]]) -> Dataset:
    train, valid, test = (tuple(parts.get(split, ())) for split in SPLITS)
    return replace(empty, train=train, valid=valid, test=test)


def _as_found(
    empty: Dataset, found: dict[str, list[Example]], fractions: tuple[float, float], findings: list[Finding]
) -> tuple[Dataset, list[Finding]]:
    class_ids = [info.class_id for info in empty.classes]
    generated: tuple[str, ...] = ()
    small: list[Finding] = []
    if WHOLE in found:
        generated = SPLITS if fractions[1] else SPLITS[:2]
        found, small = partition(found[WHOLE], class_ids, empty.seed, fractions)
    elif "valid" not in found:
        generated = ("valid",)
        parts, small = partition(found["train"], class_ids, empty.seed, (fractions[0], 0))
        found = {**found, "train": parts["train"], "valid": parts["valid"]}
    return _filled(replace(empty, generated=generated), found), findings + small


def evaluation_examples(
    root: Path, classes: Sequence[ClassInfo], split_file: Path | None = None
) -> tuple[Example, ...]:
    """Photos to evaluate a model on, labelled by the model's classes, of which not all need to be there.

    They are `root/test` where there is one, else the class folders of `root`; with a `split_file` those it calls
    test. DataError for a class folder that the model does not know, and for no photos.
    """
    parts = _evaluation_parts(root, split_file)
    unknown = _unknown_classes(parts, [info.class_id for info in classes])
    raise_for([*(finding for part in parts for finding in findings_of(part)), *unknown])
    labels = {info.class_id: label for label, info in enumerate(classes)}
    examples = [example for part in parts for example in _examples(part, labels)]
    if split_file is not None:
        examples, missing = pick(examples, read_split(split_file)["test"], split_file)
        raise_for(missing)
    if not examples:
        where = shown(str(split_file or root))
        raise DataError(f"{where} has no photos to evaluate on. Give a folder of class folders, or one with test/.")
    return tuple(examples)


def _evaluation_parts(root: Path, split_file: Path | None) -> list[ClassFolders]:
    """The folders to look at: `test/`, or those of the classes; with a split file all there are."""
    require_folder(root)
    test = [name for name in subfolders(root) if name.lower() == "test"]
    if test and split_file is None:
        return [scan(root / test[0], "test/")]
    located = locate(root)
    if split_file is None and WHOLE not in located.parts:
        raise DataError(f"{shown(str(root))} has train/ and no test/. Give the folder of class folders to evaluate on.")
    return list(located.parts.values())


def _unknown_classes(parts: list[ClassFolders], class_ids: list[str]) -> list[Finding]:
    unknown = sorted({name for part in parts for name in part.photos} - set(class_ids))
    return [Finding("class differs", *_unknown_class(name, class_ids)) for name in unknown]


def _unknown_class(name: str, class_ids: list[str]) -> tuple[str, str]:
    folded = {class_id.casefold(): class_id for class_id in class_ids}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    mend = f"Is it {shown(folded[near[0]])}? " if near else f"The model knows {first_few(class_ids)}. "
    return f"the model has no class {shown(name)}", f"{mend}Rename the folder, or move it out of the way."
