"""Labels as keywords, for programs that manage photos: in XMP files beside them, or inside JPEGs if asked for."""

from __future__ import annotations

import enum
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from client.output import printable
from client.results import Outcome


class KeywordPlace(str, enum.Enum):
    """Where keywords go."""

    sidecar = "sidecar"
    inside = "inside"


@dataclass
class Written:
    """How many photos have their keyword where, and paths with the reason why not."""

    beside: int = 0
    inside: int = 0
    passed_over: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)

    def summary(self) -> str:
        """One line, and one for each of the first problems."""
        parts = [f"{self.inside:,} inside"] * bool(self.inside) + [f"{self.beside:,} in .xmp files beside them"] * bool(
            self.beside
        )
        parts += [f"{self.passed_over:,} without, since nothing is certain"] * bool(self.passed_over)
        parts += [f"{len(self.problems):,} failed"] * bool(self.problems)
        lines = [f"  {printable(path)}: {why}" for path, why in self.problems[:5]]
        return "\n".join([f"keywords: {', '.join(parts) or 'none'}", *lines])


def write(outcomes: Iterable[Outcome], place: KeywordPlace, *, unsure: bool = False) -> Written:
    """The best label of each confident outcome as a keyword, of the others too with `unsure`.

    `sidecar` writes PHOTO.xmp beside a photo (`dog.jpg.xmp`) and never touches it. `inside` changes JPEGs, of which
    every byte but the XMP stays, and writes beside the others. A file is replaced at once, times and rights kept.
    """
    written = Written()
    for outcome in outcomes:
        if not outcome.predictions or not (unsure or outcome.decision == "confident"):
            written.passed_over += 1
            continue
        try:
            _write(Path(outcome.path), outcome, place, written)
        except (OSError, ValueError) as error:
            written.problems.append((outcome.path, getattr(error, "strerror", None) or str(error)))
    return written


def _write(photo: Path, outcome: Outcome, place: KeywordPlace, written: Written) -> None:
    from client import jpeg, xmp

    if not photo.is_file():
        raise ValueError("it is no file of its own")
    if place is KeywordPlace.inside and (data := _if_jpeg(photo)):
        try:
            changed = jpeg.with_xmp(data, lambda packet: xmp.with_keywords(packet, outcome))
        except ValueError:  # cut short, or no room left in its segment
            pass
        else:
            _replace(photo, changed, like=photo)
            written.inside += 1
            return
    sidecar = photo.with_name(f"{photo.name}.xmp")
    packet = sidecar.read_bytes() if sidecar.exists() else b""
    _replace(sidecar, xmp.with_keywords(packet, outcome), like=sidecar if packet else None)
    written.beside += 1


def _if_jpeg(photo: Path) -> bytes:
    """All bytes of a JPEG, none of anything else."""
    with open(photo, "rb") as stream:
        head = stream.read(3)
        return head + stream.read() if head == b"\xff\xd8\xff" else b""


def _replace(path: Path, data: bytes, like: Path | None) -> None:
    """Written beside and put in place at once: whatever happens, there is the old file or the new one."""
    path = path.resolve()
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=".", suffix=".part", delete=False) as part:
        try:
            part.write(data)
            part.flush()
            os.fsync(part.fileno())
            if like is not None:
                shutil.copystat(like, part.name)
            else:
                os.chmod(part.name, 0o666 & ~_umask())
            os.replace(part.name, path)
        except BaseException:
            os.unlink(part.name)
            raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
