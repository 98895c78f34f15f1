"""Takes back what sorting did, by the file it has left: a JSON line for each step, before it is done and when it is.

    {"do": "move", "to": "beagle/1.jpg", "from": "/photos/1.jpg", "sha256": "…"}
    {"done": "beagle/1.jpg"}

`to` lies in the undo file's folder, so that this may be moved. `do` is `folder`, `link`, `copy`, `move`, or `fetch` for
a copy of what is no file here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from client import disk, placing
from client.errors import UsageError
from client.problems import Problems

UNDO_FILE = "undo.jsonl"
"""Name of the file, in the folder sorted into, that tells what was done."""

_KINDS = ("link", "copy", "move", "fetch")
_MEND = f"Name the {UNDO_FILE} of a sorted folder; a damaged line of it may be deleted."


class Changed(Exception):
    """What was made is no longer as it was made: taking it back would lose something."""


@dataclass(frozen=True)
class Step:
    """One thing done in the folder. `source` is the photo's real path, for `fetch` its name as the result has it."""

    do: str
    to: str
    source: str | None = None
    sha256: str | None = None
    done: bool = False

    @classmethod
    def parsed(cls, data: Any) -> Step:
        """The step of a line; ValueError, KeyError or TypeError for any other, or if `to` leads out of the folder."""
        to, source = PurePath(data["to"]), data["from"]
        known = data["do"] == "folder" if source is None else data["do"] in _KINDS and isinstance(source, str)
        if not known or to.is_absolute() or ".." in to.parts:
            raise ValueError(data)
        return cls(data["do"], data["to"], source, data["sha256"])

    def to_dict(self) -> dict[str, str | None]:
        """The line's object."""
        return {"do": self.do, "to": self.to, "from": self.source, "sha256": self.sha256}


@dataclass
class Undone:
    """How many files were taken back, sidecars too, and which could not be, with the reason."""

    taken_back: int = 0
    problems: Problems = field(default_factory=Problems)

    def summary(self) -> str:
        """One line, and one for each of the first problems."""
        left = f", {len(self.problems):,} left as they are" if self.problems else ""
        return "\n".join([f"{self.taken_back:,} taken back{left}", *self.problems.lines()])


def undo(file: Path) -> Undone:
    """Take back what an undo file tells, last things first, and delete it. What has changed since is left, and told.

    A folder stands for the undo file in it. UsageError where it is no such file. Doing it twice is harmless, and so is
    killing it.
    """
    file = file.resolve()
    if file.is_dir():
        file /= UNDO_FILE
    if not file.is_file():
        raise UsageError(f"There is no file {file}.", _MEND)
    with disk.locked(file):
        undone, ours = _all_taken_back(file)
        if not undone.problems:
            file.unlink()
    if ours and not undone.problems:
        with suppress(OSError):  # something else is in it
            file.parent.rmdir()
    return undone


def _all_taken_back(file: Path) -> tuple[Undone, bool]:
    """What came of it, and whether the folder itself was made by us."""
    undone, kept = Undone(), set[str]()
    with open(file, "rb") as stream:
        steps = [(offset, step.done) for offset, step in steps_of(stream)]
        for offset, done in reversed(steps):
            step = replace(step_at(stream, offset), done=done)
            if step.to in kept:  # what is there is of a later step
                continue
            try:
                undone.taken_back += take_back(file.parent, step)
            except (OSError, Changed) as error:
                kept.add(step.to)
                undone.problems.add(str(file.parent / step.to), error)
        ours = bool(steps) and step_at(stream, 0).to == "."
    return undone, ours


def take_back(folder: Path, step: Step) -> bool:
    """Whether there was a photo to take back; Changed where that would lose something."""
    target = folder / step.to
    if step.source is None:
        with suppress(OSError):  # something else is in it, or it is gone
            target.rmdir()
        return False
    if not step.done:
        placing.part_of(target).unlink(missing_ok=True)
    if not os.path.lexists(target):
        if step.do == "move" and step.done and not os.path.lexists(step.source):
            raise Changed("It is neither here nor where it came from.")
        return False
    if step.do == "move":
        _move_back(target, Path(step.source))
    else:
        _check_ours(step, target, Path(step.source))
        target.unlink()
    return True


def _move_back(target: Path, source: Path) -> None:
    placing.part_of(source).unlink(missing_ok=True)  # of an undo that was killed
    if not os.path.lexists(source):
        source.parent.mkdir(parents=True, exist_ok=True)
        placing.move(target, source)
    elif _is_other_name(source, target) or not placing.same_bytes(source, target):
        raise Changed(f"There is another file at {source}.")
    else:
        target.unlink()


def _check_ours(step: Step, target: Path, source: Path) -> None:
    """Changed where a link or a copy is not what we made, or may be the last there is of its photo."""
    if target.is_symlink():
        if os.path.realpath(target) != step.source:
            raise Changed("It leads elsewhere now.")
    elif step.do != "fetch" and (not source.is_file() or _is_other_name(source, target)):
        raise Changed("The photo it was made from is gone.")
    elif not (step.do != "fetch" and placing.same_bytes(source, target)) and not _has(target, step.sha256):
        raise Changed("It has changed since.")


def _is_other_name(source: Path, target: Path) -> bool:
    """Whether the source has become a link to the target, which is then the only one there is."""
    return os.path.realpath(source) == os.path.realpath(target)


def _has(target: Path, sha256: str | None) -> bool:
    return sha256 is not None and hashlib.sha256(target.read_bytes()).hexdigest() == sha256


def steps_of(stream: BinaryIO) -> Iterator[tuple[int, Step]]:
    """All steps with the place of their lines; UsageError where a line is none."""
    offset, held = 0, None
    for number, data in enumerate(lines_of(stream), 1):
        try:
            line = json.loads(data)
            if "done" in line and held is not None:
                held = held[0], replace(held[1], done=True)
            else:
                if held is not None:
                    yield held
                held = offset, Step.parsed(line)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"Line {number} of {stream.name} tells nothing to undo.", _MEND) from error
        offset += len(data)
    if held is not None:
        yield held


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """All from the start but a torn one at the end: its step was not begun."""
    stream.seek(0)
    return takewhile(lambda line: line.endswith(b"\n"), stream)


def step_at(stream: BinaryIO, offset: int) -> Step:
    """The step whose line begins there; whether it was done stands in another."""
    stream.seek(offset)
    return Step.parsed(json.loads(stream.readline()))
