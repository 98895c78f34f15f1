"""What a Batch Transform job left, one `.out` file a photo, as the lines that `classify` writes.

    folder or s3:// of *.out      the results: names first, bodies when their turn comes
    folder or s3:// of photos     so that a photo without a result has its line too

Names are held in memory, some hundred bytes each; bodies are not.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any, NoReturn, Protocol

from client import answers, pool, reading, screen
from client.buckets import Bucket, is_uri
from client.errors import ClientError, PhotoError, UsageError
from client.printing import INTERRUPTED, OK, SOME_FAILED, Printing, write_all
from client.results import Failure, Outcome
from client.sources import Listing

SUFFIX = ".out"
"""What Batch Transform appends to the name of a photo."""

MAX_RESULT_BYTES = 10_000_000
"""Larger files are no results: 1,000 labels take 100 kB."""

DEFAULT_CONCURRENCY = 32
"""Results read at once: S3 takes some 30 ms for each, whatever its size."""

_RESULT, _PHOTO = 0, 1

_NO_RESULT = Failure(
    "no_result",
    "The job has left no result for this photo.",
    "Did the job end well, and is the photo not larger than it takes? Then run it again.",
)
_NO_ANSWER = Failure("bad_answer", "The result is cut off or is no answer of the model.", "Run the job again.")


class Place(Protocol):
    """Where files are: their names relative to it, with `/`, and their bytes."""

    ignored: int
    """Files that are no photos, complete when the names have been read."""

    def names(self) -> Iterator[str]:
        """In any order; ClientError where it cannot be listed."""

    def read(self, name: str) -> bytes:
        """One file; PhotoError where it cannot be read."""


class Folder:
    """A folder of this machine: with `photos` those by the rules of `classify`, else all files."""

    def __init__(self, path: str, *, photos: bool = False) -> None:
        """UsageError where there is no such folder."""
        if not os.path.isdir(path):
            raise UsageError(f"There is no folder {path}.", "Name a folder, or s3://BUCKET/PREFIX.")
        self.ignored = 0
        self._path, self._photos = path, photos

    def names(self) -> Iterator[str]:
        """Relative to the folder."""
        listing = Listing([self._path])
        for name in (source.name for source in listing) if self._photos else _files(self._path):
            yield os.path.relpath(name, self._path).replace(os.sep, "/")
        self.ignored = listing.ignored

    def read(self, name: str) -> bytes:
        """One file of it."""
        return reading.read(os.path.join(self._path, *name.split("/")))


class Prefix:
    """A prefix of S3, by AWS's usual configuration."""

    def __init__(self, uri: str) -> None:
        """UsageError for what is no URI, or without boto3."""
        self.ignored = 0
        self._bucket = Bucket(uri)

    def names(self) -> Iterator[str]:
        """Relative to the prefix."""
        return (key.name for key in self._bucket.objects())

    def read(self, name: str) -> bytes:
        """One object of it."""
        return self._bucket.read(self._bucket.prefix + name, MAX_RESULT_BYTES)


def place(name: str, *, photos: bool = False) -> Place:
    """The place that a folder's path or an `s3://` URI names; UsageError where there is none."""
    if is_uri(name):
        return Prefix(name)
    return Folder(name, photos=photos)


