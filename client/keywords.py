"""Labels as keywords of photos, for the programs that manage them: in XMP files beside, or inside if asked for."""

from __future__ import annotations

import enum
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from client import placing
from client.errors import ClientError
from client.kinds import first_bytes
from client.problems import Problems
from client.results import Outcome
from lambda_api.schema import sniff_media_type


class KeywordPlace(str, enum.Enum):
    """Where keywords go."""

    sidecar = "sidecar"
    inside = "inside"


_WORDS = {
    "inside": "inside",
    "beside": "in .xmp files beside them",
    "instead": "in .xmp files since nothing can be put inside",
    "same": "have it already",
    "without": "without one, since no label is certain",
}


@dataclass
class Written:
    """What became of the photos, counted by the names in `_WORDS`, and paths with the reason why not."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: Problems = field(default_factory=Problems)

    def summary(self) -> str:
        """One line, and one for each of the first problems."""
        parts = [f"{self.counts[kind]:,} {words}" for kind, words in _WORDS.items() if self.counts[kind]]
        parts += [f"{len(self.problems):,} failed"] * bool(self.problems)
        return "\n".join([f"keywords: {', '.join(parts) or 'no photos'}", *self.problems.lines()])


def write(outcomes: Iterable[Outcome], place: KeywordPlace, *, unsure: bool = False) -> Written:
    """The best label of each confident outcome as a keyword; with `unsure`, of any that has one.

    `sidecar` writes `dog.jpg.xmp` beside `dog.jpg` and never touches the photo. `inside` changes JPEG, PNG and WebP
    files, of which every other byte stays, and writes beside what has another format or is broken. A file is replaced
    at once, with its rights, a photo with its times: after a crash there is the old one or the new one. What others
    have written stays. Problems of single photos, such as members of archives, are in what comes back.
    """
    written = Written()
    for outcome in outcomes:
        if not outcome.predictions or not (unsure or outcome.decision == "confident"):
            written.counts["without"] += 1
            continue
        try:
            written.counts[_write(Path(outcome.path), outcome, place)] += 1
        except (ClientError, OSError, ValueError) as error:
            written.problems.add(outcome.path, error)
    return written


def _write(photo: Path, outcome: Outcome, place: KeywordPlace) -> str:
    if not os.path.isfile(photo):
        raise ValueError("It is no file on this machine.")
    if place is KeywordPlace.sidecar:
        return _beside(photo, outcome)
    inside = _inside(photo, outcome)
    if inside is None:
        beside = _beside(photo, outcome)
        return "instead" if beside == "beside" else beside
    return inside


def _beside(photo: Path, outcome: Outcome) -> str:
    from client import xmp

    sidecar = placing.sidecar_of(photo)
    old = sidecar.read_bytes() if sidecar.exists() else b""
    new = xmp.with_keyword(old, outcome)
    if new == old:
        return "same"
    _replace(sidecar, new, like=sidecar.stat() if old else None)
    return "beside"


def _inside(photo: Path, outcome: Outcome) -> str | None:
    """None where there is no place for a packet in it."""
    from client import embedding, reading, xmp

    if sniff_media_type(first_bytes(str(photo))) not in embedding.MEDIA_TYPES:
        return None
    before = photo.stat()
    old = reading.read(photo)
    try:
        new = embedding.with_xmp(old, partial(xmp.with_keyword, outcome=outcome))
    except ValueError:
        return None
    if new == old:
        return "same"
    _replace(photo, new, like=before, keep_times=True)
    return "inside"


def _replace(path: Path, data: bytes, like: os.stat_result | None, *, keep_times: bool = False) -> None:
    """Put data in the place of what is there, with its owner and rights; OSError where it has changed meanwhile."""
    from client import files

    if like is not None and not os.access(path, os.W_OK):
        raise PermissionError("It is write-protected.")
    with files.in_place_of(path, force=True) as part:
        if like is None:
            part.write_bytes(data)
            return
        part.chmod(0o600)  # it may be private
        part.write_bytes(data)
        with suppress(AttributeError, PermissionError):  # not on Windows, and the owner alone may be kept by others
            os.chown(part, like.st_uid, like.st_gid)
        (shutil.copystat if keep_times else shutil.copymode)(path, part)
        now = path.stat()
        if (now.st_mtime_ns, now.st_size, now.st_ino) != (like.st_mtime_ns, like.st_size, like.st_ino):
            raise OSError("It has been changed by another program meanwhile.")
