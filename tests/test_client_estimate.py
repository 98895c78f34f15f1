"""What `--dry-run` says, and that it sends nothing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from client import estimate as estimates
from client import photo
from client.cli import app
from client.engine import Pace
from client.estimate import ASSUMED, MODEL_SECONDS, Estimate, estimate, render
from client.sampling import Spread, measure
from client.sources import Listing, Source
from lambda_api.schema import Limits
from local_stack import intrinsics, template
from tests.chaos_api import sent_bytes
from tests.chaos_server import MODEL
from tests.fake_api import FakeApi, named_api, quick_waits
from tests.many_photos import many_photos
from tests.photos import jpeg

PACE = Pace(concurrency=16, timeout=30.0)
PHOTO = jpeg((120, 90))


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """A running stand-in that the environment names."""
    quick_waits(monkeypatch)
    with named_api(monkeypatch, tmp_path) as running:
        yield running


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Path, dict[str, str | None]]:
    """A folder of 120 photos, a quarter of them broken, and what must come of each."""
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder, many_photos(folder, 120, bad=0.25)


def _sources(number: int, data: bytes = PHOTO) -> Iterator[Source]:
    return (Source(f"{i}.jpg", reader=lambda: data) for i in range(number))


def _run(*args: object) -> Result:
    return CliRunner().invoke(app, list(map(str, args)))


def _dry_run(*args: object) -> Result:
    return _run("classify", "--dry-run", *args)


@pytest.mark.parametrize("number", [0, 1, 7, 50, 51, 100, 101, 999, 12_345])
def test_a_sample_is_spread_evenly(number: int) -> None:
    """Of any number of things at least half as many as wanted are kept, at one distance from the first to the last."""
    spread = Spread(50)
    for i in range(number):
        if spread.wants_next():
            spread.kept.append(Source(str(i)))
    kept = [int(one.name) for one in spread.kept if isinstance(one, Source)]
    assert min(number, 25) <= len(kept) <= 50
    step = kept[1] - kept[0] if len(kept) > 1 else 1
    assert kept == list(range(0, number, step))


def test_few_photos_are_all_measured(photos: tuple[Path, dict[str, str | None]]) -> None:
    """Where the sample is larger than the folder nothing is guessed: failures by code, bytes before and after."""
    folder, expected = photos
    found = estimate(Listing([str(folder)]), MODEL, PACE)
    codes = [code for code in expected.values() if code]
    assert (found.photos, found.measured, found.failing) == (120, 120, len(codes))
    assert found.seen == {code: codes.count(code) for code in set(codes)}
    assert found.bytes_before == sum(os.path.getsize(path) for path in expected)
    assert found.bytes_after == sum(len(sent_bytes(Path(path))) for path, code in expected.items() if not code)
    assert "spread" not in render(found)


def test_many_photos_are_extrapolated() -> None:
    """A sample stands for all, and what was refused unread is counted, not guessed; people are told."""
    refused = [Source("a.cr2", "Raw.", "unsupported_media_type")] * 30
    found = estimate([*_sources(1000), *refused], MODEL, PACE, sample=50)
    assert found.photos == 1030
    assert 25 <= found.measured <= 50
    assert found.bytes_before == 1000 * len(PHOTO)
    assert found.bytes_after == pytest.approx(1000 * len(photo.prepare(PHOTO, photo.Target.of(MODEL)).body), rel=1e-6)
    assert (found.failing, found.seen) == (30, {"unsupported_media_type": 30})
    assert f"{found.measured} photos read and prepared here, spread over all" in render(found)


def test_broken_photos_are_extrapolated() -> None:
    """One broken photo in two of the sample is one in two of all."""
    sources = (Source(f"{i}", data=PHOTO if i % 32 else b"") for i in range(640))
    found = estimate(sources, MODEL, PACE, sample=40)
    assert found.measured == 40
    assert found.seen == {"bad_image": 20}
    assert found.failing == 320


class _Counted(bytes):
    """Bytes of which it is known how many there are at the moment."""

    alive = 0

    def __init__(self, data: bytes) -> None:
        _Counted.alive += 1

    def __del__(self) -> None:
        _Counted.alive -= 1


def test_an_archive_is_not_kept_in_memory() -> None:
    """Photos whose bytes come with the listing are measured one by one."""
    most = []

    def sources() -> Iterator[Source]:
        for i in range(100):
            yield Source(f"a.tar.gz/{i}.jpg", data=_Counted(PHOTO))
            most.append(_Counted.alive)

    assert len(measure(sources(), photo.Target.of(MODEL), shrink=True, timeout=1, most=50).measured) == 50
    assert max(most) <= 2


@pytest.mark.parametrize(
    ("options", "pace", "calls"),
    [
        ({}, PACE, 50),
        ({"top_k": 500}, PACE, 1000),
        ({}, replace(PACE, rate=2.0), 500),
        ({}, replace(PACE, rate=0.5), 1000),
    ],
)
def test_calls_are_packed_as_a_run_packs_them(options: dict[str, Any], pace: Pace, calls: int) -> None:
    """Twenty photos a call, by what an answer may take; fewer where so many labels cost, or where --rate is lower."""
    assert estimate(_sources(1000), MODEL, pace, sample=20, **options).calls == calls


def test_calls_are_packed_by_bytes() -> None:
    """Unshrunk photos of 1.5 MB go two in a call; those too large to be sent directly take two calls each."""
    large = PHOTO + bytes(1_500_000)
    assert estimate(_sources(100, large), MODEL, PACE, shrink=False, sample=20).calls == 50
    larger = PHOTO + bytes(4_500_000)
    assert estimate(_sources(100, larger), MODEL, PACE, shrink=False, sample=20).calls == 200


def test_the_limits_are_those_of_the_api() -> None:
    """Another API's limits make other calls, and other failures."""
    small = replace(MODEL, limits=Limits(batch=4))
    assert estimate(_sources(100), small, PACE, sample=20).calls == 25
    tiny = replace(MODEL, limits=Limits(pixels=100))
    assert estimate(_sources(100), tiny, PACE, sample=20).failing == 100


