"""Bounds of a run: how much lies between the listing and the network, and which contents are on their way."""

from __future__ import annotations

import threading
from typing import NamedTuple


class Window:
    """Lets the listing go on only while there is room, so that memory stays flat however many photos there are.

    One thread enters, others report; closing it lets the one that waits go.
    """

    def __init__(self, ahead: int, photos: int, size: int) -> None:
        """At most `ahead` photos in preparation; `photos` and `size` bytes prepared and not sent yet."""
        self._ahead, self._photos, self._size = ahead, photos, size
        self._changed = threading.Condition()
        self._preparing = self._waiting = self._bytes = 0
        self._closed = False

    @property
    def preparing(self) -> int:
        """Photos that have entered and are not prepared yet."""
        return self._preparing

    def enter(self) -> bool:
        """Wait for room for one photo more; False once the window is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room())
            self._preparing += not self._closed
            return not self._closed

    def prepared(self, size: int | None) -> None:
        """A photo waits now, with so many bytes to send; None where it does not."""
        with self._changed:
            self._preparing -= 1
            if size is not None:
                self._waiting += 1
                self._bytes += size
            self._changed.notify()

    def sent(self, photos: int, size: int) -> None:
        """So many no longer wait."""
        with self._changed:
            self._waiting -= photos
            self._bytes -= size
            self._changed.notify()

    def close(self) -> None:
        """Nothing enters any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return self._preparing < self._ahead and self._waiting < self._photos and self._bytes < self._size


class Twin(NamedTuple):
    """A photo whose content is on its way under another name; `started` is by time.perf_counter."""

    name: str
    started: float


class Claims:
    """Which contents are on their way, so that identical photos are sent once. Safe to share between threads."""

    def __init__(self) -> None:
        self._twins: dict[str, list[Twin]] = {}
        self._lock = threading.Lock()

    def take(self, digest: str, twin: Twin) -> bool:
        """Whether this photo is the first of its content; if not, it is kept until that one is done."""
        with self._lock:
            if digest in self._twins:
                self._twins[digest].append(twin)
                return False
            self._twins[digest] = []
            return True

    @property
    def waiting(self) -> int:
        """Photos that wait for their twin."""
        with self._lock:
            return sum(map(len, self._twins.values()))

    def release(self, digest: str) -> list[Twin]:
        """The content is done and noted: those that waited for it."""
        with self._lock:
            return self._twins.pop(digest, [])
