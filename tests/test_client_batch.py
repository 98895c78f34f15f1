"""Ten thousand photos against an API that misbehaves in every way: one line a photo, the right one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from client import journal
from tests.chaos_api import CALM, NASTY, ChaosApi, Plan, chaos_api, expected, sent_hash
from tests.conftest import ROOT
from tests.fake_api import KEY
from tests.many_photos import many_photos

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals and names of POSIX")]


class Photos:
    """A folder of photos, and what must become of each."""

    def __init__(self, folder: Path, number: int) -> None:
        folder.mkdir()
        self.folder = folder
        self.codes = many_photos(folder, number)

    def check(self, file: Path) -> None:
        """Every photo has one line, with the labels or the code that it must have, and there is no other line."""
        outcomes = {outcome.path: outcome for outcome in journal.read(file)}
        assert set(outcomes) == set(self.codes)
        assert len(file.read_bytes().splitlines()) == len(self.codes)
        for path, code in self.codes.items():
            outcome = outcomes[path]
            assert (outcome.error and outcome.error.code) == code, path
            if code is None:
                labels = [{"label": p.label, "class_id": p.class_id, "score": p.score} for p in outcome.predictions]
                assert labels == expected(Path(path)), path


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """Ten thousand, a fiftieth of them broken and as many doubled."""
    return Photos(tmp_path_factory.mktemp("many") / "photos", 10_000)


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """Enough to be interrupted twenty times."""
    return Photos(tmp_path_factory.mktemp("some") / "photos", 3_000)


@pytest.fixture
def calm() -> Iterator[ChaosApi]:
    """An API that does what it should."""
    with chaos_api(CALM) as api:
        yield api


def _client(api: ChaosApi, photos: Photos, file: Path, *options: str, **popen: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "client", "classify", str(photos.folder), "-o", str(file), *options]
    environment = os.environ | {"WHIPPET_URL": api.url, "WHIPPET_API_KEY": KEY, "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, **popen)


def _ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=240)
    return process.returncode, errors


def test_ten_thousand_photos_and_an_api_in_trouble(many: Photos, tmp_path: Path) -> None:
    """429, 503, 502, 504, resets, half and late answers, and two restarts: the truth is the same, no answer is lost.

    Memory stays below 200 MB all the while.
    """
    file, peak = tmp_path / "results.jsonl", 0
    with chaos_api(Plan(**{**NASTY.__dict__, "batch": 40, "deaths": (3000, 7000), "down": 2.0})) as api:
        process = _client(api, many, file)
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, _memory(watched))
            time.sleep(0.05)
        code, errors = _ended(process)
        assert code == 1, errors  # some are broken
        many.check(file)
        assert api.deaths == 2 and len(api.faults()) >= 8
        assert api.again() == []
    assert peak < 200e6, f"{peak / 1e6:.0f} MB"


def test_a_rerun_sends_nothing_but_what_is_new(some: Photos, calm: ChaosApi, tmp_path: Path) -> None:
    """Done photos under old and new names, and failures, cost no request; a changed one costs one."""
    file = tmp_path / "results.jsonl"
    assert _ended(_client(calm, some, file))[0] == 1
    sent = calm.answered().total()
    lines = file.read_bytes()
    code, errors = _ended(_client(calm, some, file))
    assert code == 1 and f"{len(some.codes):,} done before" in errors
    assert file.read_bytes() == lines
    good = [path for path, code in some.codes.items() if code is None]
    new, changed = some.folder / "new name.jpg", Path(good[0])
    new.write_bytes(Path(good[1]).read_bytes())
    before = changed.read_bytes()
    try:
        changed.write_bytes(before[:-2] + b"\xff\xfe\x00\x04xx\xff\xd9")  # a comment: other bytes, same picture
        _ended(_client(calm, some, file))
        paths = {outcome.path: outcome.sha256 for outcome in journal.read(file)}
        assert len(paths) == len(some.codes) + 1
        assert calm.answered().total() == sent + 1
    finally:
        changed.write_bytes(before)
        new.unlink()


def test_killed_twenty_times(some: Photos, tmp_path: Path) -> None:
    """kill -9 at random moments, and the same command again: the union is what an undisturbed run gives."""
    file, chance, kills = tmp_path / "results.jsonl", random.Random(11), 0
    with chaos_api(Plan(slow=1.0, slow_seconds=0.05, batch=10)) as api:
        while kills < 20:
            process = _client(api, some, file, start_new_session=True)
            before = _size(file)
            while process.poll() is None and _size(file) == before:
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.2))
            done = process.poll()
            process.kill()
            _ended(process)
            assert done is None, "it ended before it could be killed twenty times"
            kills += 1
        written = {outcome.sha256 for outcome in journal.read(file) if outcome.ok}
        assert 0 < len(written) < len(some.codes)
        assert _ended(_client(api, some, file))[0] == 1
        some.check(file)
        # What an answer had reached the disk for is never sent again: twice at most what was under way at a kill.
        assert len(api.again()) <= 20 * 16 * 10


def test_interrupted_and_gone_on_with(some: Photos, calm: ChaosApi, tmp_path: Path) -> None:
    """Ctrl-C again and again: what was sent has its line, so that nothing at all is sent twice."""
    file = tmp_path / "results.jsonl"
    for _ in range(3):
        before = _size(file)
        process = _client(calm, some, file)
        while _size(file) == before:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        assert _ended(process)[0] == 130
    assert _ended(_client(calm, some, file))[0] == 1
    some.check(file)
    assert calm.again() == []
    hashes = {sent_hash(Path(path)) for path, code in some.codes.items() if code is None}
    assert set(calm.answered()) == hashes


def test_two_runs_at_once(some: Photos, calm: ChaosApi, tmp_path: Path) -> None:
    """The second is refused before it sends anything, and disturbs nothing."""
    file = tmp_path / "results.jsonl"
    first = _client(calm, some, file)
    while not _size(file):
        time.sleep(0.005)
    code, errors = _ended(_client(calm, some, file))
    assert code == 2 and "Another run writes to" in errors
    assert _ended(first)[0] == 1
    some.check(file)


def test_max_failures_stops_a_run_that_goes_wrong(some: Photos, calm: ChaosApi, tmp_path: Path) -> None:
    """More failures than allowed end it, what is under way is written; without a limit it goes to its end."""
    file = tmp_path / "results.jsonl"
    code, errors = _ended(_client(calm, some, file, "--max-failures", "5"))
    assert code == 1 and "--max-failures" in errors
    found = list(journal.read(file))
    assert 5 < sum(not outcome.ok for outcome in found) < 30
    assert len(found) < len(some.codes)
    assert json.loads(_ended(_client(calm, some, file, "--json"))[1])["photos"] == len(some.codes)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
