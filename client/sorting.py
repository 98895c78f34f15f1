"""Photos into folders by label: links, copies, or the photos themselves; nothing is overwritten, and all can be undone.

Before each action its line is in the undo file, so that one that was killed can be undone like any other.
"""

from __future__ import annotations

import enum
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TextIO

from client.errors import PhotoError, UsageError
from client.labels import FolderNames
from client.output import printable
from client.results import Outcome

UNDO_FILE = "undo.jsonl"
"""Name of the file, in the folder sorted into, that tells what was done."""


class How(str, enum.Enum):
    """How photos get into their folders."""

    link = "link"
    copy = "copy"
    move = "move"


@dataclass
class Sorted:
    """What was done: photos by the way they took, those that were there, and paths with the reason why not."""

    folder: Path
    done: Counter[str] = field(default_factory=Counter)
    already: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)

    def summary(self) -> str:
        """One line, and one for each of the first problems."""
        words = {"link": "linked", "hardlink": "linked", "copy": "copied", "move": "moved"}
        by_word: Counter[str] = Counter()
        for way, number in self.done.items():
            by_word[words[way]] += number
        parts = [f"{number:,} {word}" for word, number in by_word.items()] or ["nothing to do"]
        parts += [f"{self.already:,} there already"] * bool(self.already)
        parts += [f"{len(self.problems):,} left where they are"] * bool(self.problems)
        line = f"{self.folder}: {', '.join(parts)}"
        if self.done:
            line += f"; `python -m client undo {self.folder / UNDO_FILE}` takes it back"
        return "\n".join([line, *_shown(self.problems)])


@dataclass
class Undone:
    """What was taken back, and what could not be, with the reason."""

    taken_back: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)

    def summary(self) -> str:
        """One line, and one for each of the first problems."""
        left = f", {len(self.problems):,} left as they are" if self.problems else ""
        return "\n".join([f"{self.taken_back:,} taken back{left}", *_shown(self.problems)])


def sort_into(outcomes: Iterable[Outcome], folder: Path, how: How = How.link) -> Sorted:
    """Each photo into `folder/LABEL`, unsure ones into `_unsure/LABEL`, others into `_unknown` and `_failed`.

    Links are symbolic, since a file manager shows them for what they are and deleting them harms nothing; where the
    system has none they are hard links, else copies. Photos of archives, S3 and the web are copied. A photo that is
    there already is not doubled. Problems of single photos are in what comes back; UsageError where the folder
    cannot be used.
    """
    try:
        with _Undo(folder) as undo:
            sorter = _Sorter(folder.resolve(), how, undo)
            for outcome in outcomes:
                sorter.add(outcome)
            return sorter.result
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}.", "Choose another folder.") from error


def undo(file: Path) -> Undone:
    """Take back what an undo file tells, last things first. What has changed since is left, and told.

    UsageError where it is no such file. Doing it twice is harmless.
    """
    done, root = Undone(), file.resolve().parent
    steps = list(_steps(file))
    for step in reversed(steps):
        try:
            done.taken_back += _taken_back(step)
        except (OSError, _Changed) as error:
            done.problems.append((str(step.get("to")), getattr(error, "strerror", None) or str(error)))
    if not done.problems:
        os.unlink(file)
        if any(step["did"] == "folder" and step["to"] == str(root) for step in steps):
            with suppress(OSError):
                root.rmdir()
    return done


class _Changed(Exception):
    """What was made is not what is there now."""


