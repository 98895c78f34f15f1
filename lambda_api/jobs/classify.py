"""Step `photo`: fetch what a few messages name, ask the endpoint, write the lines down."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ..endpoint import endpoint
from ..errors import ApiError, EndpointError
from ..schema import MAX_IMAGE_BYTES
from ..settings import settings
from ..uploads import uploads
from . import ending, lines
from .queue import Received, queue
from .store import JobRecord, Line, PhotoRecord, jobs

log = logging.getLogger(__name__)

GROUP_BYTES = MAX_IMAGE_BYTES * 3 // 4
"""Most bytes of photos in one call: in base64 no more than the 4 MB that serverless endpoints take."""

ONE_BY_ONE = 3
"""From so many tries on each photo is asked for and written down alone."""


@dataclass(frozen=True)
class _Fetched:
    """A photo's bytes, and when work on its message began."""

    received: Received
    photo: PhotoRecord
    data: bytes
    started: float


def run(job: JobRecord, received: list[Received], deadline: float) -> list[Received]:
    """Those that must come again: the endpoint was at fault and it is not their last try, or the time is up.

    `deadline` is when the last call of the endpoint may begin, by the monotonic clock.
    """
    if not job.active:
        return []
    again = [one for together in _apart(received) for one in _run(job, together, deadline)]
    if len(again) < len(received):
        ending.see_to_the_end(job.id)
    return again


def _apart(received: list[Received]) -> list[list[Received]]:
    """All together, as a rule. What came often may hold a photo that workers die on, and one death is that of a whole
    event: then one by one, and at each try another first, so that what stands behind the deadly one has its turn.
    """
    tries = max(one.tries for one in received)
    if tries < ONE_BY_ONE:
        return [received]
    first = tries % len(received)
    return [[one] for one in received[first:] + received[:first]]


def _run(job: JobRecord, received: list[Received], deadline: float) -> list[Received]:
    by_key = {one.message.photo: one for one in received}
    open_photos = [photo for photo in jobs().photos(job.id, list(by_key)) if not photo.line]
    again: list[Received] = []
    written: list[Line] = []
    for photo, outcome in _outcomes(job, [(by_key[photo.sort_key], photo) for photo in open_photos], deadline):
        if outcome is None:
            queue().later(by_key[photo.sort_key])
            again.append(by_key[photo.sort_key])
        else:
            written.append(outcome)
    if written:
        jobs().record(job.id, written)
        uploads().drop(*(line.photo.upload for line in written if line.photo.upload))
    return again


def _outcomes(
    job: JobRecord, todo: list[tuple[Received, PhotoRecord]], deadline: float
) -> Iterator[tuple[PhotoRecord, Line | None]]:
    """Each photo's line, or None where it must be tried again."""
    started = time.perf_counter()
    possible = []
    for received, photo in todo:
        if received.tries < settings().queue_receives:
            possible.append((received, photo))
            continue
        # It came back though nobody asked for it: the worker has died on it, time and again.
        detail = f"The worker stopped {received.tries - 1} times while it had this photo."
        yield photo, lines.failed(photo, ApiError("internal", detail, "Look at the photo, then at the worker's log."))
    group: list[_Fetched] = []
    for (received, photo), data in zip(possible, _fetched([photo for _, photo in possible]), strict=True):
        if isinstance(data, ApiError):
            yield photo, _unless_tried_again(received, photo, data, started)
            continue
        try:
            uploads().check(data)
        except ApiError as error:
            yield photo, lines.failed(photo, error, started, data)
            continue
        if group and sum(len(one.data) for one in group) + len(data) > GROUP_BYTES:
            yield from _asked(job, group, deadline)
            group = []
        group.append(_Fetched(received, photo, data, started))
    if group:
        yield from _asked(job, group, deadline)


def _fetched(photos: list[PhotoRecord]) -> list[bytes | ApiError]:
    """What lies there, or why it cannot be had; all at once, since each mostly waits for S3."""
    source = uploads()

    def fetch(photo: PhotoRecord) -> bytes | ApiError:
        try:
            return source.fetch(photo.bucket, photo.key)
        except ApiError as error:
            return error

    with ThreadPoolExecutor(max(1, len(photos))) as pool:
        return list(pool.map(fetch, photos))


def _asked(job: JobRecord, group: list[_Fetched], deadline: float) -> Iterator[tuple[PhotoRecord, Line | None]]:
    """One call for all; where it is refused as a whole, one for each. None of them where there is no time for it."""
    if time.monotonic() > deadline:
        late = EndpointError("endpoint_timeout", "The photos before this one took all the time.", "Try it again.")
        for one in group:
            yield one.photo, _unless_tried_again(one.received, one.photo, late, one.started, one.data)
        return
    try:
        answer, results = _call(job, [one.data for one in group])
    except ApiError as error:
        if isinstance(error, EndpointError) or len(group) == 1:
            for one in group:
                yield one.photo, _unless_tried_again(one.received, one.photo, error, one.started, one.data)
        else:
            for one in group:
                yield from _asked(job, [one], deadline)
        return
    for one, result in zip(group, results, strict=True):
        yield one.photo, lines.classified(one.photo, one.data, result, answer["model"], one.started)


def _call(job: JobRecord, images: list[bytes]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A lone photo as it is, since base64 would add a third to what may be large."""
    if len(images) == 1:
        answer = endpoint().classify(images[0], job.top_k, job.id)
        return answer, [answer]
    answer = endpoint().classify_many(images, job.top_k, job.id)
    return answer, answer["results"]


def _unless_tried_again(
    received: Received, photo: PhotoRecord, error: ApiError, started: float, data: bytes | None = None
) -> Line | None:
    """None while it may still pass; the last try that is made is the one before the last that is possible."""
    if isinstance(error, EndpointError) and received.tries < settings().queue_receives - 1:
        log.warning("a photo is tried again: %s, try %d", error.code, received.tries)
        return None
    return lines.failed(photo, error, started, data)
