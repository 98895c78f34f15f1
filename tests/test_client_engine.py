"""A run over many photos against an API that misbehaves: one result each, and the right one."""

from __future__ import annotations

import gc
import hashlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from client import engine
from client.api import Client
from client.errors import ApiError, UnreachableError, UsageError
from client.forms import Form
from client.journal import Journal
from client.photo import Upload
from client.results import Outcome
from client.sources import Source
from lambda_api import errors
from lambda_api.schema import Limits
from tests.fake_api import HALF, KEY, RESET, FakeApi, Fault, fake_api, html, photo, quick_waits, refusal
from tests.waiting import until

COLORS = ("red", "lime", "blue")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits between tries."""
    quick_waits(monkeypatch)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """A running stand-in."""
    with fake_api() as running:
        yield running


def _photos(folder: Path, number: int) -> list[Source]:
    """So many different photos."""
    return [Source(str(photo(folder / f"{i}.png", COLORS[i % 3], (40 + i, 30)))) for i in range(number)]


def _client(api: FakeApi, **options: Any) -> Client:
    return Client(api.url, KEY, **{"patience": 0.3, "timeout": 5.0} | options)


def _classified(api: FakeApi, sources: list[Source], **options: Any) -> list[Outcome]:
    with _client(api, **options) as client:
        return list(client.classify_many(sources))


def _codes(outcomes: list[Outcome]) -> Counter[str]:
    return Counter(outcome.error.code if outcome.error else "ok" for outcome in outcomes)


def _in_memory() -> int:
    """How many photos to be sent, and forms of them, there are."""
    return sum(type(one) in (Upload, Form) for one in gc.get_objects())


def test_every_photo_has_one_result_of_its_own(api: FakeApi, tmp_path: Path) -> None:
    """Packs of photos come apart into the right labels, and need far fewer requests than there are photos."""
    outcomes = _classified(api, _photos(tmp_path, 60))
    assert len({outcome.path for outcome in outcomes}) == len(outcomes) == 60
    for outcome in outcomes:
        assert outcome.label == ("red", "green", "blue")[int(Path(outcome.path).stem) % 3]
    assert len(api.posts) < 30


def test_identical_photos_are_sent_once(api: FakeApi, tmp_path: Path) -> None:
    """Under whatever names and however close together: the others get a copy of the result."""
    data = photo(tmp_path / "one.jpg").read_bytes()
    names = [tmp_path / f"copy-{i}.jpg" for i in range(40)]
    for name in names:
        name.write_bytes(data)
    outcomes = _classified(api, [Source(str(name)) for name in names])
    assert {outcome.path for outcome in outcomes} == set(map(str, names))
    assert _codes(outcomes) == {"ok": 40}
    assert len(api.posts) == 1


def test_identical_broken_photos_each_have_a_failure(api: FakeApi, tmp_path: Path) -> None:
    """A photo that cannot be sent has the same failure under all its names."""
    names = [tmp_path / f"torn-{i}.jpg" for i in range(10)]
    for name in names:
        name.write_bytes(b"\xff\xd8\xff")
    outcomes = _classified(api, [Source(str(name)) for name in names])
    assert {outcome.path for outcome in outcomes} == set(map(str, names))
    assert _codes(outcomes) == {"bad_image": 10}


def test_one_bad_photo_spoils_no_other(api: FakeApi, tmp_path: Path) -> None:
    """What the API says of one photo of a pack is that photo's failure alone."""
    sources = _photos(tmp_path, 20)
    with _client(api) as client:
        body = client._prepared(Path(sources[7].name).read_bytes(), client.model()).body
    api.bad_items[hashlib.sha256(body).digest()] = errors.ApiError("bad_image", "It is broken.", "Save it again.")
    outcomes = _classified(api, sources)
    failed = [outcome for outcome in outcomes if not outcome.ok]
    assert [outcome.path for outcome in failed] == [sources[7].name]
    assert failed[0].error is not None and failed[0].error.detail == "It is broken."


