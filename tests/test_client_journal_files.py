"""The journal as a file: torn, damaged, somebody else's, locked, linked, and brought to one line a photo."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from client import journal
from client.errors import UsageError
from client.journal import Journal
from tests.journals import KEY, failed, ok, opened, written

posix = pytest.mark.skipif(os.name == "nt", reason="no such files there")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal will be."""
    return tmp_path / "results.jsonl"


def paths(path: Path) -> list[str]:
    """Of which photos a journal tells, in the order of its lines."""
    return [outcome.path for outcome in journal.read(path)]


def test_a_torn_end_is_cut_off(path: Path) -> None:
    """Wherever in the last line a crash came: the lines before it stay, and the next one is whole."""
    whole = written(path, ok("a.jpg"), ok("b.jpg", "b1")).read_bytes()
    for length in range(whole.index(b"\n") + 1, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert paths(written(path, ok("c.jpg", "c1"))) == ["a.jpg", "c.jpg"]
        assert path.read_bytes().count(b"\n") == 2


def test_a_torn_only_line_is_no_foreign_file(path: Path) -> None:
    """A crash may come in the first line, too, and leave zeros behind it."""
    whole = written(path, ok("a.jpg")).read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length] + bytes(length % 3))
        assert paths(written(path, ok("c.jpg", "c1"))) == ["c.jpg"]


@pytest.mark.parametrize("zeros", [0, 1, 5000, 200_000])
def test_a_whole_line_without_its_end_is_kept(path: Path, zeros: int) -> None:
    """Only the newline was lost, or is a zero now."""
    whole = written(path, ok("a.jpg"), ok("b.jpg", "b1")).read_bytes()
    path.write_bytes(whole[:-1] + bytes(zeros))
    assert paths(written(path, ok("c.jpg", "c1"))) == ["a.jpg", "b.jpg", "c.jpg"]
    assert path.read_bytes().startswith(whole) and b"\0" not in path.read_bytes()


def test_nuls_of_a_power_loss(path: Path) -> None:
    """File systems may leave zeros where data did not arrive; in the middle the line is dropped, the others stay."""
    written(path, ok("a.jpg"), ok("b.jpg", "b1"), ok("c.jpg", "c1"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + bytes(len(lines[1])) + b"\n" + lines[2] + bytes(5000))
    with opened(path) as found:
        assert found.recall("c.jpg", "c1") == (ok("c.jpg", "c1"), True)
        assert found.recall("b.jpg", "b1") is None
    assert path.read_bytes() == lines[0] + lines[2]
    path.write_bytes(bytes(100))
    assert written(path, ok("a.jpg")).read_bytes() == lines[0]


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"path": ["a.jpg"], "status": "error", "error": {"code": "x"}}',
        b'{"path": "a.jpg", "sha256": ["a1"], "status": "error", "error": {"code": "x"}}',
        b'{"path": "a.jpg", "status": "ok", "predictions": []}',
        b"null",
    ],
)
def test_lines_that_say_nothing_are_passed_over(path: Path, damage: bytes) -> None:
    """Whatever stands between the others: those are read, and go on being the journal; it goes when the run ends."""
    whole = written(path, ok("b.jpg", "b1"), ok("c.jpg", "c1")).read_bytes()
    first, second = whole.splitlines(keepends=True)
    path.write_bytes(first + damage + b"\n\r\n" + second)
    assert paths(path) == ["b.jpg", "c.jpg"]
    with opened(path) as found:
        assert found.recall("c.jpg", "c1") == (ok("c.jpg", "c1"), True)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "text",
    [
        "dear diary\n",
        '{"other": 1}\n',
        "path,sha256\n",
        "[]",
        "\x89PNG",
        "{\n  \n}",
        '{"path": "a.jpg", "size": 3}\n{"path": "b.jpg", "size": 4}\n',
        '{"path": "a.jpg", "size": 3}',
        '{"path": torn in the middle of a longer file\n',
        "\0\0\n\ndear diary\n",
        "\0\0\0\x18ftypmp42\0\n\0",
    ],
)
def test_foreign_files_are_never_touched(path: Path, text: str) -> None:
    """Somebody's own file, a list of photos too, is neither read as results nor mended; --force begins anew."""
    path.write_text(text)
    with pytest.raises(UsageError, match="something else"):
        Journal.open(path)
    with pytest.raises(UsageError, match="holds no results"):
        list(journal.read(path))
    assert path.read_text() == text
    assert os.listdir(path.parent) == ["results.jsonl"]
    with Journal.open(path, force=True) as found:
        found.begin(KEY)
        found.write(ok("a.jpg"))
    assert paths(path) == ["a.jpg"]


