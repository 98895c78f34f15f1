"""Class folders as they lie on the disk, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from .files import require_folder, subfolders, walk
from .finding import Finding, number, shown

SPLITS = ("train", "valid", "test")
"""The splits: to learn from, to choose the epoch and hyperparameters by, to report on."""

WHOLE = ""
"""Stands for a split's name where one folder of class folders holds all photos."""

SPLIT_NAMES = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}
"""Folder names that mean a split."""

_DRAWING = """
    photos/           or        photos/
      train/                      Beagle/
        Beagle/                     1.jpg
          1.jpg                     2.jpg
        Poodle/                   Poodle/
          3.jpg                     3.jpg
      valid/  (the same)
      test/   (the same)
"""


@dataclass(frozen=True)
class ClassFolders:
    """One folder of class folders.

    `photos` maps each class folder to names relative to `folder`; a name of the dataset is `prefix` + that.
    `loose` are photos in no class folder, `unreadable` folders that may not be listed, `ignored` counts what is
    no photo.
    """

    folder: Path
    prefix: str
    photos: Mapping[str, tuple[str, ...]]
    loose: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    ignored: int = 0


@dataclass(frozen=True)
class Located:
    """The parts of a dataset: `{"": …}` where no split was found, else some of train, valid, test.

    `unused` are folders beside those of the splits.
    """

    root: Path
    parts: Mapping[str, ClassFolders]
    unused: tuple[str, ...] = ()


def scan(folder: Path, prefix: str = "") -> ClassFolders:
    """Look through a folder of class folders; DataError if it is missing or no folder."""
    require_folder(folder)
    photos: dict[str, list[str]] = {name: [] for name in subfolders(folder)}
    walked = walk(folder)
    loose: list[str] = []
    for name in walked.photos:
        class_folder, slash, _ = name.partition("/")
        (photos[class_folder] if slash else loose).append(name)
    grouped = {class_folder: tuple(names) for class_folder, names in photos.items()}
    return ClassFolders(folder, prefix, grouped, tuple(loose), walked.unreadable, walked.ignored)


def locate(root: Path) -> Located:
    """Find out which layout a folder has, and look through it; DataError if it has none."""
    require_folder(root)
    found: dict[str, str] = {}
    names = subfolders(root)
    splits = [name for name in names if name.lower() in SPLIT_NAMES]
    if not any(name.lower() == "train" for name in splits):
        _refuse_splits_without_train(root, names, splits)
        return Located(root, {WHOLE: scan(root)})
    for name in splits:
        split = SPLIT_NAMES[name.lower()]
        if split in found:
            raise DataError(f"{shown(str(root))} has both {found[split]}/ and {name}/. Keep one of them.")
        found[split] = name
    parts = {split: scan(root / found[split], f"{split}/") for split in SPLITS if split in found}
    return Located(root, parts, tuple(name for name in names if name not in splits))


def _refuse_splits_without_train(root: Path, names: list[str], splits: list[str]) -> None:
    """A split's name is hardly a class, and a folder whose only folder has train/ is one too high."""
    if splits:
        raise DataError(
            f"{shown(str(root))} has {', '.join(f'{name}/' for name in splits)} and no train/. Put the class folders "
            f"to learn from into train/; a class of that name needs another one.\n{_DRAWING}"
        )
    if len(names) == 1 and any(name.lower() == "train" for name in subfolders(root / names[0])):
        inner = shown(str(root / names[0]))
        raise DataError(f"{shown(str(root))} holds nothing but {shown(names[0])}/, which has train/. Give {inner}.")


def channels(folders: Mapping[str, Path | None]) -> Located:
    """Separate folders for train, valid and test, some of which may be None; DataError for a missing or equal one."""
    given = {split: folder for split, folder in folders.items() if folder is not None}
    real = {folder.resolve() for folder in given.values()}
    if len(real) < len(given):
        raise DataError("Two of train, valid and test are the same folder. Give each its own photos, or leave one out.")
    parts = {split: scan(folder, f"{split}/") for split, folder in given.items()}
    return Located(given["train"], parts)


