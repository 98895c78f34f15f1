"""Which files a PATH stands for."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from client.errors import UsageError
from client.sources import Listing
from tests.fake_api import photo


def _names(*paths: object, stdin: bytes = b"") -> list[str]:
    return [source.name for source in Listing([str(p) for p in paths], io.BytesIO(stdin))]


def test_folders_are_walked_in_order(tmp_path: Path) -> None:
    """Folders are recursive and sorted; photos are known by suffix in any case, or by their first bytes."""
    for name in ("b.JPG", "a.png", "sub/c.tif", "sub/deep/d.heic"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    photo(tmp_path / "no-suffix", format="JPEG")
    found = [os.path.relpath(name, tmp_path) for name in _names(tmp_path)]
    assert found == ["a.png", "b.JPG", "no-suffix", "sub/c.tif", "sub/deep/d.heic"]


def test_other_files_are_counted_and_hidden_ones_skipped(tmp_path: Path) -> None:
    """What is no photo is counted, never silently dropped; hidden files and folders are not looked at."""
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / ".hidden.jpg").touch()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.jpg").touch()
    (tmp_path / "x.jpg").touch()
    listing = Listing([str(tmp_path)])
    assert [Path(s.name).name for s in listing] == ["x.jpg"]
    assert listing.ignored == 1


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need rights there")
def test_links(tmp_path: Path) -> None:
    """A linked file is a photo, a linked folder is counted and not followed: loops do no harm."""
    photo(tmp_path / "a.jpg")
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    listing = Listing([str(tmp_path)])
    assert [Path(s.name).name for s in listing] == ["a.jpg", "broken.jpg", "link.jpg"]
    assert listing.links == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes there")
def test_a_pipe_in_a_folder_is_not_opened(tmp_path: Path) -> None:
    """A named pipe in a folder is ignored instead of waited for."""
    os.mkfifo(tmp_path / "pipe")
    assert _names(tmp_path) == []


def test_a_named_file_is_always_tried(tmp_path: Path) -> None:
    """A file named by the user is a source whatever its suffix and content."""
    (tmp_path / "notes.txt").write_text("hello")
    assert _names(tmp_path / "notes.txt") == [str(tmp_path / "notes.txt")]


def test_globs_are_expanded_here(tmp_path: Path) -> None:
    """A pattern the shell left alone is expanded, `**` included; a file of that very name wins."""
    for name in ("a1.jpg", "a2.jpg", "sub/a3.jpg", "[x].jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [Path(n).name for n in _names(tmp_path / "a*.jpg")] == ["a1.jpg", "a2.jpg"]
    assert [Path(n).name for n in _names(tmp_path / "**" / "a*.jpg")] == ["a1.jpg", "a2.jpg", "a3.jpg"]
    assert [Path(n).name for n in _names(tmp_path / "[x].jpg")] == ["[x].jpg"]


def test_one_photo_named_twice_is_one(tmp_path: Path) -> None:
    """The same file by two spellings, or by name and by its folder, gives one line."""
    photo(tmp_path / "a.jpg")
    again = f"{tmp_path}/../{tmp_path.name}/a.jpg"
    assert _names(tmp_path / "a.jpg", again, tmp_path) == [str(tmp_path / "a.jpg")]


def test_names_on_stdin(tmp_path: Path) -> None:
    """`-` reads one name a line, of any bytes; missing ones are for their own result line to tell."""
    photo(tmp_path / "a b.jpg")
    lines = os.fsencode(tmp_path / "a b.jpg") + b"\r\n\n/no/such\xff.jpg\nhttps://example.org/x.jpg\n"
    assert _names("-", stdin=lines) == [
        str(tmp_path / "a b.jpg"),
        os.fsdecode(b"/no/such\xff.jpg"),
        "https://example.org/x.jpg",
    ]


@pytest.mark.parametrize("missing", ["missing.jpg", "miss*.jpg", "folder/missing"])
def test_missing_paths_are_named_at_once(missing: str) -> None:
    """A PATH that is not there is an error before anything is listed, and says which."""
    with pytest.raises(UsageError) as caught:
        Listing([missing])
    assert missing in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_locked_folder_is_a_failure(tmp_path: Path) -> None:
    """A folder that cannot be read gives a source with a problem, so that the run does not end well."""
    (tmp_path / "locked").mkdir(mode=0)
    assert [bool(s.problem) for s in Listing([str(tmp_path)])] == [True]