def test_force_begins_anew(path: Path) -> None:
    """Nothing of what was there is recalled or kept."""
    written(path, ok("a.jpg"), ok("b.jpg", "b1"))
    with Journal.open(path, force=True) as found:
        found.begin(KEY)
        assert found.recall("a.jpg", "a1") is None
        found.write(ok("c.jpg", "c1"))
    assert paths(path) == ["c.jpg"]


def test_two_runs_cannot_share_a_journal(path: Path) -> None:
    """The second is told at once, and takes nothing; when the first has ended it may."""
    with opened(path) as found:
        found.write(ok("a.jpg"))
        for force in (False, True):
            with pytest.raises(UsageError, match="Another run"):
                Journal.open(path, force=force)
        found.write(ok("c.jpg", "c1"))
    assert paths(written(path, ok("b.jpg", "b1"))) == ["a.jpg", "c.jpg", "b.jpg"]


def test_places_that_cannot_be(tmp_path: Path) -> None:
    """A folder, a missing folder, a name too long, a file that is not there to be read: one clear error each."""
    for place in (tmp_path, tmp_path / "no" / "such.jsonl", tmp_path / ("a" * 300)):
        with pytest.raises(UsageError):
            Journal.open(place)
        with pytest.raises(UsageError):
            list(journal.read(place))
    assert not os.listdir(tmp_path)


@posix
def test_only_files_are_journals(tmp_path: Path) -> None:
    """A device must not become a file, a pipe would hang, a link to itself leads nowhere; force changes nothing."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    for place in (Path("/dev/null"), tmp_path / "loop", tmp_path / "pipe"):
        for force in (False, True):
            with pytest.raises(UsageError, match="no regular file"):
                Journal.open(place, force=force)


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_what_may_not_be_written_is_refused(path: Path) -> None:
    """A file or a folder without the right to write: an error before anything is sent, and the file as it was."""
    whole = written(path, ok("a.jpg")).read_bytes()
    for place, rights in ((path, 0o444), (path.parent, 0o555)):
        before = stat.S_IMODE(place.stat().st_mode)
        place.chmod(rights)
        with pytest.raises(UsageError, match="cannot be"):
            Journal.open(path)
        place.chmod(before)
    assert path.read_bytes() == whole


@posix
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """What it points to is replaced by compaction, not the link."""
    real = written(tmp_path / "real.jsonl", failed("a.jpg"))
    link = tmp_path / "link.jsonl"
    link.symlink_to(real)
    written(link, ok("a.jpg"))
    assert link.is_symlink()
    assert len(real.read_text().splitlines()) == 1
    new = tmp_path / "new.jsonl"
    new.symlink_to(tmp_path / "not there yet.jsonl")
    written(new, ok("a.jpg"))
    assert new.is_symlink() and paths(tmp_path / "not there yet.jsonl") == ["a.jpg"]


@posix
def test_compaction_keeps_rights_and_owner(path: Path) -> None:
    """Who may read it, and whose it is where root runs over other people's photos."""
    written(path, failed("a.jpg")).chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
    before = path.stat()
    written(path, ok("a.jpg"))
    after = path.stat()
    assert len(path.read_text().splitlines()) == 1 and after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_a_compaction_that_fails_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for a second file the longer one stays, and says the same."""
    written(path, failed("a.jpg"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        written(path, ok("a.jpg"))
    assert list(journal.read(path)) == [ok("a.jpg")]
    assert len(path.read_text().splitlines()) == 2
    assert os.listdir(path.parent) == ["results.jsonl"]


def test_a_line_that_somebody_appends_meanwhile(path: Path) -> None:
    """It costs none of ours, neither when they are looked up nor when the file is compacted."""
    with opened(path) as found:
        found.write(failed("a.jpg"))
        with open(path, "a") as other:
            other.write(json.dumps({"hello": "there"}) + "\n")
        found.write(ok("a.jpg"))
        found.write(ok("b.jpg", "b1"))
        assert found.recall("b.jpg", "b1") == (ok("b.jpg", "b1"), True)
    assert list(journal.read(path)) == [ok("a.jpg"), ok("b.jpg", "b1")]
    assert len(path.read_text().splitlines()) == 2
