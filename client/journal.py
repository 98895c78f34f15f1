"""The journal of a run: the file of results itself, one JSON line a photo, appended as results come.

A path's last line counts. What makes a line still good is the photo's content, the model's name and version, and the
options: its `Key`. A journal that is closed in order has one line a photo; one that was torn off has all lines but the
last, which opening it cuts off. Two runs cannot write to one journal.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from client.errors import UsageError
from client.output import json_line
from client.results import Outcome

if TYPE_CHECKING:
    from filelock import BaseFileLock

SYNC_LINES, SYNC_SECONDS = 200, 1.0
"""How many lines, or seconds, may be written before the disk has them: each sync costs some 10 ms."""

_OURS = b'{"path": '
"""How each line begins, as `output.json_line` writes them: what a torn one is known by."""


@dataclass(frozen=True)
class Key:
    """What a result depends on besides the photo: the model, by content-derived version, and the client's options."""

    model: str
    version: str
    options: str

    def fits(self, outcome: Outcome) -> bool:
        """Whether an outcome came about like this."""
        return (outcome.model, outcome.version, outcome.options) == (self.model, self.version, self.options)


class Recalled(NamedTuple):
    """What the journal knows of a photo. `kept`: its own line stands, and nothing is to be written."""

    outcome: Outcome
    kept: bool


class _Line(NamedTuple):
    """A line, where it begins in bytes, and its outcome, None where it cannot be read."""

    offset: int
    data: bytes
    outcome: Outcome | None


class Journal:
    """One journal, open. One thread writes; `recall` may be called from several at once.

    It costs some 200 bytes of memory a photo: numbers, which say where to read a line back.
    """

    def __init__(self, file: BinaryIO, reader: BinaryIO, path: Path | None = None, lock: BaseFileLock | None = None):
        """Use `open` or `temporary`."""
        self._file, self._reader, self._path, self._lock = file, reader, path, lock
        self._end = file.seek(0, os.SEEK_END)
        self._reading = threading.Lock()
        self._paths: dict[int, int] = {}
        self._contents: dict[int, int] = {}
        self._key: Key | None = None
        self._retry_failed = False
        self._unsynced, self._synced = 0, time.monotonic()
        self._untidy = False

    @classmethod
    def open(cls, path: Path, *, force: bool = False) -> Journal:
        """Open or begin a journal, mending its end; with `force` what was in it is gone.

        UsageError where the file holds something else, another run has it, or it cannot be written.
        """
        if path.is_dir():
            raise UsageError(f"{path} is a folder.", "Name a file in it.")
        if not path.parent.is_dir():
            raise UsageError(f"There is no folder {path.parent}.", "Create it first.")
        path = path.resolve()  # a link stays a link when the file is replaced
        lock = _locked(path)
        try:
            if path.exists() and not force:
                _mend(path)
            file = open(path, "wb" if force else "ab", buffering=0)  # noqa: SIM115 - closed by close()
            return cls(cast(BinaryIO, file), open(path, "rb"), path, lock)
        except OSError as error:
            lock.release()
            raise UsageError(f"{path} cannot be written: {error.strerror}.", "Choose another with -o.") from error
        except UsageError:
            lock.release()
            raise

    @classmethod
    def temporary(cls) -> Journal:
        """A journal of one run: identical photos are known, nothing is kept."""
        file = tempfile.NamedTemporaryFile("ab", buffering=0, delete=os.name != "nt")  # noqa: SIM115 - closed by close()
        return cls(cast(BinaryIO, file), open(file.name, "rb"))

    def begin(self, key: Key, *, retry_failed: bool = False) -> None:
        """Read what is there. From now on lines of this key are recalled, failures only without `retry_failed`."""
        self._key, self._retry_failed = key, retry_failed
        self._paths, self._contents = {}, {}
        with self._reading:
            for line in _lines(self._reader):
                if line.outcome is None:
                    self._untidy = True
                else:
                    self._index(line.outcome, line.offset)

    def recall(self, path: str, sha256: str | None) -> Recalled | None:
        """What is known of a photo with this path and content; None where it has to be asked.

        `sha256` None is a photo that cannot be read: kept where its line says so already.
        """
        own = self._at(self._paths.get(hash(path)))
        if own is not None and own.path == path and own.sha256 == sha256 and self._still_good(own):
            return Recalled(own, True)
        twin = self._at(self._contents.get(hash(sha256))) if sha256 else None
        if twin is not None and twin.sha256 == sha256:
            return Recalled(replace(twin, path=path, ms=0.0), False)
        return None

    def write(self, outcome: Outcome) -> None:
        """Append a line and hand it to the operating system; OSError where the disk is full, with no half line left."""
        data = json_line(outcome.to_dict()).encode() + b"\n"
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:]) or 0
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            raise
        self._index(outcome, self._end)
        self._end += len(data)
        self._unsynced += 1
        if self._unsynced >= SYNC_LINES or time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """See to it that the disk has every line."""
        if self._unsynced and self._path is not None:
            os.fsync(self._file.fileno())
        self._unsynced, self._synced = 0, time.monotonic()

    def outcomes(self) -> Iterator[Outcome]:
        """The outcome of every photo in it, in the order of their lines."""
        with self._reading:
            offsets = sorted(self._paths.values())
        for offset in offsets:
            if (outcome := self._at(offset)) is not None:
                yield outcome

    def close(self) -> None:
        """Sync, bring it to one line a photo, and let other runs at it."""
        try:
            self.sync()
            if self._untidy and self._path is not None:
                try:
                    self._compact(self._path)
                except OSError:  # no room for it: the longer file says the same
                    self._path.with_name(f".{self._path.name}.new").unlink(missing_ok=True)
        finally:
            self._reader.close()
            self._file.close()
            if self._lock is not None:
                with contextlib.suppress(OSError):
                    os.unlink(self._lock.lock_file)
                self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _index(self, outcome: Outcome, offset: int) -> None:
        path = hash(outcome.path)
        self._untidy = self._untidy or path in self._paths
        self._paths[path] = offset
        if outcome.ok and outcome.sha256 and self._key is not None and self._key.fits(outcome):
            self._contents[hash(outcome.sha256)] = offset

    def _still_good(self, outcome: Outcome) -> bool:
        return self._key is not None and self._key.fits(outcome) and (outcome.ok or not self._retry_failed)

    def _at(self, offset: int | None) -> Outcome | None:
        if offset is None:
            return None
        with self._reading:
            self._reader.seek(offset)
            data = self._reader.readline()
        return _parsed(data)

    def _compact(self, path: Path) -> None:
        """Write the lines that count beside the file, then put them in its place at once."""
        counting = set(self._paths.values())
        new = path.with_name(f".{path.name}.new")  # always the same: one that a crash left is replaced
        with open(new, "wb") as other, self._reading:
            other.writelines(line.data for line in _lines(self._reader) if line.offset in counting)
            other.flush()
            os.fsync(other.fileno())
        shutil.copymode(path, new)
        os.replace(new, path)
        _sync_folder(path.parent)


