"""Photos in .zip and .tar files: found, read and read again, nothing unpacked to disk."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from client.errors import PhotoError, UsageError
from client.rules import Rules
from client.sources import Listing, Source, read_again
from tests.fake_api import photo

SUFFIXES = ("zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz")
Pack = Callable[[str, dict[str, bytes]], Path]


def image(color: str = "red") -> bytes:
    """The bytes of a photo."""
    buffer = io.BytesIO()
    photo(buffer, color, format="JPEG")
    return buffer.getvalue()


def tar_member(tar: tarfile.TarFile, name: str, data: bytes = b"", **settings: object) -> None:
    """Add one member to a tar file."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for setting, value in settings.items():
        setattr(info, setting, value)
    tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Packs named bytes into an archive of tmp_path; the suffix says which."""

    def packed(name: str, files: dict[str, bytes]) -> Path:
        path = tmp_path / name
        if name.endswith(".zip"):
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for member, data in files.items():
                    archive.writestr(member, data)
            return path
        packing = {"gz": "gz", "tgz": "gz", "bz2": "bz2", "xz": "xz"}.get(name.rpartition(".")[2], "")
        with tarfile.open(path, f"w:{packing}") as tar:  # type: ignore[call-overload]
            for member, data in files.items():
                tar_member(tar, member, data)
        return path

    return packed


def names(sources: list[Source], archive: Path) -> list[str]:
    """What they are called inside the archive."""
    assert all(source.name.startswith(f"{archive}/") for source in sources)
    return [source.name[len(str(archive)) + 1 :] for source in sources]


def why(source: Source) -> str:
    """The code and the reason why it cannot be read."""
    with pytest.raises(PhotoError) as caught:
        source.read()
    assert caught.value.hint
    return f"{caught.value.code}: {caught.value.detail}"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_members_are_photos(pack: Pack, suffix: str) -> None:
    """By suffix or by first bytes, in the archive's order; other files are counted, hidden ones passed over."""
    red, blue = image(), image("blue")
    path = pack(
        f"holiday.{suffix}",
        {
            "sub/b.jpg": red,
            "a": blue,
            "notes.txt": b"hello",
            "c.CR2": b"II*\0",
            "d.mov": b"",
            "__MACOSX/b.jpg": b"\0\5\26\7",
            "sub/._b.jpg": b"\0\5\26\7",
            ".thumbnails/b.jpg": red,
            "empty.jpg": b"",
        },
    )
    listing = Listing([str(path)])
    found = list(listing)
    assert names(found, path) == ["sub/b.jpg", "a", "empty.jpg"]
    assert [source.read() for source in found] == [red, blue, b""]
    assert listing.passed_over() == "1 raw file, 1 video, 1 other file ignored"
    assert [read_again(source.name) for source in reversed(found)] == [b"", blue, red]


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_rules_hold_for_members(pack: Pack, suffix: str) -> None:
    """For their paths in the archive, and for the times noted there."""
    path = pack(f"x.{suffix}", {"a/1.jpg": b"", "b/1.jpg": b"", "b/2.jpg": b"", "b/.3.jpg": b""})
    found = list(Listing([str(path)], Rules(("b/*",), ("2.*",), hidden=True)))
    assert names(found, path) == ["b/1.jpg", "b/.3.jpg"]
    with tarfile.open(path.with_name("times.tar"), "w") as tar:
        tar_member(tar, "old.jpg", mtime=1000)
        tar_member(tar, "new.jpg", mtime=2000)
    with zipfile.ZipFile(path.with_name("times.zip"), "w") as archive:
        archive.writestr(zipfile.ZipInfo("old.jpg", (2026, 1, 1, 0, 0, 0)), b"")
        archive.writestr(zipfile.ZipInfo("new.jpg", (2026, 3, 1, 0, 0, 0)), b"")
        archive.writestr(zipfile.ZipInfo("odd.jpg", (2026, 0, 0, 0, 0, 0)), b"")
    (new,) = Listing([str(path.with_name("times.tar"))], Rules(since=2000))
    assert new.name.endswith("new.jpg")
    since = Rules.of(None, None, "2026-02-01", hidden=False)
    assert [source.name[-7:] for source in Listing([str(path.with_name("times.zip"))], since)] == ["new.jpg"]


def test_archives_are_known_by_their_bytes(pack: Pack) -> None:
    """Whatever they are called; a photo with an archive's name is a photo, and what is only packed is a file."""
    for name in ("a.zip", "b.tar", "c.tar.xz"):
        path = pack(name, {"1.jpg": b""})
        other = path.rename(path.with_name(f"backup-{name[0]}"))
        assert names(list(Listing([str(other)])), other) == ["1.jpg"]
    lie = photo(other.with_name("photo.zip"), format="JPEG")
    packed = other.with_name("notes.gz")
    packed.write_bytes(b"\x1f\x8b\x08\x00 no tar in it")
    assert [source.name for source in Listing([str(lie), str(packed)])] == [str(lie), str(packed)]


def test_archives_in_folders_are_other_files(pack: Pack) -> None:
    """Only those that are named are opened; on a list they are named, too."""
    path = pack("x.zip", {"1.jpg": b""})
    listing = Listing([str(path.parent)])
    assert list(listing) == []
    assert listing.ignored == 1
    (path.parent / "list").write_text(str(path))
    assert len(list(Listing([], files_from=str(path.parent / "list")))) == 1


