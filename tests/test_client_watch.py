"""Photos that arrive in a folder, on a real file system: each given once it is whole, none missed, none twice."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from watchdog.events import FileSystemEvent

from client import changes, watching
from client.rules import Rules
from client.sources import Listing
from tests.fake_api import photo
from tests.watched import OLD, SETTLE, Clock, Watched


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of what is watched."""
    return Clock.put(monkeypatch)


@pytest.fixture
def watched(tmp_path: Path, clock: Clock) -> Iterator[Watched]:
    """An empty folder that is watched already; no thread of it is left at the end."""
    before = set(threading.enumerate())
    folder = tmp_path / "incoming"
    folder.mkdir()
    found = Watched(folder, clock)
    assert found.now(3) == []
    yield found
    found.sources.close()
    assert set(threading.enumerate()) <= before


def test_photos_that_are_there_come_first(tmp_path: Path, clock: Clock) -> None:
    """At once, those in folders too, under the names that a list gives them; what has just been written has to wait."""
    for name in ("b.png", "a.png", "new.png"):
        photo(tmp_path / name)
    (tmp_path / "sub").mkdir()
    photo(tmp_path / "sub" / "c.png")
    (tmp_path / "notes.txt").write_text("no photo")
    for path in tmp_path.rglob("*.*"):
        if path.name != "new.png":
            os.utime(path, OLD)
    found = Watched(tmp_path, clock)
    assert found.now() == ["a.png", "b.png", "sub/c.png"]
    assert found.next(1) == ["new.png"]
    assert found.within(200) == []


def test_a_new_photo_is_given_once(watched: Watched) -> None:
    """After it has stood still, under the name that a list gives it, and never again."""
    photo(watched.folder / "a.png")
    assert watched.now() == []
    assert watched.next(1) == ["a.png"]
    assert watched.within(200) == []


