"""Folder names for labels: readable, safe on every system, and different for different labels."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from client.results import Outcome

UNSURE, UNKNOWN, FAILED = "_unsure", "_unknown", "_failed"
"""Where photos go that are not confidently of one label; no label's folder begins with an underscore."""

MAX_NAME = 100
"""Characters of a folder's name: file systems take 255 bytes, and photos' names come below it."""

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.I)


class FolderNames:
    """The folder of each outcome, relative to the place they are sorted into."""

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}

    def of(self, outcome: Outcome) -> tuple[str, ...]:
        """The folder's parts: the label; below `_unsure` for unsure ones; `_unknown` or `_failed`."""
        if not outcome.predictions:
            return (FAILED,)
        if outcome.decision == "unknown":
            return (UNKNOWN,)
        name = self._name(outcome.predictions[0].label)
        return (UNSURE, name) if outcome.decision == "unsure" else (name,)

    def _name(self, label: str) -> str:
        """Labels that would meet in one folder, or that had to be changed, get a mark of their own."""
        name = safe(label)
        if name != label or self._taken.setdefault(name.casefold(), label) != label:
            name = f"{name[: MAX_NAME - 9]} [{hashlib.sha256(label.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}]"
        return name


def safe(label: str) -> str:
    """A label as a name that Windows, macOS and Linux take, and that is no path."""
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", label)).strip(" .")[:MAX_NAME].rstrip(" .")
    if not name or name.startswith("_") or _RESERVED.fullmatch(name):
        name = f"label {name}".rstrip()
    return name
