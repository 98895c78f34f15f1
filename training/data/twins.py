"""What is to be said of photos that occur more than once, exactly or nearly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .dataset import Dataset
from .finding import PROBLEM, WARNING, Finding, number
from .folders import SPLITS
from .look import Look
from .similar import MAX_PAIRS, equal_groups, joined, near_pairs


@dataclass(frozen=True)
class _Place:
    """Where a photo is."""

    name: str
    label: int
    split: str


def of_twins(
    dataset: Dataset, looks: Mapping[str, Look], near_bits: int, progress: Callable[[int, int], None]
) -> Iterator[Finding]:
    """Findings about duplicates: of the same bytes, and of hashes at most `near_bits` apart (none below 0)."""
    # In the order of the splits, so that a leak reads "train = valid".
    places = [_Place(example.name, example.label, split) for split in SPLITS for example in dataset.split(split)]
    seen = [looks[place.name] for place in places]
    # Unusable files are told as such; that empty ones are equal says nothing.
    exact = equal_groups(["" if one.error else one.sha256 for one in seen])
    yield from _exact([[places[i] for i in group] for group in exact])
    if near_bits >= 0:
        distinct = _distinct(seen)
        pairs = near_pairs([bits for i in distinct if (bits := seen[i].bits) is not None], near_bits, progress)
        yield from _near([[places[distinct[i]] for i in group] for group in joined(pairs)], bool(dataset.generated))
        if len(pairs) == MAX_PAIRS:
            fact = f"more than {MAX_PAIRS:,} pairs of photos are nearly the same; only the first were looked at"
            yield Finding("near-duplicate", fact, "Photos that are all alike need a smaller --near.", level=WARNING)


def _distinct(seen: Sequence[Look]) -> list[int]:
    """Indices of photos to compare, the first of each content: exact copies are told already."""
    first: dict[str, int] = {}
    for i, one in enumerate(seen):
        if one.bits is not None:
            first.setdefault(one.sha256, i)
    return list(first.values())


def _exact(groups: Sequence[Sequence[_Place]]) -> Iterator[Finding]:
    labelled_twice: list[Sequence[_Place]] = []
    leaking: list[Sequence[_Place]] = []
    rest: list[Sequence[_Place]] = []
    for group in groups:
        kind = labelled_twice if _classes(group) > 1 else leaking if _splits(group) > 1 else rest
        kind.append(group)
    mend = "Keep each in the one class it belongs to."
    yield from _told(
        labelled_twice, "contradiction", "{} in several classes: the same photo, two labels", mend, PROBLEM
    )
    mend = "Keep each in one split: a model is good at photos that it has learnt by heart."
    yield from _told(leaking, "leak", "{} in several splits", mend, PROBLEM)
    mend = "Keep one of each: copies count twice."
    yield from _told(rest, "duplicate", "{} more than once in a class", mend, WARNING)


def _near(groups: Sequence[Sequence[_Place]], generated: bool) -> Iterator[Finding]:
    leaking = [group for group in groups if _splits(group) > 1]
    mend = "Keep each in one split, or one photo of each."
    if generated:
        mend = "Keep one photo of each, or sort them into train/, valid/ and test/: the split made here goes by copies."
    yield from _told(leaking, "leak", "{} in several splits, nearly the same", mend, PROBLEM)
    rest = [group for group in groups if _splits(group) == 1]
    mend = "Look at them: one label is likely wrong."
    across = [group for group in rest if _classes(group) > 1]
    yield from _told(across, "near-contradiction", "{} in several classes, nearly the same", mend, WARNING)
    mend = "Keep one of each, if they are copies: they teach little more than one."
    within = [group for group in rest if _classes(group) == 1]
    yield from _told(within, "near-duplicate", "{} nearly the same in a class", mend, WARNING)


def _classes(group: Sequence[_Place]) -> int:
    return len({place.label for place in group})


def _splits(group: Sequence[_Place]) -> int:
    return len({place.split for place in group})


def _told(groups: Sequence[Sequence[_Place]], kind: str, fact: str, mend: str, level: str) -> Iterator[Finding]:
    """One finding that counts its groups and names each as `a = b`."""
    if groups:
        names = tuple(" = ".join(place.name for place in group) for group in groups)
        yield Finding(kind, fact.format(number(len(groups), "photo")), mend, names, level)
