"""The journal: what a rerun finds, and what a crash leaves."""

from __future__ import annotations

import json
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from client import journal
from client.errors import UsageError
from client.journal import Journal, Key
from client.results import Failure, Outcome
from lambda_api.schema import Prediction

KEY = Key("m", "v1", "top_k=5 shrink=2")
LABELS = (Prediction("beagle", "n1", 0.9), Prediction("pug", "n2", 0.05))


def ok(path: str, sha256: str = "a1", version: str = "v1") -> Outcome:
    """A classified photo."""
    return Outcome(path, sha256, LABELS, "confident", None, "m", version, 12.5, KEY.options)


def failed(path: str, sha256: str | None = "a1") -> Outcome:
    """A photo that failed."""
    return Outcome(path, sha256, (), None, Failure("bad_image", "torn", "mend"), "m", "v1", 1.0, KEY.options)


def opened(path: Path, *, retry_failed: bool = False, key: Key = KEY) -> Journal:
    """A journal that has begun."""
    found = Journal.open(path)
    found.begin(key, retry_failed=retry_failed)
    return found


def written(path: Path, *outcomes: Outcome) -> Path:
    """A journal that was closed in order."""
    with opened(path) as found:
        for outcome in outcomes:
            found.write(outcome)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal will be."""
    return tmp_path / "results.jsonl"


def test_lines_are_those_of_the_client(path: Path) -> None:
    """One JSON object a line, nothing else in the file, and no lock left beside it."""
    written(path, ok("a.jpg"), failed("b.jpg", "b1"))
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        ok("a.jpg").to_dict(),
        failed("b.jpg", "b1").to_dict(),
    ]
    assert os.listdir(path.parent) == ["results.jsonl"]
    assert list(journal.read(path)) == [ok("a.jpg"), failed("b.jpg", "b1")]


def test_done_photos_are_kept_by_content(path: Path) -> None:
    """The same path and content keep their line; another path gets a copy; changed content is asked again."""
    written(path, ok("a.jpg"))
    with opened(path) as found:
        kept = found.recall("a.jpg", "a1")
        assert kept is not None and kept == (ok("a.jpg"), True)
        copied = found.recall("b.jpg", "a1")
        assert copied is not None and copied == (replace(ok("b.jpg"), ms=0.0), False)
        assert found.recall("a.jpg", "a2") is None


@pytest.mark.parametrize(
    "key", [Key("other", "v1", KEY.options), Key("m", "v2", KEY.options), Key("m", "v1", "top_k=3")]
)
def test_another_model_or_other_options_ask_again(path: Path, key: Key) -> None:
    """A line counts only for the model, the version and the options it was made with."""
    written(path, ok("a.jpg"))
    with opened(path, key=key) as found:
        assert found.recall("a.jpg", "a1") is None
        assert found.recall("b.jpg", "a1") is None


def test_failures_are_kept_unless_asked_for(path: Path) -> None:
    """A failure is never copied to another name; --retry-failed asks again; unreadable files are known by path."""
    written(path, failed("a.jpg"), failed("gone.jpg", None))
    with opened(path) as found:
        assert found.recall("a.jpg", "a1") == (failed("a.jpg"), True)
        assert found.recall("b.jpg", "a1") is None
        assert found.recall("gone.jpg", None) == (failed("gone.jpg", None), True)
    with opened(path, retry_failed=True) as found:
        assert found.recall("a.jpg", "a1") is None
        assert found.recall("gone.jpg", None) is None


def test_what_this_run_writes_counts_at_once(path: Path) -> None:
    """Identical photos of one run, with and without a file."""
    for found in (Journal.temporary(), Journal.open(path)):
        with found:
            found.begin(KEY)
            assert found.recall("b.jpg", "a1") is None
            found.write(ok("a.jpg"))
            recalled = found.recall("b.jpg", "a1")
            assert recalled is not None and not recalled.kept and recalled.outcome.path == "b.jpg"
            found.write(recalled.outcome)
            assert [outcome.path for outcome in found.outcomes()] == ["a.jpg", "b.jpg"]


def test_the_last_line_of_a_path_counts(path: Path) -> None:
    """While a run goes on the file may have both; closed in order it has one."""
    written(path, failed("a.jpg"), ok("b.jpg", "b1"))
    with opened(path, retry_failed=True) as found:
        found.write(ok("a.jpg"))
        assert len(path.read_text().splitlines()) == 3
        assert [outcome.path for outcome in journal.read(path)] == ["b.jpg", "a.jpg"]
    assert list(journal.read(path)) == [ok("b.jpg", "b1"), ok("a.jpg")]
    assert len(path.read_text().splitlines()) == 2


def test_lines_of_other_photos_stay(path: Path) -> None:
    """A run over another folder, with another model, drops nothing."""
    written(path, ok("a/1.jpg"))
    with opened(path, key=Key("new", "v9", "")) as found:
        found.write(ok("b/1.jpg", "b1", "v9"))
    assert {outcome.path for outcome in journal.read(path)} == {"a/1.jpg", "b/1.jpg"}


def test_a_torn_end_is_cut_off(path: Path) -> None:
    """Wherever in the last line a crash came: the lines before it stay, and the next one is whole."""
    written(path, ok("a.jpg"), ok("b.jpg", "b1"))
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole) - 1):
        path.write_bytes(whole[:length])
        written(path, ok("c.jpg", "c1"))
        assert next(journal.read(path)).path == "a.jpg"
        assert path.read_bytes().count(b"\n") == len(list(journal.read(path))) >= 2
    path.write_bytes(whole[:-1])
    written(path, ok("c.jpg", "c1"))
    assert [outcome.path for outcome in journal.read(path)] == ["a.jpg", "b.jpg", "c.jpg"]


def test_nuls_of_a_power_loss(path: Path) -> None:
    """File systems may leave zeros where data did not arrive; in the middle the line is dropped, the others stay."""
    written(path, ok("a.jpg"), ok("b.jpg", "b1"), ok("c.jpg", "c1"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + bytes(len(lines[1])) + b"\n" + lines[2] + bytes(5000))
    with opened(path) as found:
        assert found.recall("c.jpg", "c1") == (ok("c.jpg", "c1"), True)
        assert found.recall("b.jpg", "b1") is None
    assert [outcome.path for outcome in journal.read(path)] == ["a.jpg", "c.jpg"]
    assert b"\0" not in path.read_bytes()
    path.write_bytes(bytes(100))
    assert written(path, ok("a.jpg")).read_bytes().count(b"\n") == 1


@pytest.mark.parametrize("text", ["dear diary\n", '{"other": 1}\n', "path,sha256\n", "[]", "\x89PNG"])
def test_foreign_files_are_never_touched(path: Path, text: str) -> None:
    """Somebody's own file is refused, neither read as results nor mended; --force begins anew."""
    path.write_text(text)
    with pytest.raises(UsageError, match="something else"):
        Journal.open(path)
    with pytest.raises(UsageError):
        list(journal.read(path))
    assert path.read_text() == text
    with Journal.open(path, force=True) as found:
        found.begin(KEY)
        found.write(ok("a.jpg"))
    assert len(path.read_text().splitlines()) == 1


