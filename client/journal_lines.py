"""The lines of a journal as a file holds them: whole, torn by a crash, or somebody else's."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from functools import partial
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO, NamedTuple

from client import disk
from client.errors import UsageError
from client.output import json_line
from client.results import Outcome

MAX_LINE_BYTES = 1 << 20
"""No result line is longer: one with 1,000 labels takes 100 kB."""

_OURS = b'{"path": '
"""How each line begins, as `output.json_line` writes them: what a torn one is known by."""

_BLANK = b"\0\r\n\t "
"""What says nothing. File systems leave zeros where a power loss kept data from the disk."""


class Line(NamedTuple):
    """Where a line begins, in bytes, and its outcome, None where it cannot be read.

    It is damaged if there is something in it that ought to be one: the end of a file may be half of a line.
    """

    offset: int
    outcome: Outcome | None
    is_damaged: bool


class Lines:
    """The result lines of an open file. One thread appends, any may read back."""

    def __init__(self, writer: RawIOBase, reader: BinaryIO) -> None:
        """Use `open`. The writer is unbuffered, so that a line is the operating system's at once."""
        self._writer, self._reader = writer, reader
        self._reading = threading.Lock()

    @classmethod
    def open(cls, path: Path, *, empty: bool = False) -> Lines:
        """Those of a file, which may be a new one, or with `empty` begins anew; OSError where that cannot be."""
        writer = open(path, "wb" if empty else "ab", buffering=0)  # noqa: SIM115 - closed by close()
        return cls(writer, open(path, "rb"))

    def append(self, outcome: Outcome) -> int:
        """Add a line; the offset where it begins. OSError where the disk is full, with no half line left."""
        data = json_line(outcome.to_dict()).encode() + b"\n"
        disk.append(self._writer, data)
        return self._writer.tell() - len(data)

    def data(self, offset: int) -> bytes:
        """The line that begins there, with its newline."""
        with self._reading:
            self._reader.seek(offset)
            return self._reader.readline()

    def outcome(self, offset: int) -> Outcome | None:
        """What the line that begins there says; None where it cannot be read."""
        return parsed(self.data(offset))

    def __iter__(self) -> Iterator[Line]:
        """All lines, from the first."""
        with self._reading:
            yield from scan(self._reader)

    def sync(self) -> None:
        """See to it that the disk has every line."""
        os.fsync(self._writer.fileno())

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._reader.close()
        self._writer.close()


def scan(stream: BinaryIO) -> Iterator[Line]:
    """All lines of a file, from the first, a torn one at the end too."""
    offset = stream.seek(0)
    for data in stream:
        outcome = parsed(data)
        yield Line(offset, outcome, outcome is None and data.endswith(b"\n") and bool(data.strip(_BLANK)))
        offset += len(data)


def parsed(data: bytes) -> Outcome | None:
    """What a line says; None where it is no result line."""
    try:
        return Outcome.from_dict(json.loads(data))
    except (ValueError, RecursionError):
        return None


def is_ours(path: Path) -> bool:
    """Whether a file holds results, or nothing yet: its first line is one, or the only one and torn.

    UsageError where the file cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            lines = iter(partial(stream.readline, MAX_LINE_BYTES), b"")  # what is not ours may have no lines at all
            first = next((data for data in lines if data.strip(_BLANK)), b"")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check that you may read it.") from error
    text = first.strip(_BLANK)
    return not text or parsed(text) is not None or (not first.endswith(b"\n") and _is_torn(text))


def mend(path: Path) -> None:
    """Cut off what a crash has left half-written at the end; a whole line that only lacks its end gets it."""
    with open(path, "r+b") as file:
        tail, start = _tail(file)
        text = tail.rstrip(b"\0")
        if tail and parsed(text) is None:
            file.truncate(start)
        elif tail:
            file.truncate(start + len(text))
            file.seek(0, os.SEEK_END)
            file.write(b"\n")


def _is_torn(text: bytes) -> bool:
    """Whether this is the beginning of a result line: JSON that is whole and no result is somebody else's."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text.startswith(_OURS[: len(text)])
    return False


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
