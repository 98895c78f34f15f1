"""Which files a PATH stands for."""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import sys
import tarfile
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from client import reading
from client.errors import PhotoError, UsageError
from client.reading import gathered
from client.sources import Listing, Source, read_again
from tests.fake_api import photo
from tests.servers import serving


def _names(*paths: object, stdin: bytes = b"") -> list[str]:
    return [source.name for source in Listing([str(p) for p in paths], stdin=io.BytesIO(stdin))]


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes there")
def test_a_pipe_is_no_photo_whatever_its_name(tmp_path: Path) -> None:
    """Nor is a link to one: reading it would wait for ever."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("pipe.jpg")
    listing = Listing([str(tmp_path)])
    assert list(listing) == []
    assert listing.ignored == 2


def test_folders_can_be_deeper_than_calls(tmp_path: Path) -> None:
    """A thousand folders in each other are walked like any."""
    deep = str(tmp_path)
    folders = [deep := f"{deep}/d" for _ in range(1200)]
    for folder in folders:
        os.mkdir(folder)
    Path(deep, "x.jpg").touch()
    try:
        assert _names(tmp_path) == [f"{deep}/x.jpg"]
    finally:
        os.remove(f"{deep}/x.jpg")
        for folder in reversed(folders):
            os.rmdir(folder)


STARTS = {
    "a.cr2": b"II*\x00\x10\x00\x00\x00CR\x02\x00",
    "b.nef": b"MM\x00*\x00\x00\x00\x08",
    "c.dng": b"II*\x00\x08\x00\x00\x00",
    "d.orf": b"IIRO\x08\x00\x00\x00",
    "e": b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom",
    "f.mov": b"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00qt  ",
    "g": b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42",
    "h.MTS": b"\x00\x00\x00\x00G@",
    "i.avi": b"RIFF\x00\x00\x00\x00AVI LIST",
    "j.m4a": b"\x00\x00\x00\x18ftypM4A \x00\x00\x02\x00M4A mp42",
    "k.zip": b"PK\x03\x04",
}
"""How raw files, videos, a sound and an archive begin."""


def test_raw_files_and_videos_are_counted_by_kind(tmp_path: Path) -> None:
    """In folders they are passed over, though some begin like photos; a photo with their suffix is still one."""
    for name, start in STARTS.items():
        (tmp_path / name).write_bytes(start)
    photo(tmp_path / "x.nef", format="JPEG")
    photo(tmp_path / "y.mp4", format="PNG")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "linked").symlink_to("sub")
    listing = Listing([str(tmp_path)])
    assert [Path(source.name).name for source in listing] == ["empty.jpg", "x.nef", "y.mp4"]
    assert (listing.raw, listing.videos, listing.ignored, listing.links) == (5, 4, 2, 1)
    assert listing.passed_over() == "5 raw files, 4 videos, 2 other files ignored, 1 linked folder not followed"


@pytest.mark.parametrize(("name", "mend"), [("a.cr2", "as JPEG"), ("c.dng", "as JPEG"), ("f.mov", "a frame")])
def test_a_named_raw_file_says_what_to_do(tmp_path: Path, name: str, mend: str) -> None:
    """Its line has the code of a file that is no photo, and what to do instead; nothing is sent."""
    (tmp_path / name).write_bytes(STARTS[name])
    (source,) = Listing([str(tmp_path / name)])
    with pytest.raises(PhotoError) as caught:
        source.read()
    assert caught.value.code == source.code == "unsupported_media_type"
    assert mend in caught.value.hint


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
    lines = os.fsencode(tmp_path / "a b.jpg") + b"\r\n\n/no/such\xff.jpg \nhttps://example.org/x.jpg\n"
    assert _names("-", stdin=lines) == [
        str(tmp_path / "a b.jpg"),
        os.fsdecode(b"/no/such\xff.jpg "),
        "https://example.org/x.jpg",
    ]


def test_names_with_nuls_between_them(tmp_path: Path) -> None:
    """What `find -print0` writes: names may hold line ends, and the last NUL may lack."""
    names = [b"/no/a\nb.jpg", b"/no/c\r", b"/no/" + b"d" * 100_000]
    assert _names("-", stdin=b"\0".join(names)) == list(map(os.fsdecode, names))
    (tmp_path / "list").write_bytes(b"\0".join(names) + b"\0")
    found = Listing([], files_from=str(tmp_path / "list"))
    assert [source.name for source in found] == list(map(os.fsdecode, names))


def test_names_from_a_file_come_after_the_paths(tmp_path: Path) -> None:
    """Folders in it are walked; a photo named twice is one."""
    photo(tmp_path / "a.jpg")
    (tmp_path / "sub").mkdir()
    photo(tmp_path / "sub" / "b.jpg")
    (tmp_path / "list.txt").write_text(f"{tmp_path}/sub\n{tmp_path}/a.jpg\n")
    listing = Listing([str(tmp_path / "a.jpg")], files_from=str(tmp_path / "list.txt"))
    assert [Path(source.name).name for source in listing] == ["a.jpg", "b.jpg"]
    assert listing.named == f"{tmp_path}/a.jpg, {tmp_path}/list.txt"
    with pytest.raises(UsageError, match="There is no file"):
        Listing([], files_from=str(tmp_path / "missing.txt"))
    with pytest.raises(UsageError, match="cannot be read"):
        list(Listing([], files_from=str(tmp_path)))


@pytest.mark.parametrize("address", ["ftp://me:secret@host/photos/", "gs://bucket/*.jpg", "file:///photos/1.jpg"])
def test_addresses_that_are_not_read(address: str) -> None:
    """Which are is said; a password in it is not."""
    with pytest.raises(UsageError, match=f"{address.partition('//')[0]}// are not read") as caught:
        Listing([address])
    assert "s3" in str(caught.value) and "secret" not in str(caught.value)


def test_names_come_as_they_are_written() -> None:
    """The first is there before the last is written: a pipe may stay open for hours."""
    reading, writing = os.pipe()
    with open(reading, "rb") as stream, open(writing, "wb", buffering=0) as pipe:
        pipe.write(b"/no/a.jpg\n/no/b")
        sources = iter(Listing(["-"], stdin=stream))
        assert next(sources).name == "/no/a.jpg"
        pipe.write(b".jpg\n")
        assert next(sources).name == "/no/b.jpg"


def test_what_can_be_had_once_says_so(tmp_path: Path) -> None:
    """Names on stdin or out of a pipe are gone once they are read."""
    (tmp_path / "list.txt").touch()
    assert Listing(["-"]).once
    assert Listing([], files_from="-").once
    assert not Listing([str(tmp_path)], files_from=str(tmp_path / "list.txt")).once
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert Listing([], files_from=str(tmp_path / "pipe")).once


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


def test_sources_are_found_as_they_are_asked_for(tmp_path: Path) -> None:
    """A folder that is not reached yet is not read yet, and a hundred thousand sources are small."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.jpg").touch()
    sources = iter(Listing([str(tmp_path)]))
    next(sources)
    (tmp_path / "b" / "2.jpg").touch()
    assert len(list(sources)) == 2
    tracemalloc.start()
    try:
        held = [Source(f"/home/me/photos/2026/holidays/IMG_{number:06}.jpg") for number in range(10_000)]
        assert tracemalloc.get_traced_memory()[0] / len(held) < 400
    finally:
        tracemalloc.stop()


