"""What a run would take, without sending a photo: `classify --dry-run`.

All photos are listed; some, spread over all, are read and shrunk here, and stand for the rest. What nobody can know
before a run, how long the model takes for a photo, is assumed and said.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from client.asking import PACK_BYTES, most_photos
from client.errors import ClientError, NoApiError, UnreachableError
from client.output import json_line
from client.pacing import PACK_SECONDS
from client.photo import Target
from client.sampling import CORES, Sample, measure, nothing_done
from client.screen import count
from client.sources import Listing, Source
from lambda_api.schema import DEFAULT_TOP_K, InputSize, Limits, ModelDescription

if TYPE_CHECKING:
    from client.api import Client
    from client.engine import Pace
    from client.journal import Key

SAMPLE = 200
"""Most photos that are measured; at least half as many are."""

ASSUMED = ModelDescription("", "", [], InputSize(256, 224), Limits())
"""What an API says of itself, where none can be asked."""

MODEL_SECONDS = 0.1
"""Of the endpoint, a photo: a large network on a small machine. Few take longer, many a fifth of it."""

PRICES = "2026-11, us-east-1, free tiers left out"
GATEWAY_CALL = 3.50 / 1e6
"""Dollars a call of an API Gateway REST API (aws.amazon.com/api-gateway/pricing, the first 333 million a month)."""
FUNCTION_CALL, FUNCTION_GB_SECOND = 0.20 / 1e6, 0.0000133334
"""Dollars a call and a gigabyte-second of Lambda on Arm (aws.amazon.com/lambda/pricing)."""
FUNCTION_GB = 0.5
"""Memory of the function, as template.yaml has it."""
DATA_BYTE = 0.09 / 1e9
"""Dollars a byte that leaves AWS: the answers. Photos go in for nothing (aws.amazon.com/ec2/pricing/on-demand)."""
LABEL_BYTES = 80
"""Of an answer, a label."""


@dataclass(frozen=True)
class Estimate:
    """What a run would come to. `photos` are counted, `measured` of them were read, which stand for all.

    `done` have their result already. Of the others `failing` get a failure; `seen` are the codes of those that were
    met, and how often. All that follows is of the rest.
    `seconds` and `dollars` come in parts: work that goes on side by side, and bills that add up.
    """

    photos: int
    measured: int
    done: int
    seen: dict[str, int]
    failing: int
    bytes_before: int
    bytes_after: int
    calls: int
    seconds: dict[str, float]
    dollars: dict[str, float]
    assumed: tuple[str, ...]

    @property
    def total_seconds(self) -> float:
        """Those of the longest part."""
        return max(self.seconds.values())

    @property
    def total_dollars(self) -> float:
        """All bills, without that of the endpoint's machine."""
        return sum(self.dollars.values())

    def to_dict(self) -> dict[str, Any]:
        """The same for programs."""
        return {**asdict(self), "total_seconds": self.total_seconds, "total_dollars": self.total_dollars}


def estimate(
    sources: Iterable[Source],
    description: ModelDescription | None,
    pace: Pace,
    *,
    top_k: int = DEFAULT_TOP_K,
    shrink: bool = True,
    round_trip: float | None = None,
    sample: int = SAMPLE,
    done: Callable[[str, str | None], bool] = nothing_done,
) -> Estimate:
    """What a run at this pace would take. Nothing is sent; what the listing raises is raised.

    Without a `description` the usual one is assumed. `round_trip` is that of a call without work, in seconds, None
    where it could not be measured. At most `sample` photos are read, from wherever they lie; those that are `done` are
    left out.
    """
    known = description or ASSUMED
    found = measure(sources, Target.of(known), shrink=shrink, timeout=pace.timeout, most=sample, done=done)
    photos = round(len(found.sent) * found.weight)
    calls = _calls(found, known.limits, top_k, pace.rate)
    return Estimate(
        found.photos,
        len(found.measured),
        found.done,
        dict(found.failures),
        max(0, found.photos - found.done - photos),
        round(sum(one.before for one in found.todo) * found.weight),
        round(sum(one.after for one in found.sent) * found.weight),
        calls,
        _seconds(found, photos, calls, pace, round_trip),
        _dollars(photos, calls, top_k),
        tuple(_assumed(description, round_trip, found.done)),
    )


def _calls(found: Sample, limits: Limits, top_k: int, rate: float | None) -> int:
    """Requests as a run fills them; a photo that is too large for one is uploaded first, which takes two."""
    small = [one.after for one in found.sent if one.after <= limits.image_bytes]
    most = [
        most_photos(limits, top_k),
        PACK_BYTES * len(small) // max(1, sum(small)),
        round(PACK_SECONDS / MODEL_SECONDS),
    ]
    most += [int(rate)] if rate is not None else []
    large = round((len(found.sent) - len(small)) * found.weight)
    return math.ceil(round(len(small) * found.weight) / max(1, min(most))) + 2 * large