def test_time_is_that_of_the_longest_part() -> None:
    """Parts go on side by side: the model's time counts, or that of --rate or of round trips where it is longer."""
    plain = estimate(_sources(100), MODEL, PACE, sample=10)
    assert plain.total_seconds == plain.seconds["model"] == pytest.approx(100 * MODEL_SECONDS)
    slow = estimate(_sources(100), MODEL, replace(PACE, rate=2.0), sample=10)
    assert slow.total_seconds == slow.seconds["rate"] == 50
    far = estimate(_sources(100), MODEL, Pace(concurrency=2, timeout=30.0), round_trip=40.0, sample=10)
    assert far.total_seconds == far.seconds["round trips"] == pytest.approx(5 * 40 / 2)


def test_dollars() -> None:
    """A million photos of five labels, by hand: 50,000 calls, 50,000 gigabyte-seconds, 400 MB of answers."""
    one = estimate(_sources(1000), MODEL, PACE, sample=10)
    bills = {name: 1000 * value for name, value in one.dollars.items()}
    assert bills == pytest.approx({"gateway": 0.175, "function": 0.01 + 0.666_67, "data": 0.036})
    assert 1000 * one.total_dollars == pytest.approx(0.887_67)
    assert "the endpoint's machine comes on top" in render(one)


def test_the_function_is_that_of_the_template() -> None:
    """Memory and processor of the function whose seconds are counted are those that are deployed."""
    document = intrinsics.read(template.TEMPLATE)
    assert document["Globals"]["Function"]["Architectures"] == ["arm64"]
    assert document["Resources"]["Function"]["Properties"]["MemorySize"] == 1024 * estimates.FUNCTION_GB


def test_a_dry_run_sends_nothing(api: FakeApi, photos: tuple[Path, dict[str, str | None]]) -> None:
    """The API is asked for its model and its health, no more; nothing is written but the estimate."""
    result = _dry_run(photos[0], "-o", photos[0] / "labels.jsonl")
    assert result.exit_code == 0, result.output
    assert [request.route for request in api.requests] == ["/v1/model", "/v1/health"]
    assert not (photos[0] / "labels.jsonl").exists()
    assert result.stdout.startswith("photos   120, of which ")
    assert "no API answers" not in result.stdout


