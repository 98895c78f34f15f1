"""`data fetch`: a download that goes on, is proven and unpacked safely; against a real local server."""

from __future__ import annotations

import errno
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import stat
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from training.data import download, layout, unzip
from training.data.cli import app
from training.data.fetch import NOTE, fetch
from training.errors import FetchError

NAMES = [f"dogImages/{split}/{name}/1.jpg" for split in layout.SPLITS for name in ("014.Basenji", "016.Beagle")]


def zipped(*names: str, data: bytes = b"", **options: int) -> bytes:
    """A zip of those files, larger than a few reads."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            for option, value in options.items():
                setattr(info, option, value)
            archive.writestr(info, b"" if info.is_dir() else data or os.urandom(200_000))
    return buffer.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` with a validator and Range, unless it is told to misbehave."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.validator = {"ETag": '"one"'}
        self.ranges = True
        self.breaks: list[int] = []
        """Bytes of each next answer after which the connection is cut."""
        self.statuses: list[int] = []
        """Statuses of the next answers."""
        self.seen: list[str] = []
        """Range of each request, or ""."""
        self.url = f"http://127.0.0.1:{self.server_port}/dogImages.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET as the server is told."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The whole content, or the part that is asked for if it is still the same."""
        server, asked = self.server, self.headers.get("Range", "")
        server.seen.append(asked)
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        same = self.headers.get("If-Range") in server.validator.values()
        offset = int(asked[6:-1]) if asked and same and server.ranges else 0
        body = server.content[offset:]
        self.send_response(206 if offset else 200)
        if offset:
            self.send_header("Content-Range", f"bytes {offset}-{len(server.content) - 1}/{len(server.content)}")
        for name, value in server.validator.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.breaks:
            body = body[: server.breaks.pop(0)]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """No lines between those of the tests."""


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of a zip as dogImages.zip is laid out."""
    with Server(zipped("dogImages/", *NAMES, "__MACOSX/dogImages/._x", "dogImages/.DS_Store")) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the photos are to go."""
    return tmp_path / "new" / "dogs"


def failure(folder: Path, server: Server, sha256: str | None = None) -> str:
    """The message of a fetch that fails, after which no folder is there."""
    with pytest.raises(FetchError) as caught:
        fetch(folder, url=server.url, sha256=sha256)
    assert not folder.exists()
    return str(caught.value)


def beside(folder: Path) -> list[str]:
    """What lies where the folder is to lie."""
    return sorted(path.name for path in folder.parent.iterdir())


def test_fetch(server: Server, folder: Path) -> None:
    """The zip's top folder becomes the folder, ready to load; nothing else stays."""
    steps: list[tuple[str, int, int | None]] = []
    fetched = fetch(folder, url=server.url, progress=lambda *step: steps.append(step))
    assert fetched.sha256 == hashlib.sha256(server.content).hexdigest()
    assert len(list(layout.load(folder))) == 6
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == sorted(
        [NOTE, *(name.removeprefix("dogImages/") for name in NAMES)]
    )
    assert beside(folder) == ["dogs"]
    assert ("downloading", len(server.content), len(server.content)) in steps
    assert steps[-1] == ("unpacking", 1_200_000, 1_200_000)


def test_complete_folder_is_left_alone(server: Server, folder: Path) -> None:
    """A second run asks nobody; one that demands another hash is told."""
    first = fetch(folder, url=server.url)
    second = fetch(folder, url=server.url, sha256=first.sha256.upper())
    assert (first.already, second.already) == (False, True)
    assert first.sha256 == second.sha256
    assert len(server.seen) == 1
    with pytest.raises(FetchError, match="Choose another DIR"):
        fetch(folder, url=server.url, sha256="0" * 64)


def test_folder_of_something_else(server: Server, folder: Path) -> None:
    """A folder with other content is not touched; an empty one is filled."""
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(FetchError, match="Remove it, or choose another"):
        fetch(folder, url=server.url)
    (folder / "mine.txt").unlink()
    assert fetch(folder, url=server.url).already is False


def test_broken_stream_is_gone_on_with(server: Server, folder: Path) -> None:
    """A connection that breaks off is gone on with where it was, and the result is whole."""
    server.breaks = [500_000, 300_000]
    told: list[str] = []
    fetched = fetch(folder, url=server.url, tell=told.append)
    assert fetched.sha256 == hashlib.sha256(server.content).hexdigest()
    offsets = [int(asked[6:-1]) for asked in server.seen[1:]]
    assert server.seen[0] == ""
    assert 400_000 < offsets[0] <= 500_000 < offsets[1] <= 800_000
    assert ["broke off" in text for text in told] == [True, True]