def _seconds(found: Sample, photos: int, calls: int, pace: Pace, round_trip: float | None) -> dict[str, float]:
    parts = {
        "preparing": sum(one.seconds for one in found.measured) * found.weight / CORES,
        "model": photos * MODEL_SECONDS,
        "round trips": calls * (round_trip or 0.0) / pace.concurrency,
    }
    return parts | ({"rate": photos / pace.rate} if pace.rate is not None else {})


def _dollars(photos: int, calls: int, top_k: int) -> dict[str, float]:
    return {
        "gateway": calls * GATEWAY_CALL,
        "function": calls * FUNCTION_CALL + photos * MODEL_SECONDS * FUNCTION_GB * FUNCTION_GB_SECOND,
        "data": photos * top_k * LABEL_BYTES * DATA_BYTE,
    }


def _assumed(description: ModelDescription | None, round_trip: float | None, done: int) -> Iterable[str]:
    if description is None and done:
        yield "that what is done was done by the model that will be asked"
    if description is None:
        yield f"an input of {ASSUMED.input.resize} px and the usual limits, since no API answers"
    elif round_trip is None:
        yield "no time for round trips, since the API's health could not be asked"
    yield f"{MODEL_SECONDS:g} s of the model a photo, which only a run can tell, and a line that is fast enough"
    yield f"prices of {PRICES}; the endpoint's machine comes on top"


def render(found: Estimate) -> str:
    """The estimate for people, in some lines."""
    from rich.filesize import decimal

    whole = found.measured + sum(found.seen.values()) >= found.photos
    seen = ", ".join(f"{code} {number}" for code, number in found.seen.items())
    before, after = decimal(found.bytes_before), decimal(found.bytes_after)
    saved = 1 - found.bytes_after / max(1, found.bytes_before)
    times = ", ".join(f"{name} {_clock(value)}" for name, value in found.seconds.items())
    bills = ", ".join(f"{name} {value:.4f}" for name, value in found.dollars.items())
    of_them = [f"{found.done:,} are done"] * bool(found.done)
    of_them += [f"{found.failing:,} will fail (met: {seen})"] * bool(seen)
    lines = [
        f"photos   {found.photos:,}" + f", of which {' and '.join(of_them)}" * bool(of_them),
        f"bytes    {before} as they are, {after} to send: {saved:.0%} less",
        f"calls    {found.calls:,}",
        f"time     {_clock(found.total_seconds)}, the longest of {times}",
        f"dollars  {found.total_dollars:.4f} on AWS: {bills}",
        f"from     {count(found.measured, 'photo')} read and prepared here" + ", spread over all" * (not whole),
    ]
    return "\n".join([*lines, *(f"assumed  {assumption}" for assumption in found.assumed)])


def tell(
    sources: Listing,
    url: str | None,
    api_key: str | None,
    profile: str | None,
    *,
    shrink: bool,
    json: bool,
    top_k: int,
    journal: Path | None = None,
    retry_failed: bool = False,
    **pace: Any,
) -> None:
    """Print the estimate of a run; `pace` has the fields of a Pace. The API tells of its model, if there is one.

    What the `journal` has is done, where there is that file. Raises UsageError, ApiError where the API refuses to tell,
    and what the listing raises.
    """
    from client.engine import Pace
    from client.journal import Done

    wanted = Pace(**pace)
    api = _asked(url, api_key, profile, top_k=top_k, shrink=shrink, timeout=wanted.timeout)
    done: Callable[[str, str | None], bool] = nothing_done
    if journal is not None and journal.exists():
        done = Done(journal, api.key, retry_failed=retry_failed)
    found = estimate(sources, api.model, wanted, top_k=top_k, shrink=shrink, round_trip=api.round_trip, done=done)
    passed_over = sources.passed_over()
    if json:
        print(json_line({**found.to_dict(), "passed_over": passed_over}))
    else:
        print(render(found) + f"\nbesides  {passed_over}" * bool(passed_over))


class _Api(NamedTuple):
    """What an API tells before a run, and seconds of a call without work; None for what nobody answers."""

    model: ModelDescription | None
    key: Key | None
    round_trip: float | None


def _asked(url: str | None, api_key: str | None, profile: str | None, **options: Any) -> _Api:
    from client.api import Client

    try:
        with Client(url, api_key, profile=profile, **options) as client:
            model = client.preflight()
            return _Api(model, client.key(model), _round_trip(client))
    except (NoApiError, UnreachableError):
        return _Api(None, None, None)


def _round_trip(client: Client) -> float | None:
    started = time.perf_counter()
    try:
        client.health()
    except ClientError:
        return None
    return time.perf_counter() - started


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=math.ceil(seconds)))