def read(path: Path) -> Iterator[Outcome]:
    """The outcome of every photo in a file of results, in the order of their lines; UsageError where it is none."""
    _check(path)
    with open(path, "rb") as stream:
        last = {hash(line.outcome.path): line.offset for line in _lines(stream) if line.outcome is not None}
        for line in _lines(stream):
            if line.outcome is not None and last[hash(line.outcome.path)] == line.offset:
                yield line.outcome


def _lines(stream: BinaryIO) -> Iterator[_Line]:
    """All lines from the start, a torn one at the end too."""
    offset = stream.seek(0)
    for data in stream:
        if data.strip():
            yield _Line(offset, data, _parsed(data))
        offset += len(data)


def _parsed(data: bytes) -> Outcome | None:
    try:
        return Outcome.from_dict(json.loads(data))
    except (ValueError, RecursionError):
        return None


def _check(path: Path) -> None:
    """UsageError for a file that was not made by a run: it must never be written to."""
    try:
        with open(path, "rb") as stream:
            first = next((data for data in stream if data.strip(b"\0\r\n\t ")), b"")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check that you may read it.") from error
    if first and _parsed(first) is None and not first.startswith(_OURS[: len(first)]):
        raise UsageError(f"{path} exists and holds something else.", "Choose another name, or --force to overwrite it.")


def _mend(path: Path) -> None:
    """Cut off what a crash has left half-written at the end; a whole line that only lacks its end gets it."""
    _check(path)
    with open(path, "r+b") as file:
        tail, start = _tail(file)
        if not tail:
            return
        if _parsed(tail) is None:
            file.truncate(start)
        else:
            file.seek(0, os.SEEK_END)
            file.write(b"\n")


def _tail(file: BinaryIO, block: int = 1 << 16) -> tuple[bytes, int]:
    """What follows the last newline, and where it begins."""
    end = start = file.seek(0, os.SEEK_END)
    tail = b""
    while start:
        size = min(block, start)
        start -= size
        file.seek(start)
        tail = file.read(size) + tail
        if (newline := tail.rfind(b"\n", 0, size)) >= 0:
            return tail[newline + 1 :], start + newline + 1
    return tail, end - len(tail)


def _locked(path: Path) -> BaseFileLock:
    """The lock of a journal, a hidden file beside it; it is free again when its process ends, however that ends."""
    import filelock

    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UsageError(f"Another run writes to {path}.", "Wait for its end, or choose another name.") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be locked: {error.strerror}.", "Choose a folder you may write to.") from error
    return lock


def _sync_folder(folder: Path) -> None:
    """Without it a power loss may bring back the old name."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
