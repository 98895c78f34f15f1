"""The programs of examples/ run as they stand there, and print what they promise."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests

from local_stack.stack import Description
from tests.conftest import ROOT
from tests.fake_api import FakeApi, named_api, photo
from tests.photos import jpeg, sample, save

EXAMPLES = ROOT / "examples"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeApi]:
    """A running stand-in, which the programs find by the environment."""
    with named_api(monkeypatch, tmp_path) as running:
        yield running


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two red photos, a blue one, and one that is torn."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, color, size in (("a.png", "red", 40), ("b.png", "red", 50), ("c.png", "blue", 40)):
        photo(folder / name, color, (size, 30))
    save(folder, "torn.jpg", jpeg()[:200])
    return folder


def _example(name: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _run(name: str, *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    with _example(name, *arguments) as process:
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_each_is_short_and_tested() -> None:
    """An example of more than a page teaches nothing; one that no test runs is wrong some day."""
    tests = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 45, path.name
        assert f'"{path.name}"' in tests, path.name


@pytest.mark.stack
def test_one_photo(stack: Description, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the one-machine stack: three labels with their scores."""
    monkeypatch.setenv("WHIPPET_URL", stack.url)
    monkeypatch.setenv("WHIPPET_API_KEY", stack.api_key)
    code, out, _ = _run("one_photo.py", save(tmp_path, "chelsea.png", sample("chelsea.png")))
    assert code == 0
    assert re.fullmatch(r"0\.\d\d  tiger cat\n0\.\d\d  .+\n0\.\d\d  .+\n(the model is not certain: unsure\n)?", out), (
        out
    )


def test_one_photo_that_is_none(api: FakeApi, tmp_path: Path) -> None:
    """The fact and the mend in one line, and no traceback."""
    code, out, err = _run("one_photo.py", tmp_path / "missing.jpg")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"error: The file cannot be read: .+\n", err)


def test_a_folder(api: FakeApi, photos: Path) -> None:
    """Counts on stdout, failures on stderr, and an exit code that tells of them."""
    code, out, err = _run("classify_folder.py", photos)
    assert (code, out) == (1, "    2  red\n    1  blue\n")
    assert err.startswith(f"{photos / 'torn.jpg'}: ") and len(err.splitlines()) == 1


def test_a_folder_in_asyncio(api: FakeApi, photos: Path) -> None:
    """A line a photo and the sum; nothing is left running, and nothing warns."""
    code, out, err = _run("async_folder.py", photos)
    *lines, total = out.splitlines()
    assert (code, total, len(lines)) == (0, "3 labelled, 1 failed", 4), err
    assert f"{photos / 'c.png'}: blue" in lines
    assert "Warning" not in err


def test_sorted_by_label(api: FakeApi, photos: Path, tmp_path: Path) -> None:
    """Copies by label, those of failures not."""
    code, out, err = _run("sort_by_label.py", photos, tmp_path / "sorted", 0.8)
    assert code == 0, err
    assert "3 copied" in out
    copies = {str(path.relative_to(tmp_path / "sorted")) for path in (tmp_path / "sorted").rglob("*.png")}
    assert copies == {"red/a.png", "red/b.png", "blue/c.png"}
    assert len(list(photos.iterdir())) == 4


def test_a_watched_folder(api: FakeApi, tmp_path: Path) -> None:
    """What is there, then what comes, until Ctrl-C."""
    os.utime(photo(tmp_path / "a.png", "blue"), (1e9, 1e9))
    with _example("watch_folder.py", tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{tmp_path / 'a.png'}: blue\n"
        photo(tmp_path / "b.png", "red")
        assert process.stdout.readline() == f"{tmp_path / 'b.png'}: red\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_a_server_of_one_s_own(api: FakeApi, photos: Path) -> None:
    """It answers with labels, or with what the client says of the photo, and ends in order."""
    with _example("web_upload.py", 0) as process:
        assert process.stderr is not None
        url = next(found[0] for line in process.stderr if (found := re.search(r"http://\S+", line)))
        good = requests.post(url, data=(photos / "c.png").read_bytes(), timeout=60)
        torn = requests.post(url, data=b"\xff\xd8\xff", timeout=60)
        large = _announced(url, 21_000_000)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert (good.status_code, good.json()["predictions"][0]["label"]) == (200, "blue")
    assert (torn.status_code, torn.json()["code"]) == (400, "bad_image")
    assert large == 413


def _announced(url: str, size: int) -> int:
    """The status for a body that is only announced."""
    with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)) as connection:
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        return connection.getresponse().status
