"""Globs, ages and hidden files: what is wanted of that which is found, and the count of the rest."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

import pytest

from client.errors import UsageError
from client.rules import Rules, parse_since
from client.sources import Listing

NOW = datetime(2026, 11, 25, 12, tzinfo=timezone.utc).timestamp()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos at three depths; empty ones, since rules look at names."""
    for name in ("a.jpg", "b.png", "2025/a.jpg", "2026/a.jpg", "2026/june/c.jpg", "2026/june/raw/d.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def _found(folder: Path, rules: Rules) -> tuple[list[str], Listing]:
    listing = Listing([str(folder)], rules)
    return [os.path.relpath(source.name, folder).replace(os.sep, "/") for source in listing], listing


@pytest.mark.parametrize(
    ("include", "exclude", "names"),
    [
        (["a.jpg"], [], ["2025/a.jpg", "2026/a.jpg", "a.jpg"]),
        (["/a.jpg"], [], ["a.jpg"]),
        (["2026/*.jpg"], [], ["2026/a.jpg"]),
        (["2026/**"], ["raw/"], ["2026/a.jpg", "2026/june/c.jpg"]),
        (["june"], [], ["2026/june/c.jpg", "2026/june/raw/d.jpg"]),
        (["**/june/*"], [], ["2026/june/c.jpg", "2026/june/raw/d.jpg"]),
        (["*.png", "c.*"], [], ["2026/june/c.jpg", "b.png"]),
        (["*.jpg"], ["*.jpg", "!c.jpg"], ["2026/june/c.jpg"]),
        ([], ["2026", "*.png"], ["2025/a.jpg", "a.jpg"]),
        (["*.JPG"], [], []),
    ],
)
def test_globs_are_those_of_gitignore(folder: Path, include: list[str], exclude: list[str], names: list[str]) -> None:
    """Without a slash names at any depth, with one paths from the PATH on; folders hold for what is in them."""
    assert _found(folder, Rules(tuple(include), tuple(exclude)))[0] == names


def test_what_rules_leave_out_is_counted(folder: Path) -> None:
    """A folder that is not wanted counts as one and is not even read."""
    _, listing = _found(folder, Rules(exclude=("2026", "*.png")))
    assert listing.excluded == 2
    assert listing.passed_over() == "2 excluded"


def test_a_number_sign_is_no_comment(tmp_path: Path) -> None:
    """A glob of the command line is always a glob."""
    (tmp_path / "#1.jpg").touch()
    (tmp_path / "2.jpg").touch()
    assert _found(tmp_path, Rules(include=("#*",)))[0] == ["#1.jpg"]


@pytest.mark.parametrize("glob", ["", "!", "/", "a["])
def test_what_is_no_glob_is_named_at_once(glob: str) -> None:
    """Never a rule that silently matches nothing."""
    with pytest.raises(UsageError, match="is no glob"):
        Rules(include=("*.jpg", glob))


def test_since_is_the_time_of_the_last_change(folder: Path) -> None:
    """The moment itself counts as since; links have the time of their target."""
    for name in ("a.jpg", "2025/a.jpg", "2026/a.jpg"):
        os.utime(folder / name, (NOW, NOW))
    os.utime(folder / "a.jpg", (NOW - 1, NOW - 1))
    (folder / "link.jpg").symlink_to("2025/a.jpg")
    (folder / "broken.jpg").symlink_to("nowhere")
    for name in ("b.png", "2026/june/c.jpg", "2026/june/raw/d.jpg"):
        os.utime(folder / name, (0, 0))
    names, listing = _found(folder, Rules(since=NOW))
    assert names == ["2025/a.jpg", "2026/a.jpg", "broken.jpg", "link.jpg"]
    assert listing.excluded == 4


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("36h", NOW - 36 * 3600),
        ("2d", NOW - 2 * 86_400),
        ("3w", NOW - 21 * 86_400),
        ("2026-11-01", datetime(2026, 11, 1).timestamp()),
        ("2026-11-01T10:00", datetime(2026, 11, 1, 10).timestamp()),
        ("2026-11-01T10:00+00:00", datetime(2026, 11, 1, 10, tzinfo=timezone.utc).timestamp()),
    ],
)
def test_times_are_dates_or_ages(text: str, seconds: float) -> None:
    """Local time where no zone is given."""
    assert parse_since(text, NOW) == seconds


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01", "5m", "-2d", "0001-01-01T00:00+23:59x", "9" * 30 + "w"]
)
def test_other_times_are_wrong_usage(text: str) -> None:
    """The error says which, and how they are written."""
    with pytest.raises(UsageError) as caught:
        Rules.of(None, None, text, hidden=False)
    assert "36h" in caught.value.hint


def test_hidden_files_only_on_request(tmp_path: Path) -> None:
    """Files and folders with a dot; what macOS puts beside photos is none even then."""
    for name in (".a.jpg", ".folder/b.jpg", "c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "._c.jpg").write_bytes(b"\x00\x05\x16\x07 about c.jpg")
    assert _found(tmp_path, Rules())[0] == ["c.jpg"]
    names, listing = _found(tmp_path, Rules(hidden=True))
    assert names == [".a.jpg", ".folder/b.jpg", "c.jpg"]
    assert listing.ignored == 1


def test_rules_do_not_hold_for_what_is_named(folder: Path) -> None:
    """A file that is named, that a glob names or that a list names is wanted."""
    (folder / "list.txt").write_text(f"{folder}/2026/a.jpg\n")
    rules = Rules(exclude=("*",), since=NOW + 1)
    listing = Listing([f"{folder}/a.jpg", f"{folder}/2025/*"], rules, files_from=f"{folder}/list.txt")
    assert [source.name for source in listing] == [f"{folder}/{name}" for name in ("a.jpg", "2025/a.jpg", "2026/a.jpg")]
