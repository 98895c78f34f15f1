"""The journal: what a rerun finds in it, and what it writes."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from client import journal
from client.journal import Journal, Key
from client.results import Failure
from tests.journals import KEY, failed, ok, opened, written


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
    """None is copied to another name; --retry-failed asks again; unreadable files are known by their path."""
    written(path, failed("a.jpg"), failed("gone.jpg", None))
    with opened(path) as found:
        assert found.recall("a.jpg", "a1") == (failed("a.jpg"), True)
        assert found.recall("b.jpg", "a1") is None
        assert found.recall("gone.jpg", None) == (failed("gone.jpg", None), True)
        assert found.recall("a.jpg", None) is None
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


def test_a_journal_of_one_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files lose their names while they are open, not even a killed run leaves one."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Journal.temporary() as found:
        found.begin(KEY)
        found.write(ok("a.jpg"))
        assert os.name == "nt" or not os.listdir(tmp_path)
    assert not os.listdir(tmp_path)


def test_the_last_line_of_a_path_counts(path: Path) -> None:
    """While a run goes on the file may have both; closed in order it has one, where the last one was."""
    written(path, failed("a.jpg"), ok("b.jpg", "b1"))
    with opened(path, retry_failed=True) as found:
        found.write(ok("a.jpg"))
        assert len(path.read_text().splitlines()) == 3
        assert [outcome.path for outcome in journal.read(path)] == ["b.jpg", "a.jpg"]
    assert list(journal.read(path)) == [ok("b.jpg", "b1"), ok("a.jpg")]
    assert len(path.read_text().splitlines()) == 2


def test_lines_of_other_photos_stay(path: Path) -> None:
    """A run over another folder, with another model, drops nothing, not even when it compacts."""
    written(path, ok("a/1.jpg"), ok("b/1.jpg"))
    with opened(path, key=Key("new", "v9", "")) as found:
        found.write(ok("b/1.jpg", "b1", "v9"))
    assert list(journal.read(path)) == [ok("a/1.jpg"), ok("b/1.jpg", "b1", "v9")]
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_names_of_any_bytes(path: Path) -> None:
    """They are found again as they were, after compaction, too."""
    name = os.fsdecode(b"caf\xe9 \n\xff.jpg")
    written(path, failed(name), ok(name), ok("caf\u2028é.jpg", "b1"))
    with opened(path) as found:
        assert found.recall(name, "a1") == (ok(name), True)
    assert list(journal.read(path)) == [ok(name), ok("caf\u2028é.jpg", "b1")]


def test_names_that_hash_alike_are_no_twins(path: Path) -> None:
    """The index knows names by their hash; the line says whose it is."""

    class Name(str):
        def __hash__(self) -> int:
            return 7

    with opened(path) as found:
        found.write(failed(Name("a.jpg")))
        assert found.recall(Name("b.jpg"), "a1") is None
        assert found.recall(Name("a.jpg"), "a1") == (failed("a.jpg"), True)


def test_threads_look_things_up_while_lines_are_written(path: Path) -> None:
    """None of them gets another photo's line, or part of one."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    names = [f"{number}.jpg" for number in range(1000)]
    try:
        with opened(path) as found, ThreadPoolExecutor(4) as pool:
            for name in names[:500]:
                found.write(ok(name, name))
            recalled = pool.map(found.recall, names[:500], names[:500])
            for name in names[500:]:
                found.write(ok(name, name))
            assert list(recalled) == [(ok(name, name), True) for name in names[:500]]
    finally:
        sys.setswitchinterval(before)


def test_results_are_read_while_a_run_writes(path: Path) -> None:
    """`results` on the file of a run that goes on: what there was at its start, one outcome a photo."""
    with opened(path) as found:
        for number in range(100):
            found.write(ok(f"{number}.jpg"))
        outcomes = journal.read(path)
        first = next(outcomes)
        for number in range(100):
            found.write(ok(f"{number}.jpg", "new"))
            found.write(ok(f"later {number}.jpg"))
        assert [outcome.path for outcome in (first, *outcomes)] == [f"{number}.jpg" for number in range(100)]


def test_closing_twice_is_closing_once(path: Path) -> None:
    """The second touches nothing: another run may have the file by then."""
    found = opened(path)
    found.write(failed("a.jpg"))
    found.write(ok("a.jpg"))
    found.close()
    written(path, ok("b.jpg", "b1"))
    found.close()
    assert list(journal.read(path)) == [ok("a.jpg"), ok("b.jpg", "b1")]


def test_failures_of_the_client_s_own_are_not_kept(path: Path) -> None:
    """Too little memory yesterday says nothing of the photo."""
    own = replace(failed("b.jpg", "b1"), error=Failure("client_error", "The client failed: MemoryError.", "Report it."))
    written(path, failed("a.jpg", "a1"), own)
    with opened(path) as found:
        assert found.recall("a.jpg", "a1") is not None
        assert found.recall("b.jpg", "b1") is None
