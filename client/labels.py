"""Names for files and folders that stand for labels and photos: readable, and taken by every system."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from client.reading import is_url
from client.results import Outcome

UNSURE, UNKNOWN, FAILED = "_unsure", "_unknown", "_failed"
"""Where photos go that are not confidently of one label; no label's folder begins with an underscore."""

MAX_FILE_NAME, MAX_FOLDER_NAME = 255, 120
"""Bytes in UTF-8: what file systems take at most; folders are kept shorter, since whole paths have limits, too."""

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u2028-\u202e\u2066-\u2069\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d\u00b9\u00b2\u00b3])\s*(\..*)?", re.I)


class FolderNames:
    """The folder of each outcome, relative to the place they are sorted into. Different labels have different ones."""

    def __init__(self, place: Path) -> None:
        """What is in the place already counts: another run must come to the same names, whatever label comes first."""
        found = [path for folder in (place, place / UNSURE) if folder.is_dir() for path in folder.iterdir()]
        self._taken = {_folded(path.name): _composed(path.name) if path.is_dir() else "" for path in found}

    def of(self, outcome: Outcome) -> tuple[str, ...]:
        """The folder's parts: the label; below `_unsure` for unsure ones; `_unknown` or `_failed`."""
        if not outcome.predictions:
            return (FAILED,)
        if outcome.decision == "unknown":
            return (UNKNOWN,)
        name = self._name(outcome.predictions[0].label)
        return (UNSURE, name) if outcome.decision == "unsure" else (name,)

    def _name(self, label: str) -> str:
        """Labels that had to be changed, or would meet in one folder where capitals do not count, get a mark."""
        name = safe(label)
        if name != label or self._taken.setdefault(_folded(name), label) != label:
            mark = hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:8]
            name = f"{cut(name, MAX_FOLDER_NAME - 11)} [{mark}]"
        return name


def safe(label: str) -> str:
    """A label as the name of a folder that Windows, macOS and Linux take, and that is no path."""
    name = _plain(label, MAX_FOLDER_NAME)
    return f"label {name}".rstrip() if not name or name.startswith("_") or _RESERVED.fullmatch(name) else name


def file_name(photo: str) -> str:
    """A name for the copy of a photo that is no file: the last part of its URL, or its name in a bucket or archive."""
    path = unquote(urlsplit(photo).path) if is_url(photo) else photo
    stem, suffix = os.path.splitext(path.replace("\\", "/").rstrip("/").rpartition("/")[2])
    stem, suffix = _plain(stem, MAX_FILE_NAME - 40), _plain(suffix, 40, strip=" ")
    return f"photo {stem}".rstrip() + suffix if not stem or _RESERVED.fullmatch(stem) else stem + suffix


def cut(text: str, most: int) -> str:
    """The beginning of a text, in so many bytes of a file name at most."""
    while len(os.fsencode(text)) > most:
        text = text[:-1]
    return text.rstrip(" .")


def _plain(text: str, most: int, strip: str = " .") -> str:
    return cut(_FORBIDDEN.sub("_", _composed(text)).strip(strip), most)


def _folded(name: str) -> str:
    """What names have in common that some file systems take for one."""
    return _composed(_composed(name).casefold())


def _composed(name: str) -> str:
    """`é` as one character, however it was written; some file systems change it."""
    return unicodedata.normalize("NFC", name)
