"""`dogImages`, the reference set: 133 dog breeds in train/ valid/ test/, 8,351 photos."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FetchError
from .defaults import DOG_IMAGES_URL
from .download import Progress, discard, download, writing
from .files import content_hash
from .finding import shown
from .jsonfile import replace_json
from .unzip import UnusableZip, unpack

NOTE = ".fetched.json"
"""In the unpacked folder: where it came from, and the hash of its zip. Folders with it are complete."""


@dataclass(frozen=True)
class Fetched:
    """A fetched folder: the SHA-256 of the zip it came in, and whether it was there already."""

    folder: Path
    sha256: str
    already: bool


def fetch(
    folder: Path,
    *,
    url: str = DOG_IMAGES_URL,
    sha256: str | None = None,
    progress: Progress = lambda step, done, total: None,
    tell: Callable[[str], None] = lambda text: None,
) -> Fetched:
    """Download a zip of photos and unpack it as `folder`; a folder that is complete already is left as it is.

    A run that was stopped goes on where it was: the zip grows as `<folder>.zip.part`, the folder appears only when
    all of it is there. `sha256`, 64 hex digits, is demanded of the zip. `progress` and `tell` are told what
    happens. FetchError for everything that can go wrong; a zip that is not as demanded is kept as `.bad`.
    """
    folder = Path(folder).absolute()
    if already := _fetched(folder):
        _compare(already.sha256, sha256, f"{shown(str(folder))} was unpacked from a zip", "Choose another DIR.")
        return already
    _require_empty(folder)
    part = folder.with_name(f"{folder.name}.zip.part")
    download(url, part, progress, tell)
    with writing(folder):
        found = content_hash(part)
        try:
            _compare(found, sha256, "The zip is", "Try again, or ask whoever gave you the hash.")
            unpack(part, folder, progress, lambda inside: replace_json({"url": url, "sha256": found}, inside / NOTE))
        except UnusableZip as error:
            raise FetchError(f"{error} {_put_aside(part)}") from None
        discard(part)
    return Fetched(folder, found, already=False)


def _fetched(folder: Path) -> Fetched | None:
    """The complete folder that an earlier run has left; None if there is none."""
    try:
        note: dict[str, Any] = json.loads((folder / NOTE).read_bytes())
        return Fetched(folder, str(note["sha256"]), already=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _require_empty(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FetchError(f"{shown(str(folder))} is there and was not fetched. Remove it, or choose another DIR.")


def _compare(found: str, wanted: str | None, what: str, mend: str) -> None:
    if wanted is not None and found != wanted.strip().lower():
        raise UnusableZip(f"{what} of SHA-256 {found}, not {wanted}. {mend}")


def _put_aside(part: Path) -> str:
    """Keep a zip for inspection, out of the way of the next run; says where."""
    bad = part.with_suffix(".bad")
    part.replace(bad)
    discard(part)
    return f"It is kept as {shown(str(bad))}."
