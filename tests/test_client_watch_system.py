"""Watching a folder where events are missing or end: disks on the network, limits, folders that go, runs, commands."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from watchdog.observers.api import BaseObserver

from client import Client, UsageError, folders, watching
from client.sources import Source
from tests.conftest import ROOT
from tests.fake_api import KEY, fake_api, photo
from tests.waiting import until
from tests.watched import OLD, SETTLE, Clock, Watched


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of what is watched."""
    return Clock.put(monkeypatch)


def test_polling_needs_no_events(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """For disks on the network: a list every so often is enough, and the watchdog library is not needed."""
    for name in ("watchdog", "watchdog.events", "client.changes"):
        monkeypatch.setitem(sys.modules, name, None)
    watched = Watched(tmp_path, clock, poll=10.0)
    assert watched.now() == []
    photo(tmp_path / "a.png")
    assert watched.within(9) == []
    assert watched.within(SETTLE) == []
    with (tmp_path / "a.png").open("ab") as stream:
        stream.write(b"more")
    assert watched.within(SETTLE) == []
    assert watched.next(1) == ["a.png"]
    assert watched.within(60) == []
    with pytest.raises(UsageError, match=r"pip install 'whippet\[watch\]'"):
        watching.watch(tmp_path)


def test_polling_more_often_than_files_settle(tmp_path: Path, clock: Clock) -> None:
    """Being listed does not make a file wait anew."""
    watched = Watched(tmp_path, clock, poll=0.5)
    assert watched.now() == []
    photo(tmp_path / "a.png")
    assert watched.next(1) == ["a.png"]


def test_a_folder_that_cannot_be_read_is_told_once(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason; and not at all when it has just gone away."""
    refused = [Source(str(tmp_path), "The folder cannot be read."), Source(str(tmp_path / "gone"), "The same.")]
    monkeypatch.setattr(folders, "photos", lambda *_: iter(refused))
    sources = watching.watch(tmp_path, poll=1.0)
    found = []
    for _ in range(50):
        found.append(next(sources))
        clock.now += 0.5
    assert [source for source in found if source] == refused[:1]


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("poll", [None, 1.0])
def test_a_folder_that_goes_away(tmp_path: Path, clock: Clock, poll: float | None, again: bool) -> None:
    """It ends what watches it, with the fact and the mend; one in its place is noticed unless it is polled anyway."""
    folder = tmp_path / "incoming"
    with pytest.raises(UsageError, match="no folder"):
        watching.watch(folder)
    folder.mkdir()
    watched = Watched(folder, clock, poll=poll)
    watched.now(3)
    folder.rmdir()
    if again:
        folder.mkdir()
    if again and poll:
        photo(folder / "a.png")
        assert watched.next(1) == ["a.png"]
        return
    with pytest.raises(UsageError, match="gone"):
        watched.next(1)


def test_a_system_that_watches_no_more(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its limit is an error that says what to do instead."""

    def start(self: BaseObserver) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(BaseObserver, "start", start)
    with pytest.raises(UsageError, match=r"limit reached.*--poll"):
        next(watching.watch(tmp_path))


def test_it_ends_when_told_to(tmp_path: Path, clock: Clock) -> None:
    """In the middle of a long list, too, and without a thread left."""
    for i in range(5):
        os.utime(photo(tmp_path / f"{i}.png"), OLD)
    before, stop = threading.active_count(), threading.Event()
    sources = watching.watch(tmp_path, stop=stop)
    assert next(sources)
    stop.set()
    assert list(sources) == []
    assert threading.active_count() == before


def test_a_run_over_what_arrives(tmp_path: Path, clock: Clock) -> None:
    """The library classifies photos as they come, and closing it ends the watch as well."""
    os.utime(photo(tmp_path / "a.png", "blue"), OLD)
    with fake_api() as api, Client(api.url, KEY) as client:
        outcomes = client.classify_many(watching.watch(tmp_path, settle=0))
        assert next(outcomes).label == "blue"
        photo(tmp_path / "b.png", "lime")
        assert next(outcomes).label == "green"
        outcomes.close()


def test_the_command(tmp_path: Path) -> None:
    """Lines as photos come, until Ctrl-C; a second run sends nothing again."""
    incoming, lines = tmp_path / "incoming", tmp_path / "labels.jsonl"
    incoming.mkdir()
    photo(incoming / "a.png", "blue")
    with fake_api() as api:
        for name in ("b.png", "c.png"):
            command = [sys.executable, "-m", "client", "watch", str(incoming), "-o", str(lines), "--settle", "0.3"]
            options = ["--url", api.url, "--api-key", KEY]
            with subprocess.Popen([*command, *options], cwd=ROOT, stderr=subprocess.PIPE) as process:
                _wait_for(lines, "a.png")
                shutil.copy(photo(tmp_path / name, "lime", (len(name), ord(name[0]))), incoming)
                _wait_for(lines, name)
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=30)
            assert process.returncode == 0, said.decode()
        sent = len(api.posts)
    labels = {Path(line["path"]).name: line["predictions"][0]["label"] for line in _lines(lines)}
    assert labels == {"a.png": "blue", "b.png": "green", "c.png": "green"}
    assert sent == 3


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _wait_for(path: Path, name: str) -> None:
    until(lambda: name in {Path(line["path"]).name for line in _lines(path)}, seconds=30)
