"""From folder names to what people read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from model_serving.classifier import ClassInfo

# "014." counts classes, so do "014_" and "07-"; "10-speed" and "3.5mm" are names. "n02085620-" is a WordNet id.
_NUMBERING = re.compile(r"^(?:\d+\.(?=\D)|(?:0\d+|\d{3,})[-_](?=.)|n\d{8}[-_.](?=.))")


def display_name(folder: str) -> str:
    """What people read for a class folder: `014.Basenji` -> `Basenji`, `001.American_bulldog` -> `American bulldog`.

    Never empty: a folder that is only digits or signs keeps its name.
    """
    words = _NUMBERING.sub("", folder).replace("_", " ")
    words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return words if any(c.isalnum() for c in words) else folder


def class_infos(folders: Iterable[str]) -> tuple[ClassInfo, ...]:
    """The classes of some folders, sorted by folder name; a display name that two would share is used by neither."""
    labels = {folder: display_name(folder) for folder in sorted(folders)}
    uses = Counter(labels.values())
    return tuple(ClassInfo(folder, label if uses[label] == 1 else folder) for folder, label in labels.items())
