"""A stratified split that depends on nothing but seed, names and contents."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import ConfigError
from .dataset import Example
from .files import content_hash, name_bytes
from .finding import Finding

Group = list[Example]
"""Photos with the same content; they go to one split together."""


def check_fractions(fractions: tuple[float, float]) -> None:
    """ConfigError unless valid is above 0, test is at least 0 and both leave something to train on."""
    valid, test = fractions
    if not (valid > 0 and test >= 0 and valid + test < 1):
        raise ConfigError(
            f"fractions for valid and test: need valid > 0, test >= 0, sum < 1, found {valid:g}, {test:g}"
        )


def partition(
    examples: Sequence[Example], class_ids: Sequence[str], seed: int, fractions: tuple[float, float]
) -> tuple[dict[str, list[Example]], list[Finding]]:
    """Split examples into train, valid and test, class by class; and which classes are too small for it.

    A class's photos are ordered by a hash of seed and name, so that neither the file system's order nor other
    classes matter, and an added photo moves few others. Of at least three different photos one goes to valid and
    one to test (unless test's fraction is 0), of two one goes to valid. Photos with the same content stay on one
    side, where possible in train: a copy would count twice in a figure. Contents that several classes share are
    in train only.
    """
    by_label: dict[int, list[Group]] = defaultdict(list)
    shared: set[str] = set()
    for group in _groups(examples):
        labels = {example.label for example in group}
        if len(labels) > 1:
            shared.update(example.name for example in group)
        for label in labels:
            by_label[label].append([example for example in group if example.label == label])
    parts: dict[str, list[Example]] = {"train": [], "valid": [], "test": []}
    small: list[str] = []
    for label, groups in sorted(by_label.items()):
        movable = _ordered([group for group in groups if group[0].name not in shared], seed)
        parts["train"] += [example for group in groups if group[0].name in shared for example in group]
        kept = len(movable) < len(groups)
        if len(movable) + kept < 2:
            small.append(class_ids[label])
        for split, taken in _deal(movable, fractions, kept).items():
            parts[split] += taken
    return {split: sorted(taken, key=lambda e: e.name) for split, taken in parts.items()}, _too_small(small)


def _too_small(class_ids: list[str]) -> list[Finding]:
    if not class_ids:
        return []
    fact = "too few different photos to learn from some and validate on others, in class"
    return [Finding("small class", fact, "Add photos (at least 3 of each class), or remove it.", tuple(class_ids))]


def _deal(groups: list[Group], fractions: tuple[float, float], kept: bool) -> dict[str, list[Example]]:
    """Deal one class's groups; `kept` says that train has something already."""
    total = sum(map(len, groups))
    wanted = {"test": round(total * fractions[1]), "valid": round(total * fractions[0])}
    left = list(groups)
    dealt: dict[str, list[Example]] = {}
    for split, reserved, fraction in (("test", 2 - kept, fractions[1]), ("valid", 1 - kept, fractions[0])):
        dealt[split] = []
        # At least one, but never what valid and train need for their own one.
        while fraction and len(left) > reserved and len(dealt[split]) < max(1, wanted[split]):
            dealt[split] += left.pop(0)
    return {**dealt, "train": [example for group in left for example in group]}


def _ordered(groups: list[Group], seed: int) -> list[Group]:
    """Single photos first: test and valid take from the front."""
    return sorted(groups, key=lambda group: (len(group), _order(group[0].name, seed)))


def _order(name: str, seed: int) -> bytes:
    return hashlib.sha256(b"%d\0" % seed + name_bytes(name)).digest()


def _groups(examples: Iterable[Example]) -> list[Group]:
    """Examples grouped by content, in the order of names. Only files of equal size are read."""
    by_size: dict[int, Group] = defaultdict(list)
    for example in sorted(examples, key=lambda e: e.name):
        by_size[_size(example.path)].append(example)
    by_content: dict[str, Group] = defaultdict(list)
    for group in by_size.values():
        for example in group:
            by_content[_content(example) if len(group) > 1 else example.name].append(example)
    return list(by_content.values())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _content(example: Example) -> str:
    """Its content hash; its name where it cannot be read, so that it is like no other."""
    try:
        return content_hash(example.path)
    except OSError:
        return example.name