class _Undo:
    """The undo file, open for more lines."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: TextIO

    def __enter__(self) -> _Undo:
        new = not self._folder.exists()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = open(self._folder / UNDO_FILE, "a", encoding="utf-8")
        if new:
            self.note("folder", to=self._folder.resolve())
        return self

    def __exit__(self, *error: object) -> None:
        empty = self._file.tell() == 0
        self._file.close()
        if empty:
            (self._folder / UNDO_FILE).unlink()

    def note(self, did: str, **about: Any) -> None:
        """One step, before it is done."""
        line = {"did": did} | {name: value if value is None else str(value) for name, value in about.items()}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


class _Sorter:
    """Sorts photo by photo."""

    def __init__(self, folder: Path, how: How, undo: _Undo) -> None:
        self._folder, self._how, self._undo = folder, how, undo
        self._names = FolderNames()
        self.result = Sorted(folder)

    def add(self, outcome: Outcome) -> None:
        try:
            self._add(outcome)
        except PhotoError as error:
            self.result.problems.append((outcome.path, error.detail))
        except (OSError, ValueError) as error:
            self.result.problems.append((outcome.path, getattr(error, "strerror", None) or str(error)))

    def _add(self, outcome: Outcome) -> None:
        is_file = os.path.lexists(outcome.path)
        source = Path(os.path.abspath(outcome.path)) if is_file else None
        if source is not None and self._folder in source.resolve().parents:
            self.result.already += 1
            return
        folder = self._made(self._folder.joinpath(*self._names.of(outcome)))
        target = self._free(folder, source, outcome)
        if target is None:
            self.result.already += 1
        elif source is None:
            self._written(target, outcome)
        else:
            self._put(source, target, outcome.sha256)

    def _made(self, folder: Path) -> Path:
        for part in (*reversed(folder.parents), folder):
            if self._folder in (part, *part.parents) and not part.is_dir():
                self._undo.note("folder", to=part)
                part.mkdir()
        return folder

    def _free(self, folder: Path, source: Path | None, outcome: Outcome) -> Path | None:
        """A name that is not taken, None where the photo itself has it."""
        name = source or Path(outcome.path.replace("\\", "/").rstrip("/") or "photo")
        for number in count(1):
            target = folder / (name.name if number == 1 else f"{name.stem} ({number}){name.suffix}")
            if not os.path.lexists(target):
                return target
            if _same(source, target, outcome.sha256):
                return None
        raise AssertionError  # numbers do not end

    def _put(self, source: Path, target: Path, digest: str | None) -> None:
        ways = {How.link: (_link, _hard_link, _copy), How.copy: (_copy,), How.move: (_move,)}[self._how]
        for way in ways:
            name = way.__name__.replace("_", "")
            self._undo.note(name, to=target, **{"from": source}, sha256=digest)
            try:
                way(source, target)
            except OSError:
                if way is ways[-1]:
                    raise
            else:
                self.result.done[name] += 1
                return

    def _written(self, target: Path, outcome: Outcome) -> None:
        from client.sources import read_again

        data = read_again(outcome.path)
        self._undo.note("copy", to=target, **{"from": None}, sha256=hashlib.sha256(data).hexdigest())
        with open(target, "xb") as stream:
            stream.write(data)
        self.result.done["copy"] += 1


def _link(source: Path, target: Path) -> None:
    os.symlink(source, target)


def _hard_link(source: Path, target: Path) -> None:
    os.link(source, target, follow_symlinks=False)


def _copy(source: Path, target: Path) -> None:
    """Beside it first, so that no half photo ever has its name; the name is taken without overwriting another."""
    part = target.with_name(f".{target.name[:200]}.part")
    try:
        shutil.copy2(source, part)
        with open(part, "rb+") as stream:
            os.fsync(stream.fileno())
        _rename(part, target)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _move(source: Path, target: Path) -> None:
    try:
        _rename(source, target)
    except OSError:  # another file system, or one without hard links
        if os.path.lexists(target):
            raise
        _copy(source, target)
        if _digest(source) != _digest(target):
            target.unlink()
            raise
        source.unlink()


def _rename(source: Path, target: Path) -> None:
    """os.rename would overwrite what another program has put there meanwhile."""
    os.link(source, target, follow_symlinks=False)
    source.unlink()


def _same(source: Path | None, target: Path, digest: str | None) -> bool:
    """Whether what is there is this photo already."""
    if source is not None and os.path.islink(target) and os.path.realpath(target) == os.path.realpath(source):
        return True
    if source is not None and target.exists() and source.exists() and os.path.samefile(source, target):
        return True
    if not target.is_file() or (digest is None and (source is None or not source.is_file())):
        return False
    return _digest(target) == (digest or _digest(source))  # type: ignore[arg-type]  # there is one or the other


def _taken_back(step: dict[str, Any]) -> bool:
    """Whether there was something to take back; _Changed where that would lose something."""
    target, source = Path(step["to"]), Path(step["from"]) if step.get("from") else None
    if step["did"] == "folder":
        with suppress(OSError):  # something else is in it, or it is gone
            target.rmdir()
        return False
    if not os.path.lexists(target):
        return False
    if step["did"] == "move":
        return source is not None and _moved_back(target, source)
    if step["did"] == "link":
        if not os.path.islink(target) or os.readlink(target) != str(source):
            raise _Changed("it is no longer the link that was made")
    elif step.get("sha256") and _digest(target) != step["sha256"]:
        raise _Changed("it has changed since")
    elif source is not None and not source.exists():
        raise _Changed("the photo it was made from is gone")
    target.unlink()
    return True


def _moved_back(target: Path, source: Path) -> bool:
    if os.path.lexists(source):
        raise _Changed(f"there is another file at {source}")
    source.parent.mkdir(parents=True, exist_ok=True)
    _move(target, source)
    return True


def _steps(file: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        steps = [json.loads(line) for line in lines if line.endswith("}")]  # the last may be torn: it was not begun
        if not all(step["did"] and step["to"] for step in steps) or (lines and not steps):
            raise ValueError
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}.", f"Name the {UNDO_FILE} of a sorted folder."
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{file} is no undo file.", f"Name the {UNDO_FILE} of a sorted folder.") from error
    return iter(steps)


def _digest(path: Path) -> str:
    with open(path, "rb") as stream:
        found = hashlib.sha256()
        for block in iter(lambda: stream.read(1 << 20), b""):
            found.update(block)
        return found.hexdigest()


def _shown(problems: list[tuple[str, str]], most: int = 5) -> list[str]:
    lines = [f"  {printable(path)}: {why}" for path, why in problems[:most]]
    return lines + [f"  and {len(problems) - most:,} more"] * (len(problems) > most)
