"""What the operating system tells of a folder (by the watchdog library, an extra): names that something happened to."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from types import TracebackType
from typing import NamedTuple

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from client.errors import UsageError

_WANTED: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]
"""All but those that reading a photo causes."""

logging.getLogger("watchdog").addHandler(logging.NullHandler())  # what it says of lost events: they are made up for

BURST = 1000
"""So many names at once may be more than the system's queue could hold: some may have been lost."""


class Touched(NamedTuple):
    """Paths relative to the folder, True for those that were renamed into place last, and whether to list it anew."""

    names: dict[str, bool]
    anew: bool


class Changes(FileSystemEventHandler):
    """Gathers changes in a folder and those below, from when it is entered; a name that changes often is held once."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._root = os.path.realpath(folder)  # macOS names files so, whatever it was given
        self._prefix = os.path.join(self._root, "")
        self._lock = threading.Lock()
        self._names: dict[str, bool] = {}
        self._anew = False
        self._observer: BaseObserver

    @property
    def alive(self) -> bool:
        """Whether anything can still be told: not when the folder was removed, even if there is another one now."""
        return all(emitter.is_alive() for emitter in self._observer.emitters)

    def take(self) -> Touched:
        """What has happened since it was asked last."""
        with self._lock:
            touched = Touched(self._names, self._anew or len(self._names) >= BURST)
            self._names, self._anew = {}, False
        return touched

    def dispatch(self, event: FileSystemEvent) -> None:
        """watchdog's call for each event, in its own thread."""
        with self._lock:
            if event.is_directory:
                self._anew = True
                return
            self._note(os.fsdecode(event.src_path), landed=False)
            if event.dest_path:
                self._note(os.fsdecode(event.dest_path), landed=True)

    def __enter__(self) -> Changes:
        """UsageError where the system lets nobody watch so many folders."""
        # watchdog 7.1 warns where a folder is found twice: when it is made, and when the one above it is looked at.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        try:
            self._observer = Observer()
            self._observer.schedule(self, self._root, recursive=True, event_filter=_WANTED)
            self._observer.start()
        except OSError as error:
            fact = f"The folder {self._folder} cannot be watched: {error.strerror}."
            mend = "Use --poll 10, or raise the system's limit (on Linux fs.inotify.max_user_watches)."
            raise UsageError(fact, mend) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._observer.stop()
        self._observer.join()

    def _note(self, path: str, *, landed: bool) -> None:
        if path.startswith(self._prefix):
            self._names[path[len(self._prefix) :]] = landed
        else:  # the same folder under another name: letters of the other case
            self._anew = True