def test_a_refused_pack_goes_photo_by_photo(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all of a pack are refused together, each is asked for alone before anything counts as its failure."""
    monkeypatch.setattr(engine, "LINGER_SECONDS", 5.0)  # so that the second request is a full pack
    api.script = [None, refusal("too_large")]
    assert _codes(_classified(api, _photos(tmp_path, 40))) == {"ok": 40}
    assert {request.route for request in api.posts} == {"/v1/classify", "/v1/classify/batch"}


@pytest.mark.parametrize(
    "fault", [refusal("endpoint_unavailable"), refusal("throttled"), html(502), RESET, HALF, Fault(504)], ids=str
)
def test_transient_faults_are_tried_again(api: FakeApi, tmp_path: Path, fault: Fault) -> None:
    """Every other request fails at first; every photo has its labels at the end, and no request was in vain twice."""
    api.script = list(itertools.islice(itertools.cycle([fault, None]), 12))
    assert _codes(_classified(api, _photos(tmp_path, 50))) == {"ok": 50}


@pytest.mark.parametrize(
    "fault",
    [None, refusal("endpoint_unavailable"), refusal("too_large"), html(502), RESET, HALF, Fault(wait=1.0)],
    ids=["well", "unavailable", "refused", "proxy", "reset", "half", "late"],
)
def test_photos_that_are_done_are_let_go_at_once(api: FakeApi, tmp_path: Path, fault: Fault | None) -> None:
    """Not some time later, by Python's search for circles, which comes ever more seldom as a run gets on."""
    api.script = [None, fault, fault]
    sources = _photos(tmp_path, 60)
    gc.collect()
    before = _in_memory()
    gc.disable()
    try:
        assert len(_classified(api, sources, timeout=0.5)) == 60
        until(lambda: _in_memory() == before, seconds=2)  # threads that are done may have to come to their end
    finally:
        gc.enable()


def test_late_answers_are_tried_again(api: FakeApi, tmp_path: Path) -> None:
    """An answer that does not come within the timeout."""
    api.script = [Fault(wait=1.5)]
    assert _codes(_classified(api, _photos(tmp_path, 5), timeout=0.5)) == {"ok": 5}


def test_retry_after_holds_for_all_requests(api: FakeApi, tmp_path: Path) -> None:
    """After a refusal that names a time nothing at all is sent until it is over."""
    api.script = [None, None, refusal("throttled", **{"Retry-After": "1"})]
    assert _codes(_classified(api, _photos(tmp_path, 60))) == {"ok": 60}
    refused = api.posts[2].at
    first_wave = [request.at for request in api.posts[3:] if request.at < refused + 0.2]
    later = [request.at for request in api.posts[3:] if request.at >= refused + 0.2]
    assert len(first_wave) <= 3  # what was under way at that moment
    assert later and min(later) >= refused + 0.95


def test_a_deadly_photo_fails_alone(api: FakeApi, tmp_path: Path) -> None:
    """One photo that breaks every request it is in ends as a failure; the run goes on and all the others are done."""
    sources = _photos(tmp_path, 40)
    with _client(api) as client:
        api.deadly = client._prepared(Path(sources[11].name).read_bytes(), client.model()).body
    outcomes = _classified(api, sources)
    assert [outcome.path for outcome in outcomes if not outcome.ok] == [sources[11].name]
    assert _codes(outcomes) == {"ok": 39, "unreachable": 1}


def test_an_api_that_is_gone_stops_the_run(api: FakeApi, tmp_path: Path) -> None:
    """What was done stays done; nothing is called a failure that was never asked; the error says so."""
    api.dies_after = 3
    done: list[Outcome] = []
    with _client(api) as client, pytest.raises(UnreachableError):
        done.extend(client.classify_many(_photos(tmp_path, 200)))
    assert 0 < len(done) < 200
    assert _codes(done) == {"ok": len(done)}


def test_an_api_that_comes_back_is_waited_for(api: FakeApi, tmp_path: Path) -> None:
    """Down for a while, health included: the run pauses, then ends as if nothing had been."""
    down = refusal("endpoint_unavailable")
    api.script = [None]
    api.always = down

    def recover() -> None:
        time.sleep(0.5)
        api.always = api.on_get = None

    with _client(api, patience=30.0) as client:
        results = client.classify_many(_photos(tmp_path, 60))
        first = next(results)
        api.on_get = down
        healer = threading.Thread(target=recover)
        healer.start()
        outcomes = [first, *results]
        healer.join()
    assert _codes(outcomes) == {"ok": 60}


def test_a_key_that_is_refused_stops_the_run(api: FakeApi, tmp_path: Path) -> None:
    """A key withdrawn in the middle is no failure of a hundred thousand photos."""
    with _client(api) as client:
        results = client.classify_many(_photos(tmp_path, 100))
        next(results)
        api.always = api.on_get = refusal("forbidden")
        with pytest.raises(ApiError) as refused:
            list(results)
    assert refused.value.code == "forbidden"


def test_a_refusal_that_passes_stops_nothing(api: FakeApi, tmp_path: Path) -> None:
    """A single 403, as keys that are being changed give."""
    api.script = [None, refusal("forbidden")]
    assert _codes(_classified(api, _photos(tmp_path, 40))) == {"ok": 40}


def test_stop_finishes_what_is_under_way(api: FakeApi, tmp_path: Path) -> None:
    """After it nothing is sent, and all that was sent has its result."""
    api.always = Fault(wait=0.2)
    with _client(api) as client, Journal.temporary() as journal:
        run = client.run(journal)
        done: list[Outcome] = []
        for result in run.results(_photos(tmp_path, 100)):
            journal.write(result.outcome)
            if not done:
                run.stop()
                sent = len(api.posts)
            done.append(result.outcome)
    assert len(api.posts) == sent
    assert _codes(done) == {"ok": len(done)}
    assert len(done) < 100 and run.unsent > 0


def test_leaving_the_loop_leaves_no_thread(api: FakeApi, tmp_path: Path) -> None:
    """An iterator that is closed half-way takes its threads along."""
    with _client(api) as client:
        with closing(client.classify_many(_photos(tmp_path, 100))) as outcomes:
            next(outcomes)
        deadline = time.monotonic() + 5
        while _threads() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not _threads()


def test_many_labels_go_photo_by_photo(tmp_path: Path) -> None:
    """More labels than a batch gives are asked for one photo at a time."""
    with fake_api(limits=Limits(batch_top_k=2)) as api:
        assert _codes(_classified(api, _photos(tmp_path, 10), top_k=3)) == {"ok": 10}
        assert {request.route for request in api.posts} == {"/v1/classify"}


def test_packs_keep_within_the_limits(tmp_path: Path) -> None:
    """No request has more photos than the API takes."""
    with fake_api(limits=Limits(batch=5)) as api:
        assert _codes(_classified(api, _photos(tmp_path, 50))) == {"ok": 50}
        assert max(request.body.count(b"filename=") for request in api.posts) == 5


def test_the_rate_is_kept(api: FakeApi, tmp_path: Path) -> None:
    """Ten photos at ten a second need the better part of a second, however fast the API is."""
    started = time.monotonic()
    assert _codes(_classified(api, _photos(tmp_path, 10), rate=10.0)) == {"ok": 10}
    assert api.posts[-1].at - started >= 0.3
    assert max(max(1, request.body.count(b"filename=")) for request in api.posts) <= 10


def test_moments_without_a_photo(api: FakeApi, tmp_path: Path) -> None:
    """A source that has nothing right now says None, as a watched folder does."""
    one, other = _photos(tmp_path, 2)
    with _client(api) as client:
        assert _codes(list(client.classify_many([None, one, None, other, None]))) == {"ok": 2}


def test_errors_of_the_listing_are_raised(api: FakeApi, tmp_path: Path) -> None:
    """After the photos that came before have their results."""

    def listing() -> Iterator[Source]:
        yield from _photos(tmp_path, 3)
        raise UsageError("The list ends here.")

    with _client(api) as client, pytest.raises(UsageError, match="ends here"):
        list(client.classify_many(listing()))


def _threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(("prepare", "ask", "feed"))]


