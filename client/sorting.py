"""Photos into folders by label: links, copies, or the photos themselves. Nothing is overwritten, all can be undone.

A photo that is there already is not doubled, and one whose label has changed since does not stay under the old one.
What lies in the folder itself is left where it is, so that it may be a folder among the photos.
"""

from __future__ import annotations

import enum
import hashlib
import os
import shlex
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PurePath

from client import labels, placing, undolog
from client.errors import ClientError
from client.output import printable
from client.problems import Problems
from client.results import Outcome
from client.undoing import UNDO_FILE, Changed, Step, Undone, undo
from client.undolog import Log

__all__ = ["UNDO_FILE", "How", "Sorted", "Undone", "sort_into", "undo"]


class How(str, enum.Enum):
    """How photos get into their folders."""

    link = "link"
    copy = "copy"
    move = "move"


_WORDS = {
    "link": "linked",
    "copy": "copied",
    "move": "moved",
    "fetch": "copied out of archives or from the network",
    "no link": "copied, since no links can be made there",
    "already": "there already",
    "failed": "left where they are, since they failed",
}


@dataclass
class Sorted:
    """What became of the photos, counted by the names in `_WORDS`, and paths with the reason why not."""

    folder: Path
    counts: Counter[str] = field(default_factory=Counter)
    problems: Problems = field(default_factory=Problems)

    @property
    def done(self) -> int:
        """How many were put there now."""
        return sum(number for kind, number in self.counts.items() if kind not in ("already", "failed"))

    def summary(self) -> str:
        """One line, and one for each of the first problems."""
        parts = [f"{self.counts[kind]:,} {words}" for kind, words in _WORDS.items() if self.counts[kind]]
        parts += [f"{len(self.problems):,} could not be put there"] * bool(self.problems)
        line = f"{self.folder}: {', '.join(parts) or 'no photos'}"
        if self.done:
            line += f"; `python -m client undo {shlex.quote(str(self.folder / UNDO_FILE))}` takes it back"
        return "\n".join([printable(line), *self.problems.lines()])


def sort_into(outcomes: Iterable[Outcome], folder: Path, how: How = How.link, *, timeout: float = 30.0) -> Sorted:
    """Each photo into `folder/LABEL`; unsure ones into `_unsure/LABEL`, others into `_unknown` and `_failed`.

    Failed photos are not moved: the same command must find them when it tries again. Photos of archives, S3 and the web
    are copied whatever is wished, those on the web within `timeout` seconds each; and linked ones are linked again,
    since moving a link may break it. Problems of single photos are in what comes back; UsageError where the folder
    cannot be used, or another run sorts into it.
    """
    with undolog.writing(folder) as log:
        sorter = _Sorter(Sorted(folder), log, how, timeout)
        for outcome in outcomes:
            sorter.add(outcome)
    return sorter.result


class _Sorter:
    """Sorts photo by photo."""

    def __init__(self, result: Sorted, log: Log, how: How, timeout: float) -> None:
        self.result = result
        self._log, self._how, self._timeout = log, how, timeout
        self._names = labels.FolderNames(log.folder)
        self._numbers: dict[Path, int] = {}

    def add(self, outcome: Outcome) -> None:
        """Put one photo where it belongs, and count what came of it."""
        try:
            self.result.counts[self._added(outcome)] += 1
        except (ClientError, OSError, ValueError) as error:
            self.result.problems.add(outcome.path, error)

    def _added(self, outcome: Outcome) -> str:
        folder = self._log.folder.joinpath(*self._names.of(outcome))
        if os.path.isfile(outcome.path):
            return self._file(outcome, folder)
        moved = self._log.earlier(os.path.realpath(outcome.path))
        if moved is not None and moved.do == "move" and (target := self._log.folder / moved.to).exists():
            self._sidecar(Path(outcome.path), target)  # where a killed run left it behind
            return "already"
        return self._fetched(outcome, folder)

    def _file(self, outcome: Outcome, folder: Path) -> str:
        source = Path(os.path.realpath(outcome.path))
        here = Path(os.path.realpath(os.path.dirname(outcome.path)))
        if self._log.folder in (here, *here.parents, *source.parents):
            return "already"
        if self._how is How.move and not outcome.ok:
            return "failed"
        do = How.link if self._how is How.move and os.path.islink(outcome.path) else self._how
        if self._stays(do, source, folder):
            return "already"
        target = self._free(folder, os.path.basename(outcome.path), source)
        if target is None:
            return "already"
        return self._put(do, source, target, outcome.sha256)

    def _stays(self, do: str, source: Path, folder: Path) -> bool:
        """Whether an earlier run has put it just there; what it has put elsewhere is taken back."""
        step = self._log.earlier(str(source))
        if step is None:
            return False
        target = self._log.folder / step.to
        if step.do == do and target.parent == folder and placing.looks_same(source, target):
            return True
        if step.do != "move":  # a moved photo was another one that had this name
            self._take_back(step)
        return False

    def _take_back(self, step: Step) -> None:
        with suppress(Changed, OSError):  # it is the user's own now, and stays
            self._log.take_back(step)

    def _put(self, do: How, source: Path, target: Path, digest: str | None) -> str:
        self._log.make(target.parent)
        with self._log.doing(do.value, target, str(source), digest):
            way = {How.link: placing.link, How.copy: placing.copy, How.move: placing.move}[do](source, target)
        if do is How.move:
            self._sidecar(source, target)
        return "no link" if do is How.link and way == "copy" else way

    def _sidecar(self, source: Path, target: Path) -> None:
        """What other programs have noted of a moved photo goes with it."""
        sidecar, beside = placing.sidecar_of(source), placing.sidecar_of(target)
        if os.path.isfile(sidecar) and not os.path.lexists(beside):
            with self._log.doing("move", beside, str(sidecar)):
                placing.move(sidecar, beside)

    def _fetched(self, outcome: Outcome, folder: Path) -> str:
        from client.sources import read_again

        step = self._log.earlier(outcome.path)
        if step is not None and (there := self._log.folder / step.to).is_file():
            if there.parent == folder:
                return "already"
            self._take_back(step)
        data = read_again(outcome.path, self._timeout)
        target = self._free(folder, labels.file_name(outcome.path), data)
        if target is None:
            return "already"
        self._log.make(folder)
        with self._log.doing("fetch", target, outcome.path, hashlib.sha256(data).hexdigest()):
            placing.write(data, target)
        return "fetch"

    def _free(self, folder: Path, name: str, photo: Path | bytes) -> Path | None:
        """A name that is not taken, nor its sidecar's; None where the photo itself has it."""
        first = folder / name
        for number in count(self._numbers.get(first, 1)):
            target = folder / _numbered(name, number)
            if not os.path.lexists(target) and not os.path.lexists(placing.sidecar_of(target)):
                if number > 1:  # ten thousand of one name must not be looked at for each of them
                    self._numbers[first] = number + 1
                return target
            if _is(target, photo):
                return None
        raise AssertionError  # numbers do not end


def _is(target: Path, photo: Path | bytes) -> bool:
    if isinstance(photo, Path):
        return placing.same_bytes(photo, target)
    return target.is_file() and target.stat().st_size == len(photo) and target.read_bytes() == photo


def _numbered(name: str, number: int) -> str:
    """`a.jpg`, `a (2).jpg` …, in the 255 bytes that file systems take."""
    if number == 1:
        return name
    end = f" ({number}){PurePath(name).suffix}"
    return labels.cut(PurePath(name).stem, labels.MAX_FILE_NAME - len(os.fsencode(end))) + end
