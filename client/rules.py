"""Which of the files that are found are wanted: globs as in .gitignore, age, hidden ones."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from client.errors import UsageError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}


@dataclass(frozen=True)
class Rules:
    """What is taken of that which lies in folders, in archives and below S3 prefixes. `exclude` wins.

    A glob without `/` holds for names at any depth, one with `/` for paths relative to the PATH given, with `/`
    on every system; capitals count. `since` is a modification time in seconds since 1970. Files whose name begins
    with a dot, and those in such folders, are taken only with `hidden`.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    since: float | None = None
    hidden: bool = False

    @classmethod
    def of(
        cls, include: Iterable[str] | None, exclude: Iterable[str] | None, since: str | None, *, hidden: bool
    ) -> Rules:
        """Rules as a command line gives them, `since` as in `parse_since`. UsageError for what cannot be understood."""
        age = None if since is None else parse_since(since, time.time())
        return cls(tuple(include or ()), tuple(exclude or ()), age, hidden)

    def __post_init__(self) -> None:
        """UsageError, naming it, for a glob that cannot be understood."""
        for pattern in (*self.include, *self.exclude):
            _compiled((pattern,))

    def sees(self, relative: str) -> bool:
        """Whether a path has no hidden part, or hidden ones are wanted."""
        return self.hidden or not (relative.startswith(".") or "/." in relative)

    def enters(self, folder: str) -> bool:
        """Whether files below a folder can be wanted: by its relative path, with `/` at the end."""
        return not (self.exclude and self._excluded.match_file(folder))

    def takes(self, relative: str, modified: Callable[[], float | None]) -> bool:
        """Whether a file is wanted; `modified` gives its time where it has one, and is called only where it counts."""
        if self.exclude and self._excluded.match_file(relative):
            return False
        if self.include and not self._included.match_file(relative):
            return False
        if self.since is None:
            return True
        when = modified()
        return when is None or when >= self.since

    @cached_property
    def _included(self) -> GitIgnoreSpec:
        return _compiled(self.include)

    @cached_property
    def _excluded(self) -> GitIgnoreSpec:
        return _compiled(self.exclude)


EVERYTHING = Rules()
"""All that is not hidden."""


def parse_since(text: str, now: float) -> float:
    """Seconds since 1970 for `2026-11-01`, `2026-11-01T10:00` (local time), or an age such as `36h`, `2d`, `3w`.

    `now` is in seconds since 1970. UsageError for anything else.
    """
    if age := re.fullmatch(r"(\d{1,9})([hdw])", text.strip()):
        return now - int(age[1]) * _SECONDS[age[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{text} is no time.", "Write a date such as 2026-11-01 or 2026-11-01T10:00, or 36h, 2d, 3w."
        ) from None


def _compiled(patterns: tuple[str, ...]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    lines = ["\\" + pattern if pattern.startswith("#") else pattern for pattern in patterns]  # no comments here
    try:
        spec = GitIgnoreSpec.from_lines(lines)
    except ValueError:
        spec = None
    if spec is None or not any(pattern.include is not None for pattern in spec.patterns):
        raise UsageError(
            f"{' '.join(patterns)!r} is no glob.", "Write one such as '*.jpg' or '2026/**', as in .gitignore."
        )
    return spec
