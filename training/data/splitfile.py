"""The split, written down: which photo is in which split, by name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError
from .dataset import Dataset, Example
from .finding import Finding, number, shown
from .folders import SPLITS
from .jsonfile import write_json


def write_split(dataset: Dataset, file: Path) -> None:
    """Write the names of each split as JSON, all or nothing; DataError if the file cannot be written."""
    content = {
        "seed": dataset.seed,
        "classes": [info.class_id for info in dataset.classes],
        **{name: [example.name for example in dataset.split(name)] for name in SPLITS},
    }
    write_json(content, file)


def read_split(file: Path) -> dict[str, Any]:
    """What `write_split` wrote; DataError if it is missing, or something else."""
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise DataError(f"{shown(str(file))} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise DataError(f"{shown(str(file))} is not JSON. Give a split file that training wrote.") from None
    lists = [content.get(name) for name in SPLITS] if isinstance(content, dict) else []
    if not lists or not all(isinstance(names, list) and all(isinstance(n, str) for n in names) for names in lists):
        raise DataError(
            f"{shown(str(file))} has no lists train, valid and test. Give a split file that training wrote."
        )
    if not isinstance(content.setdefault("seed", 0), int):
        raise DataError(f"{shown(str(file))}: seed is no whole number. Give a split file that training wrote.")
    return dict(content)


def pick(examples: Iterable[Example], names: Iterable[str], file: Path) -> tuple[list[Example], list[Finding]]:
    """The examples of those names, in their order; and the names that no example has."""
    by_name = {example.name: example for example in examples}
    found = [by_name[name] for name in names if name in by_name]
    return found, _strange("{} of {file} not in the folder", file, [name for name in names if name not in by_name])


def assign(
    examples: Sequence[Example], content: Mapping[str, Any], file: Path
) -> tuple[dict[str, list[Example]], list[Finding]]:
    """Examples by split as the file says; and the names that only one side knows, or that are listed twice."""
    listed = Counter(name for split in SPLITS for name in content[split])
    _, findings = pick(examples, listed, file)
    parts = {split: pick(examples, content[split], file)[0] for split in SPLITS}
    findings += _strange("{} of the folder not in {file}", file, [e.name for e in examples if e.name not in listed])
    findings += _strange("{} listed twice in {file}", file, [name for name, count in listed.items() if count > 1])
    return parts, findings


def _strange(text: str, file: Path, names: list[str]) -> list[Finding]:
    where = shown(str(file))
    mend = f"Give the folder that {where} was written for, or leave {where} out for a new split."
    fact = text.format(number(len(names), "photo"), file=where)
    return [Finding("split file", fact, mend, tuple(names))] if names else []
