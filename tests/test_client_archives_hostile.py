"""Archives that are cut off, damaged or made to do harm: a line each, never a crash, never more memory than a photo."""

from __future__ import annotations

import gzip
import os
import random
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client import reading
from client.errors import PhotoError, UsageError
from client.sources import Listing, Source
from tests.test_client_archives import Pack, image, pack, tar_member, why

__all__ = ["pack"]

BOMB = reading.MAX_FILE_BYTES + 50_000_000
RED = image()
BROKEN = "unreadable: The archive is cut off or damaged: photos of it are missing or broken."


@pytest.fixture
def peak() -> Iterator[Callable[[], float]]:
    """Gives the most memory, in MB, that Python's objects took since the last time."""

    def megabytes() -> float:
        found = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.reset_peak()
        return found

    tracemalloc.start()
    try:
        yield megabytes
    finally:
        tracemalloc.stop()


def listed(path: Path) -> list[str | bytes]:
    """What every source comes to, bytes or the reason why not; nothing for what cannot be opened."""
    try:
        return [outcome(source) for source in Listing([str(path)])]
    except UsageError:
        return []


def member(name: str) -> bytes:
    """A photo as it lies in a tar file."""
    header = tarfile.TarInfo(name)
    header.size = len(RED)
    return header.tobuf() + RED + bytes(-len(RED) % 512)


def outcome(source: Source) -> str | bytes:
    """The bytes, or the reason."""
    try:
        return source.read()
    except PhotoError as error:
        return f"{error.code}: {error.detail}"


def test_a_zip_bomb_is_refused_unread(tmp_path: Path, peak: Callable[[], float]) -> None:
    """One that says how large it is, and one that says it is small: the other members are read."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in ("honest.jpg", "lies.jpg"):
            with archive.open(name, "w") as member:
                for _ in range(BOMB // 1_000_000):
                    member.write(bytes(1_000_000))
        archive.writestr("well.jpg", RED)
    data = path.read_bytes()
    start = data.rindex(b"lies.jpg") - 46  # its place in the list, which is what counts
    path.write_bytes(data[: start + 24] + (1000).to_bytes(4, "little") + data[start + 28 :])
    del data
    peak()
    honest, lies, well = Listing([str(path)])
    assert why(honest) == "too_large: The file is larger than 200 MB."
    assert why(lies) == "unreadable: The archive's copy of it is damaged."
    assert well.read() == RED
    assert peak() < 3


def test_a_tar_bomb_is_refused_unread(tmp_path: Path, peak: Callable[[], float]) -> None:
    """What follows it is still read."""
    header = tarfile.TarInfo("bomb.jpg")
    header.size = BOMB // 512_000 * 512_000
    with gzip.open(tmp_path / "x.tgz", "wb", 1) as stream:
        stream.write(header.tobuf())
        for _ in range(header.size // 512_000):
            stream.write(bytes(512_000))
        stream.write(member("well.jpg") + bytes(10_240))
    peak()
    bomb, well = Listing([str(tmp_path / "x.tgz")])
    assert why(bomb) == "too_large: The file is larger than 200 MB."
    assert well.read() == RED
    assert peak() < 3


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
@pytest.mark.parametrize("size", [102_400_000, -512, -(2**40)])
def test_a_header_cannot_ask_for_much(tmp_path: Path, peak: Callable[[], float], kind: bytes, size: int) -> None:
    """Names of a hundred megabytes, and of less than nothing, which would be read for ever."""
    header = tarfile.TarInfo("name")
    header.type, header.size = kind, size
    with gzip.open(tmp_path / "x.tgz", "wb", 1) as stream:
        stream.write(member("1.jpg") + header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(max(size, 0) // 512_000):
            stream.write(bytes(512_000))
        stream.write(member("2.jpg") + bytes(10_240))
    peak()
    assert listed(tmp_path / "x.tgz") == [RED, BROKEN]
    assert peak() < 3


def test_a_member_of_less_than_nothing_ends_the_archive(tmp_path: Path) -> None:
    """Else the same header would come again and again."""
    header = tarfile.TarInfo("1.jpg")
    header.size = -1024
    (tmp_path / "x.tar").write_bytes(member("0.jpg") + header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    assert listed(tmp_path / "x.tar") == [RED, BROKEN]


def test_holes_are_not_followed(tmp_path: Path) -> None:
    """A map of holes can say anything: a sparse photo is told as such, and the next is read."""
    version = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "1.jpg"}
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        holes = f"1\n0\n{len(RED)}\n".encode().ljust(512, b"\0")
        tar_member(tar, "x", holes + RED, pax_headers={**version, "GNU.sparse.realsize": str(10**12)})
        tar_member(tar, "2.jpg", RED)
    assert listed(tmp_path / "x.tar") == ["unreadable: It is packed in a way that cannot be read here.", RED]


def test_a_tar_with_rubbish_in_it_does_not_end_well(pack: Pack) -> None:
    """tarfile takes what is no header for the end, and a run would miss the rest without a word."""
    path = pack("x.tar", {"1.jpg": RED, "2.jpg": RED})
    data = path.read_bytes()
    second = data.index(b"2.jpg")
    path.write_bytes(data[:second] + b"rubbish " * 64 + data[second + 512 :])
    assert listed(path) == [RED, BROKEN]


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz"])
def test_a_cut_archive_is_read_up_to_the_cut(pack: Pack, name: str) -> None:
    """Wherever the cut is, what is given is right, and something says that the archive is not whole."""
    contents = [os.urandom(700 + 200 * number) for number in range(6)]
    path = pack(name, {f"{number}.jpg": content for number, content in enumerate(contents)})
    whole = path.read_bytes()
    end = len(whole) if name != "x.tar" else sum(512 + -(-len(content) // 512) * 512 for content in contents)
    for cut in range(1, end, 97):
        path.write_bytes(whole[:cut])
        found = listed(path)
        assert found[:-1] == contents[: len(found[:-1])]
        if found and (name != "x.tar" or cut % 512):  # a .tar may end between two members
            assert found[-1] == BROKEN


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz"])
def test_damage_anywhere_is_a_line_and_no_crash(pack: Pack, name: str) -> None:
    """Three bytes changed, three hundred times."""
    contents = [RED + bytes(number) for number in range(5)]
    path = pack(name, {f"{number}.jpg": content for number, content in enumerate(contents)})
    whole, chance = path.read_bytes(), random.Random(7)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(3):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
        found = listed(path)
        assert len(found) <= 6
        if name == "x.zip":  # which has a checksum for each
            assert {result for result in found if isinstance(result, bytes)} <= set(contents)


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_memory_holds_one_photo(pack: Pack, name: str, peak: Callable[[], float]) -> None:
    """Large ones come without a second copy, and those of a .tar are gone with their source."""
    path = pack(name, {f"{number}.jpg": bytes([number]) * 20_000_000 for number in range(4)})
    peak()
    for source in Listing([str(path)]):
        assert len(source.read()) == 20_000_000
    assert peak() < 30 if name == "x.zip" else peak() < 50


def test_a_tar_does_not_keep_its_headers(tmp_path: Path, peak: Callable[[], float]) -> None:
    """Flat, however many members there are: tarfile would keep 5 MB here."""
    path = tmp_path / "x.tar"
    path.write_bytes(b"".join(member(f"{number}.jpg") for number in range(5_000)))
    peak()
    assert sum(1 for _ in Listing([str(path)])) == 5_000
    assert peak() < 2