def test_two_runs_cannot_share_a_journal(path: Path) -> None:
    """The second is told at once; when the first has ended it may."""
    with opened(path) as found:
        with pytest.raises(UsageError, match="Another run"):
            Journal.open(path)
        with pytest.raises(UsageError, match="Another run"):
            Journal.open(path, force=True)
        found.write(ok("a.jpg"))
    written(path, ok("b.jpg", "b1"))
    assert len(list(journal.read(path))) == 2


def test_places_that_cannot_be(tmp_path: Path) -> None:
    """A folder, a missing folder, a file that is not there to be read: one clear error each."""
    for place in (tmp_path, tmp_path / "no" / "such.jsonl"):
        with pytest.raises(UsageError):
            Journal.open(place)
    with pytest.raises(UsageError):
        list(journal.read(tmp_path / "missing.jsonl"))


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """What it points to is replaced by compaction, not the link, and keeps its rights."""
    real = written(tmp_path / "real.jsonl", failed("a.jpg"))
    real.chmod(0o640)
    link = tmp_path / "link.jsonl"
    link.symlink_to(real)
    with opened(link, retry_failed=True) as found:
        found.write(ok("a.jpg"))
    assert link.is_symlink()
    assert list(journal.read(real)) == [ok("a.jpg")]
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_names_of_any_bytes(path: Path) -> None:
    """They are found again as they were."""
    name = os.fsdecode(b"caf\xe9 \n\xff.jpg")
    written(path, ok(name))
    with opened(path) as found:
        assert found.recall(name, "a1") == (ok(name), True)


def test_a_compaction_that_fails_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for a second file the longer one stays, and says the same."""
    written(path, failed("a.jpg"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with opened(path, retry_failed=True) as found:
            found.write(ok("a.jpg"))
    assert list(journal.read(path)) == [ok("a.jpg")]
    assert len(path.read_text().splitlines()) == 2
    assert os.listdir(path.parent) == ["results.jsonl"]