def test_a_photo_is_read_again_by_its_name(tmp_path: Path) -> None:
    """A path, of any bytes; one that is gone is a photo that cannot be read."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")
    photo(path, format="JPEG")
    assert read_again(path) == Path(path).read_bytes()
    for gone in (f"{tmp_path}/gone.jpg", f"{path}/member.jpg", "nul\0.jpg"):
        with pytest.raises(PhotoError) as caught:
            read_again(gone)
        assert caught.value.code == "unreadable"


def test_too_many_bytes_end_a_download_at_once() -> None:
    """A server, or an archive, can send without end."""
    endless = itertools.repeat(b"0123456789")
    with pytest.raises(PhotoError, match="larger than") as caught:
        gathered(endless, 1_000_000)
    assert caught.value.code == "too_large"
    assert gathered([b"ab", b"c"], 3) == b"abc"


def test_what_can_be_counted_beforehand(tmp_path: Path) -> None:
    """A second listing, for the time left, is made of folders, files and zips, not of what must be unpacked."""
    photo(tmp_path / "a.jpg")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "a.jpg", "a.jpg")
    assert Listing([str(tmp_path), str(tmp_path / "a.jpg"), "https://example.org/a.jpg"]).cheap
    assert not Listing([str(tmp_path / "a.tar.gz")]).cheap
    assert not Listing(["-"]).cheap


def test_a_drip_does_not_outlast_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then is no reason to wait until a block of them is there."""
    monkeypatch.setattr(reading, "FETCH_SECONDS", 0.5)

    async def drip(_: Request) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"x"
                await asyncio.sleep(0.1)

        return StreamingResponse(body(), headers={"Content-Length": "100"})

    started = time.monotonic()
    with serving(Starlette(routes=[Route("/", drip)])) as url:
        with pytest.raises(PhotoError, match="took more than"):
            reading.read(f"{url}/")
        assert time.monotonic() - started < 3


def test_a_file_takes_no_more_memory_than_it_has(tmp_path: Path) -> None:
    """A buffer for the largest file that may be would be gone where memory is limited."""
    (tmp_path / "small.jpg").write_bytes(b"x" * 1000)
    reading.read(tmp_path / "small.jpg")
    tracemalloc.start()
    try:
        reading.read(tmp_path / "small.jpg")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
