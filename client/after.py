"""What is made of results once they are there: label folders, a page to look at, keywords in the photos' files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from client import output, screen
from client.errors import ClientError, UsageError
from client.keywords import KeywordPlace
from client.output import printable
from client.results import Outcome
from client.sorting import How
from client.views import Filter

_Made: TypeAlias = tuple[str, bool]
"""What is to be told, and whether nothing went wrong."""


@dataclass(frozen=True)
class Wishes:
    """What the user wants of the results; only photos that pass the filter are in it."""

    filter: Filter = field(default_factory=Filter)
    sort_into: Path | None = None
    how: How = How.link
    gallery: Path | None = None
    keywords: KeywordPlace | None = None
    force: bool = False
    timeout: float = 30.0

    def __bool__(self) -> bool:
        return bool(self.sort_into or self.gallery or self.keywords)

    def check(self, paths: Sequence[str] = ()) -> None:
        """UsageError where one of them cannot be had, before anything is sent. The photos are those of `paths`."""
        if self.gallery is not None:
            self._check_page(self.gallery)
        if self.sort_into is not None and self.sort_into.exists() and not self.sort_into.is_dir():
            raise UsageError(f"{self.sort_into} is no folder.", "Name a folder for --sort-into.")
        if self.sort_into is not None and paths and all(_lies_in(self.sort_into, path) for path in paths):
            hint = f"Name another for --sort-into, such as {self.sort_into / 'sorted'}."
            raise UsageError(f"{self.sort_into} holds the photos themselves, and what is there counts as sorted.", hint)

    def _check_page(self, path: Path) -> None:
        """A page of an earlier run is made anew: --force, which begins the results anew too, must not be needed."""
        from client.gallery import is_page

        if os.path.lexists(path) and not (self.force or path.is_dir() or is_page(path)):
            raise UsageError(f"{path} exists and is no page of photos.", "Choose another name for --gallery.")
        output.check_file(path, force=True)

    def fulfil(self, outcomes: Callable[[], Iterator[Outcome]], say: Callable[[str], None] = screen.say) -> bool:
        """Make all of them, telling each in a line; whether nothing went wrong. `outcomes` begins anew at each call.

        The page comes before photos are moved, and keywords too: all find the photos where they lay. One that cannot be
        made is told, and the others are made.
        """
        fine = True
        for wanted, make in (
            (self.gallery, self._page),
            (self.keywords, self._keywords),
            (self.sort_into, self._sorted),
        ):
            if wanted is not None:
                try:
                    told, well = make(filter(self.filter.keeps, outcomes()))
                except (ClientError, OSError) as error:
                    told, well = f"error: {_reason(error)}", False
                say(told)
                fine = fine and well
        return fine

    def _page(self, outcomes: Iterator[Outcome]) -> _Made:
        from client import gallery

        assert self.gallery is not None
        photos = gallery.write(outcomes, self.gallery, force=True, timeout=self.timeout)
        return f"{self.gallery}: a page of {screen.count(photos, 'photo')}", True

    def _keywords(self, outcomes: Iterator[Outcome]) -> _Made:
        from client import keywords

        assert self.keywords is not None
        written = keywords.write(outcomes, self.keywords, unsure=self.filter.min_confidence is not None)
        return written.summary(), not written.problems

    def _sorted(self, outcomes: Iterator[Outcome]) -> _Made:
        from client import sorting

        assert self.sort_into is not None
        done = sorting.sort_into(outcomes, self.sort_into, self.how, timeout=self.timeout)
        return done.summary(), not done.problems


def _lies_in(folder: Path, path: str) -> bool:
    """Whether a PATH is a file or folder in a folder, or that folder itself."""
    inner = Path(os.path.realpath(path))
    return inner.exists() and Path(os.path.realpath(folder)) in (inner, *inner.parents)


def _reason(error: ClientError | OSError) -> str:
    if isinstance(error, ClientError):
        return printable(f"{error.detail} {error.hint}".strip())
    return f"{printable(str(error.filename or 'a file'))}: {error.strerror}"