def test_stopped_run_is_gone_on_with(server: Server, folder: Path) -> None:
    """What a killed run has left is used by the next one, down to a zip that was whole already."""

    def stop(step: str, done: int, total: int | None) -> None:
        if step == stopping and done > 300_000:
            raise KeyboardInterrupt

    stopping = "downloading"
    with pytest.raises(KeyboardInterrupt):
        fetch(folder, url=server.url, progress=stop)
    assert beside(folder) == ["dogs.zip.part", "dogs.zip.part.json"]
    stopping = "unpacking"
    with pytest.raises(KeyboardInterrupt):
        fetch(folder, url=server.url, progress=stop)
    assert re.fullmatch(r"bytes=[1-9]\d{5}-", server.seen[1])
    assert beside(folder) == ["dogs.zip.part", "dogs.zip.part.json"]
    fetch(folder, url=server.url)
    assert len(server.seen) == 2
    assert beside(folder) == ["dogs"]


def stopped(folder: Path, server: Server) -> None:
    """Leave a partial file of half the zip behind."""

    def stop(step: str, done: int, total: int | None) -> None:
        if done > 600_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(folder, url=server.url, progress=stop)
    assert (folder.parent / "dogs.zip.part").stat().st_size > 600_000


def test_connection_that_brings_nothing(server: Server, folder: Path) -> None:
    """Going on ends when nothing more comes; what is there is kept and said."""
    server.breaks = [600_000, 0]
    assert re.search(r"0\.[56] MB are kept: run the command again to go on", failure(folder, server))
    fetch(folder, url=server.url)
    assert server.seen[-1].startswith("bytes=")


def test_changed_on_the_server(server: Server, folder: Path) -> None:
    """A file that is another one by now is started over, never glued to the old part."""
    stopped(folder, server)
    server.content, server.validator = zipped(*NAMES), {"ETag": '"two"'}
    told: list[str] = []
    assert fetch(folder, url=server.url, tell=told.append).sha256 == hashlib.sha256(server.content).hexdigest()
    assert "starting over" in told[0]
    assert server.seen[-1].startswith("bytes=")


