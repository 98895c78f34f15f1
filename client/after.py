"""What is made of results once they are there: label folders, a page to look at, keywords in the photos' files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from client import output, screen
from client.errors import UsageError
from client.keywords import KeywordPlace
from client.results import Outcome
from client.sorting import How
from client.views import Filter


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

    def check(self) -> None:
        """UsageError where one of them cannot be had, before anything is sent."""
        if self.gallery is not None:
            output.check_file(self.gallery, force=self.force)
        if self.sort_into is not None and self.sort_into.exists() and not self.sort_into.is_dir():
            raise UsageError(f"{self.sort_into} is no folder.", "Name a folder for --sort-into.")

    def fulfil(self, outcomes: Callable[[], Iterator[Outcome]], say: Callable[[str], None] = screen.say) -> bool:
        """Make all of them, telling each in a line; whether nothing went wrong. `outcomes` begins anew at each call.

        The page comes before photos are moved, and keywords too: all find the photos where they lay.
        """
        fine = True
        if self.gallery is not None:
            from client import gallery

            photos = gallery.write(self._wanted(outcomes), self.gallery, force=self.force, timeout=self.timeout)
            say(f"{self.gallery}: a page of {screen.count(photos, 'photo')}")
        if self.keywords is not None:
            from client import keywords

            certain = self.filter.min_confidence is None
            written = keywords.write(self._wanted(outcomes), self.keywords, unsure=not certain)
            say(written.summary())
            fine = fine and not written.problems
        if self.sort_into is not None:
            from client import sorting

            sorted_ = sorting.sort_into(self._wanted(outcomes), self.sort_into, self.how, timeout=self.timeout)
            say(sorted_.summary())
            fine = fine and not sorted_.problems
        return fine

    def _wanted(self, outcomes: Callable[[], Iterator[Outcome]]) -> Iterator[Outcome]:
        return (outcome for outcome in outcomes() if self.filter.keeps(outcome))