def test_a_dry_run_for_programs(api: FakeApi, photos: tuple[Path, dict[str, str | None]]) -> None:
    """--json gives the same numbers, one object."""
    found = json.loads(_dry_run(photos[0], "--json").stdout)
    assert found["photos"] == 120
    assert found["total_dollars"] == pytest.approx(sum(found["dollars"].values()))
    assert found["total_seconds"] == max(found["seconds"].values())
    assert set(found) == {*Estimate.__dataclass_fields__, "total_seconds", "total_dollars", "passed_over"}


def test_what_is_done_is_left_out(api: FakeApi, photos: tuple[Path, dict[str, str | None]], tmp_path: Path) -> None:
    """As the run would: photos and failures of the same model and options, whatever their names are now."""
    folder, expected = photos
    broken = sum(code is not None for code in expected.values())
    labels = tmp_path / "labels.jsonl"
    assert _run("classify", folder, "-o", labels).exit_code == 1
    new = jpeg((300, 200))
    (folder / "new.jpg").write_bytes(new)
    good = next(path for path, code in expected.items() if code is None)
    Path(good).rename(folder / "renamed.jpg")

    def told(*more: object) -> dict[str, int]:
        found = json.loads(_dry_run(folder, "-o", labels, "--json", *more).stdout)
        return {name: found[name] for name in ("photos", "done", "failing", "bytes_before", "calls")}

    todo = {"bytes_before": len(new), "calls": 1}
    assert told() == {"photos": 121, "done": 120, "failing": 0} | todo
    assert told("--retry-failed")["done"] == 120 - broken
    for other in (["--top-k", 3], ["--no-shrink"], ["--force"]):
        assert told(*other)["done"] == 0
    assert "photos   121, of which 120 are done\n" in _dry_run(folder, "-o", labels).stdout
    api.close()
    assert "that what is done was done by the model that will be asked" in _dry_run(folder, "-o", labels).stdout


def test_what_is_done_is_extrapolated() -> None:
    """One photo in four of the sample that is done is one in four of all."""
    sources = [Source(f"{i}", data=PHOTO + bytes([i // 16 % 4])) for i in range(640)]
    known = hashlib.sha256(PHOTO + b"\0").hexdigest()
    found = estimate(sources, MODEL, PACE, sample=40, done=lambda path, sha256: sha256 == known)
    assert (found.photos, found.measured, found.done, found.failing) == (640, 40, 160, 0)
    assert found.bytes_before == 480 * (len(PHOTO) + 1)


def test_what_is_not_sent_is_told(api: FakeApi, photos: tuple[Path, dict[str, str | None]]) -> None:
    """Raw files and others are counted as a run counts them."""
    (photos[0] / "notes.txt").write_text("notes")
    told = json.loads(_dry_run(photos[0], "--json").stdout)["passed_over"]
    assert "other file" in told
    assert f"\nbesides  {told}\n" in _dry_run(photos[0]).stdout


def test_a_dry_run_needs_no_api(
    api: FakeApi, photos: tuple[Path, dict[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an API, or with one that does not answer, the usual model is assumed, and that is said."""
    api.close()
    unreachable = _dry_run(photos[0])
    monkeypatch.delenv("WHIPPET_URL")
    monkeypatch.delenv("WHIPPET_API_KEY")
    nowhere = _dry_run(photos[0])
    for result in (unreachable, nowhere):
        assert result.exit_code == 0, result.output
        assert f"assumed  an input of {ASSUMED.input.resize} px and the usual limits, since no API" in result.stdout


def test_a_dry_run_tells_of_a_wrong_key(api: FakeApi, photos: tuple[Path, dict[str, str | None]]) -> None:
    """What would stop the run at once stops its estimate, too."""
    result = _dry_run(photos[0], "--url", api.url, "--api-key", "wrong")
    assert result.exit_code == 3
    assert "fact of forbidden." in result.stderr


def test_round_trips_that_could_not_be_measured() -> None:
    """Where the model is known but its health is not, no time is counted for round trips, and that is said."""
    assert "no time for round trips" in render(estimate(_sources(3), MODEL, PACE))
    assert "no time for round trips" not in render(estimate(_sources(3), MODEL, PACE, round_trip=0.1))
