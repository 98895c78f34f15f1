"""The journal of a run: the file of results itself, one JSON line a photo, appended as results come.

A path's last line counts. What makes a line still good is the photo's content, the model's name and version, and the
options: its `Key`. A journal that is closed in order has one line a photo; one that was torn off has all lines but the
last, which opening it cuts off. Two runs cannot write to one journal.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from client import disk, output
from client.errors import UsageError
from client.journal_lines import Lines, is_ours, mend, parsed, scan
from client.results import CLIENT_ERROR, Outcome

SYNC_LINES, SYNC_SECONDS = 200, 1.0
"""How many lines, or seconds, may be written before the disk has them: each sync costs some 10 ms."""


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


class Journal:
    """One journal, open. One thread writes; `recall` may be called from several at once.

    It costs some 250 bytes of memory a photo: hashes of 64 bits, and where to read a line back.
    """

    def __init__(self, lines: Lines, path: Path | None, resources: ExitStack) -> None:
        """Use `open` or `temporary`. `resources` are what closing it gives back, the lines among them."""
        self._lines, self._path, self._resources = lines, path, resources
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
        path = Path(os.path.realpath(path))  # a link stays a link when the file is replaced
        try:
            _check(path)
            with ExitStack() as stack:
                stack.enter_context(disk.locked(path))
                _beside(path).unlink(missing_ok=True)  # left by a run that was killed at its very end
                lines = stack.enter_context(closing(_lines(path, empty=force)))
                return cls(lines, path, stack.pop_all())
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}.", "Choose another with -o.") from error

    @classmethod
    def temporary(cls) -> Journal:
        """A journal of one run: identical photos are known, nothing is kept. OSError where there is no room for it."""
        folder = tempfile.TemporaryDirectory()
        with ExitStack() as stack:
            stack.callback(folder.cleanup)
            lines = stack.enter_context(closing(Lines.open(Path(folder.name, "lines"))))
            if os.name != "nt":
                folder.cleanup()  # a file that is open needs no name: nothing stays, however the run ends
            return cls(lines, None, stack.pop_all())

    def begin(self, key: Key, *, retry_failed: bool = False) -> None:
        """Read what is there. From now on lines of this key are recalled, failures only without `retry_failed`."""
        self._key, self._retry_failed = key, retry_failed
        self._paths, self._contents = {}, {}
        for line in self._lines:
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
        self._index(outcome, self._lines.append(outcome))
        self._unsynced += 1
        if self._unsynced >= SYNC_LINES or time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """See to it that the disk has every line."""
        due, self._unsynced = self._unsynced, 0  # once: after a failure a second sync would claim that all is well
        if due and self._path is not None:
            self._lines.sync()
        self._synced = time.monotonic()

    def outcomes(self) -> Iterator[Outcome]:
        """The outcome of every photo in it, in the order of their lines."""
        for offset in sorted(self._paths.values()):
            if (outcome := self._at(offset)) is not None:
                yield outcome

    def close(self) -> None:
        """Sync, bring it to one line a photo, and let other runs at it; a second time does nothing."""
        with self._resources:
            self.sync()
            if self._untidy and self._path is not None:
                self._untidy = False
                with suppress(OSError):  # no room for it: the longer file says the same
                    self._compact(self._path)

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
        return self._key is not None and self._key.fits(outcome) and _says(outcome, self._retry_failed)

    def _at(self, offset: int | None) -> Outcome | None:
        return None if offset is None else self._lines.outcome(offset)

    def _compact(self, path: Path) -> None:
        """Write the lines that count beside the file, then put them in its place at once."""
        new = _beside(path)
        try:
            with open(new, "xb") as file:
                _make_alike(path, new)
                file.writelines(self._lines.data(offset) for offset in sorted(self._paths.values()))
                file.flush()
                os.fsync(file.fileno())
            self._lines.close()  # Windows replaces no file that is open
            os.replace(new, path)
        finally:
            new.unlink(missing_ok=True)
        disk.sync_folder(path.parent)


class Done:
    """What a file of results says is done, as a run with it would find. Only looked at: a run may write to it."""

    def __init__(self, path: Path, key: Key | None, *, retry_failed: bool = False) -> None:
        """Of that key, or of any. UsageError where the file holds no results."""
        self._contents: set[int] = set()
        self._failures: set[int] = set()
        for outcome in read(path):
            if (key is None or key.fits(outcome)) and _says(outcome, retry_failed):
                if outcome.ok:
                    self._contents.add(hash(outcome.sha256))
                else:
                    self._failures.add(hash((outcome.path, outcome.sha256)))

    def __call__(self, path: str, sha256: str | None) -> bool:
        """Whether a photo with this path and content would not be asked for; `sha256` None where it cannot be read."""
        return hash((path, sha256)) in self._failures or (sha256 is not None and hash(sha256) in self._contents)


def read(path: Path, unreadable: Callable[[int], object] = lambda _: None) -> Iterator[Outcome]:
    """The outcome of every photo in a file of results, in the order of their lines; UsageError where it is none.

    A run may write to it meanwhile: what comes later is not looked at. `unreadable` is told how many whole lines are no
    results.
    """
    if not is_ours(path):
        raise UsageError(f"{path} holds no results.", "Name a file that `classify -o FILE.jsonl` has written.")
    with open(path, "rb") as stream:
        last: dict[int, int] = {}
        others = 0
        for line in scan(stream):
            if line.outcome is not None:
                last[hash(line.outcome.path)] = line.offset
            else:
                others += line.is_damaged
        unreadable(others)
        for offset in sorted(last.values()):
            stream.seek(offset)
            if (outcome := parsed(stream.readline())) is not None:
                yield outcome


def _says(outcome: Outcome, retry_failed: bool) -> bool:
    """Whether a line says something of its photo: a failure of the client's own does not."""
    return outcome.ok or not (retry_failed or (outcome.error and outcome.error.code == CLIENT_ERROR))


def _check(path: Path) -> None:
    """UsageError where no journal can be; a device such as /dev/null must never be replaced by a file."""
    output.check_file(path, force=True)
    if os.path.lexists(path) and not path.is_file():
        raise UsageError(f"{path} is no regular file.", "Leave out -o to have the lines on standard output.")


def _lines(path: Path, *, empty: bool) -> Lines:
    """The lines of a journal that is locked, whole."""
    is_new = not path.exists()
    if not (is_new or empty):
        if not is_ours(path):
            fact, hint = "exists and holds something else", "Choose another name, or --force to overwrite it."
            raise UsageError(f"{path} {fact}.", hint)
        mend(path)
    lines = Lines.open(path, empty=empty)
    if is_new:
        with suppress(OSError):  # not every file system can
            disk.sync_folder(path.parent)
    return lines


def _beside(path: Path) -> Path:
    """Where a journal is made anew; only who has its lock may."""
    return path.with_name(f".{path.name}.new")


def _make_alike(path: Path, new: Path) -> None:
    """Give a new file the rights of another, and its owner where we may: root runs over other people's photos."""
    if os.name != "nt":
        owner = path.stat()
        with suppress(OSError):
            os.chown(new, owner.st_uid, owner.st_gid)
    shutil.copymode(path, new)