def test_names_are_those_of_lists(tmp_path: Path, clock: Clock) -> None:
    """Also where the folder is a link, and for names of any bytes: the journal must know them again."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    sources = watching.watch(link, settle=0)
    next(sources)
    odd = "caf\udce9.png" if sys.platform == "linux" else "café.png"
    photo(tmp_path / "x.png").rename(link / odd)
    found = next(source for source in sources if source)
    assert [found.name] == [source.name for source in Listing([str(link)])] == [f"{link}/{odd}"]


def test_a_photo_that_is_still_written_to(watched: Watched) -> None:
    """A copy that stops and goes is not given before it has stood still, and then is whole."""
    data = photo(watched.folder.parent / "whole.png", size=(300, 300)).read_bytes()
    path = watched.folder / "slow.png"
    with path.open("wb", buffering=0) as stream:
        for start in range(0, len(data), len(data) // 5 + 1):
            stream.write(data[start : start + len(data) // 5 + 1])
            assert watched.within(0.75 * SETTLE) == []
    assert watched.next(1) == ["slow.png"]
    assert path.read_bytes() == data


def test_a_download_is_given_when_it_gets_its_name(watched: Watched) -> None:
    """However long it has stood still before; then at once, without a wait."""
    for unfinished in ("a.png.crdownload", "b.png.part", ".c.png.Xy12"):
        photo(watched.folder / unfinished, format="PNG")
    (watched.folder / "d.png.download").mkdir()
    photo(watched.folder / "d.png.download" / "d.png")
    (watched.folder / "b.png").touch()  # as Firefox does, to keep the name
    assert watched.within(200) == []
    (watched.folder / "a.png.crdownload").rename(watched.folder / "a.png")
    (watched.folder / "b.png.part").rename(watched.folder / "b.png")
    (watched.folder / ".c.png.Xy12").rename(watched.folder / "c.png")
    (watched.folder / "d.png.download" / "d.png").rename(watched.folder / "d.png")
    assert watched.next(4, pace=0) == ["a.png", "b.png", "c.png", "d.png"]
    assert watched.within(200) == []


def test_a_photo_that_changes_is_given_again(watched: Watched) -> None:
    """When its content may be another; not for a change of its rights, or for being read."""
    path = photo(watched.folder / "a.png")
    assert watched.next(1) == ["a.png"]
    path.chmod(0o600)
    path.read_bytes()
    assert watched.within(200) == []
    photo(path, "blue", (50, 50))
    assert watched.next(1) == ["a.png"]
    photo(watched.folder.parent / "other.png", "lime").replace(path)
    assert watched.next(1) == ["a.png"]


def test_a_photo_that_went_away_before_it_was_whole(watched: Watched) -> None:
    """It is passed over, and so is one that was renamed: only its last name comes."""
    photo(watched.folder / "gone.png").unlink()
    late = photo(watched.folder / "late.png")
    photo(watched.folder / "first.png").rename(watched.folder / "last.png")
    assert watched.next(1, pace=0) == ["last.png"]
    late.unlink()
    assert watched.within(200) == []


def test_a_photo_that_was_deleted_and_comes_again(watched: Watched) -> None:
    """It is another one, even if it looks the same from outside."""
    path = photo(watched.folder / "a.png")
    os.utime(path, OLD)
    assert watched.next(1) == ["a.png"]
    path.unlink()
    assert watched.now() == []
    os.utime(photo(path), OLD)
    assert watched.next(1) == ["a.png"]


def test_an_empty_file_has_not_arrived(watched: Watched) -> None:
    """It is given once there is something in it."""
    path = watched.folder / "a.png"
    path.touch()
    assert watched.within(200) == []
    photo(path)
    assert watched.next(1) == ["a.png"]


def test_folders_that_come(watched: Watched) -> None:
    """Made here and filled, moved here with what is in them, and renamed."""
    (watched.folder / "made" / "deep").mkdir(parents=True)
    photo(watched.folder / "made" / "deep" / "a.png")
    outside = watched.folder.parent / "outside"
    (outside / "deep").mkdir(parents=True)
    photo(outside / "deep" / "b.png")
    outside.rename(watched.folder / "moved")
    assert watched.next(2) == ["made/deep/a.png", "moved/deep/b.png"]
    photo(watched.folder / "moved" / "c.png")
    assert watched.next(1) == ["moved/c.png"]
    (watched.folder / "moved").rename(watched.folder / "renamed")
    assert watched.next(2) == ["renamed/c.png", "renamed/deep/b.png"]
    assert watched.within(200) == []


def test_the_rules_are_those_of_lists(tmp_path: Path, clock: Clock) -> None:
    """What comes is judged as what is there: names, folders, hidden ones, and kind by the first bytes."""
    names = ["a.png", "a.jpg", "skip/b.png", "deep/skip/c.png", "deep/d.png", ".e.png", ".f/g.png", "plain", "raw.nef"]
    rules = Rules(include=("*.png", "plain", "*.nef"), exclude=("skip/", "deep/d.*", "!b.png"))
    listed, coming = tmp_path / "listed", tmp_path / "coming"
    coming.mkdir()
    watched = Watched(coming, clock, rules=rules)
    watched.now(3)
    for folder in (listed, coming):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            photo(folder / name, format="PNG")
        (folder / "text.png.txt").write_text("no photo")
    expected = sorted(os.path.relpath(source.name, listed) for source in Listing([str(listed)], rules))
    assert expected == ["a.png", "plain", "raw.nef"]
    assert watched.next(3) == expected
    assert watched.within(200) == []


def test_thousands_at_once(watched: Watched) -> None:
    """Each is given, and none twice."""
    data = photo(watched.folder.parent / "x.png").read_bytes()
    names = [f"{i % 7}/{i}.png" for i in range(3000)]
    for i in range(7):
        (watched.folder / str(i)).mkdir()
    for name in names:
        (watched.folder / name).write_bytes(data)
    assert watched.next(3000) == sorted(names)
    assert watched.within(200) == []


@pytest.mark.parametrize(("burst", "seconds"), [(3, watching.ANEW_SECONDS), (1000, watching.RELIST_SECONDS)])
def test_lost_events(watched: Watched, monkeypatch: pytest.MonkeyPatch, burst: int, seconds: float) -> None:
    """What the system does not tell is found by the next list, which comes early after more than it may have queued."""
    dispatch, told = changes.Changes.dispatch, set()

    def forgetful(self: changes.Changes, event: FileSystemEvent) -> None:
        if not os.fsdecode(event.src_path).endswith("lost.png"):
            dispatch(self, event)
            told.add(event.src_path)

    monkeypatch.setattr(changes.Changes, "dispatch", forgetful)
    monkeypatch.setattr(changes, "BURST", burst)
    began = watched.clock.now
    for name in ("lost.png", "1.png", "2.png", "3.png"):
        photo(watched.folder / name)
    while len(told) < 3:
        time.sleep(0.01)
    found = watched.within(seconds - 1)
    assert "lost.png" not in found
    assert sorted(found + watched.next(4 - len(found))) == ["1.png", "2.png", "3.png", "lost.png"]
    assert watched.clock.now - began < seconds + 2 * SETTLE