@dataclass(frozen=True)
class Results:
    """The results of a job, joined with the photos it was given where they are named."""

    source: str
    photos: str | None = None
    concurrency: int = DEFAULT_CONCURRENCY

    def run(self, printing: Printing) -> int:
        """Write one line a photo, sorted by path; the exit code. Errors as `outcomes`; OSError for the disk."""
        found, tally = self._places(), screen.Tally()
        items = _joined(*found)
        with ExitStack() as stack:
            writer, console = printing.open_writer(stack)
            progress = stack.enter_context(printing.progress(console))
            progress.set_total(len(items))
            interrupted = write_all(self._outcomes(items, *found), writer, tally, progress)
        if found[1] is not None and not any(has_result and has_photo for _, has_result, has_photo in items):
            screen.say("warning: no result has the name of a photo. Are these the --input and --output of one job?")
        if not printing.quiet:
            others = found[1].ignored if found[1] else 0
            passed_over = f"{screen.count(others, 'other file')} ignored" if others else ""
            screen.say(tally.summary(passed_over=passed_over, interrupted=interrupted))
        if interrupted:
            return INTERRUPTED
        return SOME_FAILED if tally.failed else OK

    def outcomes(self) -> Iterator[Outcome]:
        """The same as outcomes; UsageError where there is no result at all, ClientError where S3 refuses."""
        found = self._places()
        return self._outcomes(_joined(*found), *found)

    def _places(self) -> tuple[Place, Place | None]:
        return place(self.source), place(self.photos, photos=True) if self.photos else None

    def _outcomes(
        self, items: list[tuple[str, bool, bool]], source: Place, photos: Place | None
    ) -> Generator[Outcome, None, None]:
        hashed = photos if isinstance(photos, Folder) else None  # S3 would have to send every photo

        def work(item: tuple[str, bool, bool]) -> Outcome:
            name, has_result, has_photo = item
            digest = _digest(hashed, name) if hashed is not None and has_photo else None
            return _outcome(source, name, digest) if has_result else Outcome(name, digest, error=_NO_RESULT)

        return pool.in_order(work, items, self.concurrency)


def _joined(source: Place, photos: Place | None) -> list[tuple[str, bool, bool]]:
    """Name, whether it has a result and whether it is a photo of the input, sorted by name."""
    results = sorted(name.removesuffix(SUFFIX) for name in source.names() if name.endswith(SUFFIX))
    if not results:
        raise UsageError(f"There is no {SUFFIX} file in the source.", "Name what the job had as --output.")
    given = sorted(photos.names()) if photos is not None else []
    marked = merge(((name, _RESULT) for name in results), ((name, _PHOTO) for name in given))
    kinds = ((name, {kind for _, kind in group}) for name, group in groupby(marked, itemgetter(0)))
    return [(name, _RESULT in found, _PHOTO in found) for name, found in kinds]


def _outcome(source: Place, name: str, digest: str | None) -> Outcome:
    """One photo's outcome by its result, whatever is in the file."""
    try:
        body = source.read(name + SUFFIX)
        if len(body) > MAX_RESULT_BYTES:
            return Outcome(name, digest, error=_NO_ANSWER)
        return _parsed(json.loads(body), name, digest)
    except PhotoError as error:
        return Outcome(name, digest, error=_NO_ANSWER if error.code == "too_large" else Failure.of(error))
    except (ClientError, ValueError, RecursionError):  # none of ours, and what is no JSON
        return Outcome(name, digest, error=_NO_ANSWER)


def _parsed(data: Any, name: str, digest: str | None) -> Outcome:
    """An answer of the model code; ValueError or ClientError where it is none."""
    if not isinstance(data, dict):
        raise ValueError("no object")
    if isinstance(error := data.get("error"), dict) and isinstance(code := error.get("code"), str):
        failure = Failure(code, str(error.get("detail", "")), str(error.get("hint", "")))
        model = data.get("model") if isinstance(data.get("model"), dict) else {}
        return Outcome(name, digest, error=failure, model=_text(model, "name"), version=_text(model, "version"))
    answer = answers.classification(data)
    predictions = tuple(answer.predictions)
    model, version = answer.model.name, answer.model.version
    return Outcome(name, digest, predictions, answer.decision, None, model, version, _milliseconds(data))


def _text(data: Any, name: str) -> str | None:
    value = data.get(name)
    return value if isinstance(value, str) else None


def _milliseconds(data: dict[str, Any]) -> float:
    """What the model code says of its own time, 0 where it says nothing."""
    timings = data.get("timings_ms")
    found = timings.values() if isinstance(timings, dict) else ()
    return round(float(sum(v for v in found if isinstance(v, (int, float)))), 1)


def _digest(photos: Place, name: str) -> str | None:
    try:
        return hashlib.sha256(photos.read(name)).hexdigest()
    except PhotoError:
        return None


def _files(folder: str) -> Iterator[str]:
    def refuse(error: OSError) -> NoReturn:
        raise UsageError(f"{error.filename} cannot be read: {error.strerror}.", "Check that you may read it.")

    for below, _, files in os.walk(folder, onerror=refuse):
        yield from (os.path.join(below, name) for name in files)
