"""How the command line ends as a process: signals, pipes that close, names that still come, what is on stderr."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.fake_api import FakeApi, Fault, named_api, photo, three_photos
from tests.waiting import until


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """A running stand-in that the environment names."""
    with named_api(monkeypatch, tmp_path) as running:
        yield running


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three good photos and a note."""
    return three_photos(tmp_path / "photos")


def _process(*args: object, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "error", "-m", "client", *map(str, args)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(api: FakeApi, photos: Path, tmp_path: Path, number: int) -> None:
    """Ctrl-C finishes what is under way, sends nothing more and ends with 130; the summary says interrupted."""
    file = tmp_path / "out.jsonl"
    for index in range(50):
        photo(photos / f"{index}.jpg", size=(50 + index, 30))
    api.always = Fault(wait=0.5)
    with _process("classify", photos, "-o", file, "--concurrency", "1") as process:
        until(lambda: len(api.posts) >= 2)
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"interrupted: " in errors and b" not sent" in errors
    sent = sum(max(1, post.body.count(b"filename=")) for post in api.posts)
    assert len(file.read_text().splitlines()) == sent < 53


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
def test_interrupted_twice(api: FakeApi, photos: Path, tmp_path: Path) -> None:
    """A second Ctrl-C does not wait for the API; the lines written stay."""
    file = tmp_path / "out.jsonl"
    api.script, api.always = [None], Fault(wait=20)
    with _process("classify", photos, "-o", file, "--concurrency", "1") as process:
        until(lambda: file.exists() and bool(file.read_text()))
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert b"stopping" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    assert process.returncode == 130
    assert time.monotonic() - started < 5
    assert len(file.read_text().splitlines()) == 1


def test_a_closed_pipe(api: FakeApi, photos: Path) -> None:
    """`| head` ends a run quietly, without a traceback."""
    with _process("classify", photos) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 1
    assert b"Traceback" not in errors
    assert b"Exception" not in errors


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
def test_interrupted_while_nobody_reads_the_errors(api: FakeApi, photos: Path, tmp_path: Path) -> None:
    """As under `2>&1 | tee`, which Ctrl-C ends as well: what is under way is finished."""
    file = tmp_path / "out.jsonl"
    for index in range(50):
        photo(photos / f"{index}.jpg", size=(50 + index, 30))
    api.always = Fault(wait=0.5)
    with _process("classify", photos, "-o", file, "--concurrency", "1") as process:
        assert process.stderr is not None
        process.stderr.close()
        until(lambda: len(api.posts) >= 2)
        process.send_signal(signal.SIGINT)
        process.wait(20)
    assert process.returncode == 130
    sent = sum(max(1, post.body.count(b"filename=")) for post in api.posts)
    assert len(file.read_text().splitlines()) == sent


def test_it_ends_though_names_may_still_come(api: FakeApi, tmp_path: Path) -> None:
    """A run that stops by itself does not wait for standard input, nor fail for it."""
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    with _process("classify", "-", "--max-failures", "0", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(os.fsencode(tmp_path / "torn.jpg") + b"\n" + os.fsencode(tmp_path / "torn.jpg") + b"\n")
        process.stdin.flush()
        assert process.stderr is not None
        errors = b"".join(iter(process.stderr.readline, b""))
        process.wait(20)
    assert process.returncode == 1
    assert b"Stopped" in errors and b"Fatal" not in errors


def test_secrets_of_libraries_are_not_logged(api: FakeApi, photos: Path) -> None:
    """--debug is about the client: AWS's own log has session tokens, urllib3's signed addresses."""
    with _process("classify", photos / "r.jpg", "--debug", "--verbose") as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert b"urllib3" not in errors and b"HTTP/1.1" not in errors and b"POST" not in errors


@pytest.mark.parametrize(("option", "told"), [("-v", True), ("--json", False)])
def test_an_api_that_dies_is_announced(api: FakeApi, photos: Path, tmp_path: Path, option: str, told: bool) -> None:
    """A run that waits says so, unless programs read what it says."""
    api.dies_after = 1
    with _process("classify", photos, "-o", tmp_path / "out.jsonl", "--patience", "4", option) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert (b"waiting for it" in errors) is told
