"""The undo file of a folder that photos are sorted into, as it grows: what is done, and what earlier runs did."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePath

from client import disk
from client.errors import UsageError
from client.undoing import UNDO_FILE, Changed, Step, lines_of, step_at, steps_of, take_back, undo


class Log:
    """An undo file, open for more steps; `writing` opens it. It costs some 100 bytes of memory a photo."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        """Read what is there, cut off a torn end, and take back the step that a killed run was at."""
        self.folder = folder
        self.photos = 0
        """How many were put here, by earlier runs too."""
        path = folder / UNDO_FILE
        self._file = stack.enter_context(open(path, "ab", buffering=0))  # noqa: SIM115 - the stack closes it
        self._reader = stack.enter_context(open(path, "rb"))  # noqa: SIM115 - the same
        self._earlier: dict[int, int] = {}
        self._folders: set[str] = set()
        step = None
        for offset, step in steps_of(self._reader):
            if step.done:
                self._remember(step, offset)
        self._file.truncate(sum(len(line) for line in lines_of(self._reader)))
        if step is not None and not step.done:
            with suppress(OSError, Changed):
                take_back(folder, step)

    def earlier(self, source: str) -> Step | None:
        """The last step that put this photo somewhere here."""
        offset = self._earlier.get(hash(source))
        if offset is None:
            return None
        step = step_at(self._reader, offset)
        return step if step.source == source else None

    @contextmanager
    def doing(self, do: str, target: Path, source: str | None = None, sha256: str | None = None) -> Iterator[None]:
        """Note a step before it is done, and that it is done if no exception comes."""
        step = Step(do, target.relative_to(self.folder).as_posix(), source, sha256)
        offset = self._file.seek(0, os.SEEK_END)
        self._append(step.to_dict())
        yield
        self._append({"done": step.to})
        self._remember(step, offset)

    def make(self, folder: Path) -> None:
        """Make a folder and those between it and this one."""
        if not folder.is_dir():
            self.make(folder.parent)
            with self.doing("folder", folder):
                folder.mkdir()

    def take_back(self, step: Step) -> None:
        """Take back a step of an earlier run, and its folder if that is ours and empty now; Changed if it must stay."""
        take_back(self.folder, step)
        folder = PurePath(step.to).parent.as_posix()
        if folder in self._folders:
            with suppress(OSError):
                (self.folder / folder).rmdir()

    def _append(self, line: dict[str, str | None]) -> None:
        disk.append(self._file, json.dumps(line).encode() + b"\n")

    def _remember(self, step: Step, offset: int) -> None:
        if step.source is None:
            self._folders.add(step.to)
        else:
            self.photos += 1
            self._earlier[hash(step.source)] = offset


@contextmanager
def writing(folder: Path) -> Iterator[Log]:
    """The undo file of a folder, both made if need be, and gone again if no photo was put there; one run at a time.

    UsageError where they cannot be.
    """
    new = not folder.exists()
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder = folder.resolve()
            stack.enter_context(disk.locked(folder / UNDO_FILE))
            log = Log(folder, stack)
            if new:
                with log.doing("folder", folder):
                    pass
        except OSError as error:
            raise UsageError(f"{folder} cannot be written: {error.strerror}.", "Choose another folder.") from error
        yield log
    if not log.photos:
        undo(folder / UNDO_FILE)
