"""What passes from all that is found to what is sent, and the count of what does not."""

from __future__ import annotations

import os
from collections.abc import Callable

from client.kinds import Kind, first_bytes, kind_of
from client.rules import EVERYTHING, Rules


class Sieve:
    """Lets the photos through that the rules want, and counts the rest. Its counts grow while a listing goes on."""

    def __init__(self, rules: Rules = EVERYTHING) -> None:
        self.rules = rules
        self.raw = 0
        """Cameras' raw files."""
        self.videos = 0
        """Videos."""
        self.ignored = 0
        """Other files that are no photos."""
        self.excluded = 0
        """Files, whatever they are, and whole folders that the rules do not want."""
        self.links = 0
        """Linked folders that were not followed."""

    def enters(self, folder: str) -> bool:
        """Whether to look into a folder, by its path relative to the PATH with `/` at the end."""
        wanted = self.rules.enters(folder)
        self.excluded += not wanted
        return wanted

    def takes(self, relative: str, head: Callable[[], bytes], modified: Callable[[], float | None]) -> bool:
        """Whether something is a photo that is wanted: by its path relative to the PATH, first bytes and time."""
        if not self.rules.takes(relative, modified):
            self.excluded += 1
            return False
        kind = kind_of(relative, head)
        self.raw += kind is Kind.raw
        self.videos += kind is Kind.video
        self.ignored += kind is Kind.other
        return kind is Kind.photo

    def takes_file(self, path: str, relative: str) -> bool:
        """The same of a file of this machine."""
        return self.takes(relative, lambda: first_bytes(path), lambda: _modified(path))

    def passed_over(self) -> str:
        """What was not sent, for the summary; empty where that is nothing."""
        from client.screen import count  # which loads rich

        kinds = ((self.raw, Kind.raw), (self.videos, Kind.video), (self.ignored, Kind.other))
        others = ", ".join(count(number, kind.value) for number, kind in kinds if number)
        parts = [f"{others} ignored"] if others else []
        parts += [f"{self.excluded:,} excluded"] if self.excluded else []
        parts += [f"{count(self.links, 'linked folder')} not followed"] if self.links else []
        return ", ".join(parts)


def _modified(path: str) -> float | None:
    """None where it cannot be told: reading the file will say why."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None