def test_names_of_any_bytes_stay_inside(pack: Pack, tmp_path: Path) -> None:
    """Undecodable bytes, UTF-8 without its flag, and names that would lead out of the archive's folder."""
    red = image()
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        for name in (os.fsdecode(b"\xff.jpg"), "../../etc/1.jpg", "/2.jpg", "./3.jpg", "a\nb.jpg"):
            tar_member(tar, name, red)
    found = list(Listing([str(tmp_path / "x.tar")]))
    assert names(found, tmp_path / "x.tar") == [os.fsdecode(b"\xff.jpg"), "etc/1.jpg", "2.jpg", "3.jpg", "a\nb.jpg"]
    assert {read_again(source.name) for source in found} == {red}
    path = pack("x.zip", {"sub/XX.jpg": red, "../up.jpg": red, "plain.jpg": red})
    path.write_bytes(path.read_bytes().replace(b"XX.jpg", "é.jpg".encode()))
    found = list(Listing([str(path)]))
    assert names(found, path) == ["sub/é.jpg", "up.jpg", "plain.jpg"]
    assert [read_again(source.name) for source in found] == [red] * 3


def test_a_zip_is_read_by_many_threads(pack: Pack) -> None:
    """Each gets its own bytes, in any order and long after the listing."""
    contents = {f"{number}.jpg": os.urandom(50_000 + number) for number in range(200)}
    sources = list(Listing([str(pack("x.zip", contents))]))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(Source.read, reversed(sources * 3))) == list(reversed(list(contents.values()) * 3))


def test_a_changed_archive_is_read_anew(pack: Pack) -> None:
    """What was kept open is not what counts, but what lies there."""
    for color in ("red", "blue"):
        path = pack("x.zip", {"1.jpg": image(color), color: b""})
        assert read_again(f"{path}/1.jpg") == image(color)
    with pytest.raises(PhotoError, match="no such member"):
        read_again(f"{path}/red")
    path.unlink()
    with pytest.raises(PhotoError):
        read_again(f"{path}/1.jpg")


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_a_tar_is_gone_through_once_for_photos_nearly_in_order(
    pack: Pack, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gallery of 10,000 would else unpack it 10,000 times; from the beginning for one that lies far back."""
    from client import tars

    contents = {f"{number:03}.jpg": os.urandom(1000) for number in range(300)}
    path, opened = pack(f"x.{suffix}", contents), 0
    members = tars._members

    def counted(path: str) -> object:
        nonlocal opened
        opened += 1
        return members(path)

    read_again(f"{path}/000.jpg")
    monkeypatch.setattr(tars, "_members", counted)
    monkeypatch.setattr(tars, "RECENT_BYTES", 50_000)
    order = sorted(contents, key=lambda name: int(name[:3]) ^ 7)
    assert all(read_again(f"{path}/{name}") == contents[name] for name in order)
    assert opened == 0
    assert read_again(f"{path}/005.jpg") == contents["005.jpg"]
    assert opened == 1


def test_what_cannot_be_read_has_its_own_line(tmp_path: Path) -> None:
    """Encrypted, damaged and strangely packed members of a .zip, links in a .tar: the others are read."""
    path, red = tmp_path / "x.zip", image()
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("crc.jpg", "locked.jpg", "odd.jpg", "well.jpg"):
            archive.writestr(name, red)
    data = bytearray(path.read_bytes())
    data[data.index(red) + 100] ^= 1
    for member, offset, value in ((b"locked.jpg", 0, 1), (b"odd.jpg", 2, 9)):
        data[data.index(member) - 30 + 6 + offset] = value  # in its own header
        data[data.rindex(member) - 46 + 8 + offset] = value  # and in the list at the end
    path.write_bytes(data)
    crc, locked, odd, well = Listing([str(path)])
    assert why(crc) == "unreadable: The archive's copy of it is damaged."
    assert why(locked) == "unreadable: It is encrypted in the archive."
    assert why(odd) == "unreadable: It is packed in a way that cannot be read here."
    assert well.read() == red

    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar_member(tar, "1.jpg", red)
        tar_member(tar, "2.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        tar_member(tar, "3.jpg", type=tarfile.LNKTYPE, linkname="1.jpg")
        tar_member(tar, "4.jpg", type=tarfile.FIFOTYPE)
        tar_member(tar, "linked folder", type=tarfile.SYMTYPE, linkname="..")
        tar_member(tar, "5.jpg", red)
    listing = Listing([str(tmp_path / "x.tar")])
    one, two, three, five = listing
    assert one.read() == five.read() == red
    assert [why(source) for source in (two, three)] == ["unreadable: It is a link in the archive."] * 2
    assert listing.ignored == 2


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz", "x.tar.bz2", "x.txz"])
@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04", b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\x00"])
def test_what_cannot_be_opened_is_wrong_usage(tmp_path: Path, name: str, content: bytes) -> None:
    """At once where it is a PATH; on a list it has its own line."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match="no archive that can be opened"):
        Listing([str(tmp_path / name)])
    (tmp_path / "list").write_text(str(tmp_path / name))
    (source,) = Listing([], files_from=str(tmp_path / "list"))
    assert source.name == str(tmp_path / name)
    assert why(source).startswith("unreadable: It is no archive")