def test_old_bytes_never_pass_for_new_ones(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start over that fails at once leaves nothing that a later run would glue the new file to."""
    stopped(folder, server)
    server.content, server.validator = zipped(*NAMES), {"ETag": '"two"'}
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 9))
        assert "is full" in failure(folder, server)
    assert fetch(folder, url=server.url).sha256 == hashlib.sha256(server.content).hexdigest()


def test_server_without_range(server: Server, folder: Path) -> None:
    """A server that always answers with the whole is taken at its word."""
    stopped(folder, server)
    server.ranges = False
    assert fetch(folder, url=server.url).sha256 == hashlib.sha256(server.content).hexdigest()


@pytest.mark.parametrize(
    ("validator", "resumed"),
    [
        ({"Last-Modified": "Tue, 01 Jan 2019 00:00:00 GMT", "ETag": 'W/"weak"'}, True),
        ({"ETag": 'W/"weak"'}, False),
        ({}, False),
    ],
)
def test_validators(server: Server, folder: Path, validator: dict[str, str], resumed: bool) -> None:
    """A weak ETag proves nothing: the date does, and without either it is started over."""
    server.validator = validator
    stopped(folder, server)
    fetch(folder, url=server.url)
    assert bool(server.seen[-1]) == resumed


def test_another_address_starts_over(server: Server, folder: Path) -> None:
    """A part belongs to its address."""
    stopped(folder, server)
    fetch(folder, url=server.url + "?other")
    assert server.seen[-1] == ""


def test_part_that_is_too_long(server: Server, folder: Path) -> None:
    """A part that the server cannot go on from is thrown away."""
    stopped(folder, server)
    server.statuses = [416]
    fetch(folder, url=server.url)
    assert server.seen[-1] == ""


def test_busy_server_is_asked_again(server: Server, folder: Path) -> None:
    """503 is retried by the session; 404 is told at once with what to do."""
    server.statuses = [503]
    fetch(folder, url=server.url)
    assert len(server.seen) == 2
    shutil.rmtree(folder)
    server.statuses = [404]
    assert re.search(r"answered 404 Not Found. Give another address by --url or WHIPPET_", failure(folder, server))


def test_unreachable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server and no address end with one line each."""
    monkeypatch.setattr(download, "RETRIES", 0)
    with pytest.raises(FetchError, match=r"cannot be reached .*Check the network"):
        fetch(folder, url="http://127.0.0.1:9/x.zip")
    for url in ("file:///etc/passwd", "dogs.zip", "http://"):
        with pytest.raises(FetchError, match=r"no http or https address.*--url"):
            fetch(folder, url=url)


def test_demanded_hash(server: Server, folder: Path) -> None:
    """A zip of another hash is kept aside, said where, and downloaded anew by the next run."""
    message = failure(folder, server, sha256="ab" * 32)
    assert hashlib.sha256(server.content).hexdigest() in message
    assert f"kept as {folder.parent / 'dogs.zip.bad'}" in message
    assert beside(folder) == ["dogs.zip.bad"]
    fetch(folder, url=server.url, sha256=hashlib.sha256(server.content).hexdigest())
    assert len(server.seen) == 2


def test_no_zip(server: Server, folder: Path) -> None:
    """An error page and a damaged zip are kept aside, and no half folder stays."""
    server.content = b"<html>please sign in</html>"
    assert "no zip" in failure(folder, server)
    damaged = bytearray(zipped(*NAMES))
    damaged[300_000] ^= 1
    server.content = bytes(damaged)
    assert "CRC" in failure(folder, server)
    assert beside(folder) == ["dogs.zip.bad"]


@pytest.mark.parametrize(
    "name",
    [
        "../evil.jpg",
        "a/../../evil.jpg",
        "/tmp/evil.jpg",
        "C:/evil.jpg",
        "a\\..\\..\\evil.jpg",
        ".hidden/../../evil.jpg",
    ],
)
def test_zip_that_leads_outside(server: Server, folder: Path, name: str) -> None:
    """Absolute names and .. are refused as a whole, before anything is written."""
    archive = zipped("a/1.jpg", "b" * len(name))
    server.content = archive.replace(b"b" * len(name), name.encode())
    assert "write outside its folder" in failure(folder, server)
    assert beside(folder) == ["dogs.zip.bad"]


def test_zip_with_links(server: Server, folder: Path) -> None:
    """A link could lead the next file anywhere."""
    server.content = zipped("a/link", data=b"/etc", external_attr=(stat.S_IFLNK | 0o777) << 16)
    assert "holds a link: a/link" in failure(folder, server)


def test_bomb(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zip that unpacks to more than the limit is refused by what it declares."""
    monkeypatch.setattr(unzip, "MAX_BYTES", 1_199_999)
    assert "refused" in failure(folder, server)
    monkeypatch.setattr(unzip, "MAX_BYTES", 1_200_000)
    fetch(folder, url=server.url)


def test_zip_with_a_password(server: Server, folder: Path) -> None:
    """What cannot be read is said in words."""
    content = bytearray(zipped("a/1.jpg"))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.rindex(signature) + flags] |= 1
    server.content = bytes(content)
    assert "password" in failure(folder, server)


def test_full_disk_is_foreseen(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little room is told before the download and before unpacking, and keeps what is there."""

    def free(size: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, size))

    free(len(server.content) - 1)
    assert re.search(r"is full.* 1\.6 MB are needed, 1\.6 MB are free", failure(folder, server))
    server.content = zipped(*NAMES, data=bytes(200_000), compress_type=zipfile.ZIP_DEFLATED)
    free(1_199_999)
    assert re.search(r"is full.* 1\.2 MB are needed", failure(folder, server))
    assert beside(folder) == ["dogs.zip.part", "dogs.zip.part.json"]
    free(1_200_000)
    fetch(folder, url=server.url)
    assert len(server.seen) == 2


def test_full_disk(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while unpacking is told, the download stays for the next run."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        assert "is full. Free some space and run the command again" in failure(folder, server)
    assert beside(folder) == ["dogs.zip.part", "dogs.zip.part.json"]
    fetch(folder, url=server.url)
    assert len(server.seen) == 1


def test_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    """A file where a folder would have to be is told."""
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(FetchError, match="cannot be written"):
        fetch(tmp_path / "file" / "dogs", url=server.url)


def test_top_folder_of_a_split_stays(server: Server, folder: Path) -> None:
    """A zip with nothing but train/ keeps it."""
    server.content = zipped("train/a/1.jpg", "train/b/1.jpg")
    fetch(folder, url=server.url)
    assert (folder / "train/a/1.jpg").is_file()


def test_command(server: Server, folder: Path) -> None:
    """The variable names the address; the end tells the hash and the next commands, ready to paste."""
    spaced = folder.with_name("my dogs")
    result = CliRunner().invoke(app, ["fetch", "dogImages", str(spaced)], env={"WHIPPET_DOGIMAGES_URL": server.url})
    assert result.exit_code == 0, result.output
    assert hashlib.sha256(server.content).hexdigest() in result.stdout
    assert f"  python -m training data check '{spaced}'\n" in result.stdout
    assert result.stderr == ""
    again = CliRunner().invoke(app, ["fetch", "dogImages", str(spaced), "--url", server.url])
    assert "complete already" in again.stdout
    assert json.loads((spaced / NOTE).read_text("utf-8"))["url"] == server.url


def test_only_known_sets() -> None:
    """A name that is not known is refused with those that are."""
    result = CliRunner().invoke(app, ["fetch", "catImages", "x"])
    assert result.exit_code == 2
    assert "dogImages" in result.output