def structure(located: Located) -> list[Finding]:
    """What is wrong with the folders, all of it."""
    parts = located.parts
    findings = [finding for part in parts.values() for finding in findings_of(part)]
    first = parts.get("train") or parts[WHOLE]
    if not any(first.photos.values()):
        return findings if first.loose else [*findings, _without_photos(first)]
    findings += _number_of_classes(first)
    for split, part in parts.items():
        if part is not first:
            findings += _against_train(split, part, first)
    return findings


def findings_of(part: ClassFolders) -> Iterator[Finding]:
    """What is wrong with one folder of class folders, whatever it is used for."""
    where = shown(str(part.folder))
    if part.unreadable:
        yield Finding(
            "unreadable folder",
            f"{number(len(part.unreadable), 'folder')} of {where} may not be listed",
            "Change their permissions.",
            _prefixed(part, part.unreadable),
        )
    if part.loose:
        fact = f"{number(len(part.loose), 'photo')} of {where} {_lie(part.loose)} in no class folder"
        mend = "Move each into the folder of its class, or out of the way."
        if not part.photos:
            mend = f"Make a folder for each class:\n{_DRAWING}"
        yield Finding("loose photo", fact, mend, _prefixed(part, part.loose))
    if undecodable := [name for name in part.photos if not _is_text(name)]:
        mend = "Rename them: the name of the class is written into the model as text."
        yield Finding("class name", f"class folders of {where} are not named in UTF-8", mend, tuple(undecodable))
    yield from _differing_in_case(part)


def _lie(names: tuple[str, ...]) -> str:
    return "lies" if len(names) == 1 else "lie"


def _prefixed(part: ClassFolders, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(part.prefix + name for name in names)


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _differing_in_case(part: ClassFolders) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for name in part.photos:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            fact = f"{shown(str(part.folder))} has class folders that differ only in case"
            yield Finding("class name", fact, "Join them, or name one otherwise.", (other, name))


def _without_photos(part: ClassFolders) -> Finding:
    where = shown(str(part.folder))
    if part.photos:
        return Finding("no photos", f"{where} has class folders and no photo in them", "Put photos into each.")
    return Finding("no photos", f"{where} has no class folders", f"Make one for each class:\n{_DRAWING}")


def _number_of_classes(part: ClassFolders) -> Iterator[Finding]:
    where = shown(str(part.folder))
    if empty := tuple(name for name, photos in part.photos.items() if not photos):
        fact = f"{number(len(empty), 'class folder')} of {where} {'holds' if len(empty) == 1 else 'hold'} no photo"
        yield Finding("empty class", fact, "Put photos in, or remove the folder.", _prefixed(part, empty))
    if len(part.photos) == 1:
        fact = f"{where} has one class only"
        yield Finding("one class", fact, "A classifier needs at least two class folders.", tuple(part.photos))


def _against_train(split: str, part: ClassFolders, train: ClassFolders) -> Iterator[Finding]:
    """Classes that are in one of the two folders only."""
    present = {name for name, photos in part.photos.items() if photos}
    by_case = {name.casefold(): name for name in train.photos}
    strange = sorted(present - train.photos.keys())
    renamed = {by_case[name.casefold()]: name for name in strange if name.casefold() in by_case}
    for wanted, name in renamed.items():
        mend = f'Rename {split}/{shown(name)} to "{shown(wanted)}".'
        yield Finding("class name", f'{split}/ writes "{shown(name)}" what train/ writes "{shown(wanted)}"', mend)
    if unknown := tuple(name for name in strange if name.casefold() not in by_case):
        fact = f"{number(len(unknown), 'class', 'classes')} of {split}/ {_is(unknown)} not in train/"
        mend = "Put photos of them into train/, or remove their folders."
        yield Finding("class differs", fact, mend, unknown)
    missing = tuple(sorted(train.photos.keys() - present - renamed.keys()))
    if missing and split == "valid":
        fact = f"{number(len(missing), 'class', 'classes')} of train/ {_is(missing)} missing in valid/"
        mend = f"Move some photos of {shown(missing[0])} there, or remove the folder valid so that it is split off."
        yield Finding("class differs", fact, mend, missing)


def _is(names: tuple[str, ...]) -> str:
    return "is" if len(names) == 1 else "are"