def test_a_key_that_goes_bad_ends_the_run(api: FakeApi, tmp_path: Path) -> None:
    """Though the API is well: no photo fails for it."""
    api.script = [None, None]
    api.always = refusal("forbidden")
    found: list[Outcome] = []
    with _client(api) as client, pytest.raises(ApiError) as refused:  # noqa: PT012
        for outcome in client.classify_many(_photos(tmp_path, 60)):
            found.append(outcome)
            api.key = "another"
    assert refused.value.code == "forbidden"
    assert 0 < len(found) < 60 and _codes(found).keys() == {"ok"}


def test_a_system_without_further_threads(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends with the fact and the mend, whichever thread it is that cannot be had."""
    start = threading.Thread.start
    for name in ("feed", "prepare_0", "prepare_2", "ask_0", "ask_1"):

        def limited(self: threading.Thread, name: str = name) -> None:
            if self.name == name:
                raise RuntimeError("can't start new thread")
            start(self)

        monkeypatch.setattr(threading.Thread, "start", limited)
        with _client(api, concurrency=4) as client, pytest.raises(UsageError, match="no further thread"):
            list(client.classify_many(_photos(tmp_path, 100)))


def test_late_answers_make_packs_smaller(api: FakeApi, tmp_path: Path) -> None:
    """A pack that was late is not sent whole again: the API would work for nothing."""
    api.script = [None, *[Fault(wait=1.0)] * 3]
    assert _codes(_classified(api, _photos(tmp_path, 60), timeout=0.5)) == {"ok": 60}
    sizes = [max(1, request.body.count(b"filename=")) for request in api.posts]
    assert sum(sizes) <= 60 + sum(sizes[1:4])


def test_connections_of_threads_that_ended_are_closed(api: FakeApi, tmp_path: Path) -> None:
    """A service that keeps one client for many folders must not run out of files."""
    sources = _photos(tmp_path, 12)
    with _client(api) as client:
        for _ in range(5):
            list(client.classify_many(sources))
        assert len(client._transport._sessions) <= 6


def test_a_score_that_is_no_number_is_no_answer(api: FakeApi, tmp_path: Path) -> None:
    """JSON has none, and a line with it could not be read again."""
    (source,) = _photos(tmp_path, 1)
    with _client(api) as client:
        answer = api.ranked_answer(float("nan"))
        api.script = [Fault(200, answer, {"Content-Type": "application/json"})]
        (outcome,) = client.classify_many([source])
    assert outcome.error is not None and outcome.error.code == "bad_answer"


def test_bytes_under_way_are_bounded(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests the API would like at once: memory stays flat."""
    api.always = Fault(wait=0.1)
    monkeypatch.setattr(engine, "IN_FLIGHT_BYTES", 1)
    assert _codes(_classified(api, _photos(tmp_path, 60))) == {"ok": 60}
    times = [request.at for request in api.posts]
    assert len(times) > 2 and min(b - a for a, b in itertools.pairwise(times)) >= 0.09
