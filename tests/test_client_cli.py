"""The command line as a user meets it: exit codes, lines, messages."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from client import Client
from client.cli import app
from lambda_api.errors import ApiError
from tests.fake_api import KEY, FakeApi, Fault, fake_api, html, named_api, photo, quick_waits, refusal, three_photos

ROOT = Path(__file__).parents[1]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """A running stand-in that the environment names, and short waits."""
    quick_waits(monkeypatch)
    with named_api(monkeypatch, tmp_path) as running:
        yield running


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three good photos and a note."""
    return three_photos(tmp_path / "photos")


def _run(*args: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args], input=stdin)


def _lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_all_classified(api: FakeApi, photos: Path) -> None:
    """Exit 0, one JSON line a photo on stdout when that is no terminal, the summary on stderr."""
    result = _run("classify", photos)
    assert result.exit_code == 0
    assert {Path(x["path"]).name: x["predictions"][0]["label"] for x in _lines(result)} == {
        "r.jpg": "red",
        "g.png": "green",
        "b.webp": "blue",
    }
    assert result.stderr.startswith("3 photos: 3 classified, 0 failed, 1 other file ignored, ")


def test_some_failed(api: FakeApi, photos: Path) -> None:
    """Exit 1 if any photo failed; each still has exactly one line, with code, detail and hint."""
    (photos / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    (photos / "empty.jpg").touch()
    (photos / "film.jpg").write_bytes(b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 40)
    result = _run("classify", photos)
    assert result.exit_code == 1
    lines = _lines(result)
    assert len(lines) == len({x["path"] for x in lines}) == 6
    codes = {Path(x["path"]).name: x["error"]["code"] for x in lines if x["status"] == "error"}
    assert codes == {"torn.jpg": "bad_image", "empty.jpg": "bad_image", "film.jpg": "unsupported_media_type"}
    assert all(x["error"]["hint"] and x["error"]["detail"] for x in lines if x["error"])


def test_the_api_says_no_to_one(api: FakeApi, photos: Path) -> None:
    """A refusal of one photo is that photo's failure."""
    with Client() as client:
        sent = client._prepared((photos / "r.jpg").read_bytes(), client.model()).body
    api.bad_items[hashlib.sha256(sent).digest()] = ApiError("too_large", "It is too large.", "Crop it.")
    result = _run("classify", photos)
    assert result.exit_code == 1
    assert sorted(x["error"]["code"] if x["error"] else "" for x in _lines(result)) == ["", "", "too_large"]


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["missing.jpg"], "missing.jpg"),
        (["{photos}/*.heic"], "heic"),
        (["{photos}/notes"], "notes"),
        (["{empty}"], "empty"),
        (["{photos}", "--top-k", "0"], "top-k"),
        (["{photos}", "--top-k", "5000"], "1000"),
        (["{photos}", "--concurrency", "0"], "concurrency"),
        (["{photos}", "--format", "xml"], "xml"),
        (["{photos}", "--model", "m.tar.gz"], "--local"),
        (["{photos}", "--local", "--url", "http://x"], "--url"),
        (["{photos}", "--local", "--model", "missing.tar.gz"], "missing.tar.gz"),
        (["{photos}", "-o", "{photos}/notes.txt"], "--force"),
        (["{photos}", "-o", "{photos}/no/such.jsonl"], "such"),
        (["{photos}", "--profile", "nobody"], "nobody"),
        (["{photos}", "--url", "example.org"], "https://"),
        ([], "PATH"),
    ],
)
def test_usage(api: FakeApi, photos: Path, tmp_path: Path, args: list[str], named: str) -> None:
    """Exit 2 for wrong usage, naming it, before any photo is sent."""
    (tmp_path / "empty").mkdir()
    result = _run("classify", *(a.format(photos=photos, empty=tmp_path / "empty") for a in args))
    assert result.exit_code == 2
    assert named in result.stderr.replace("\n", "")
    assert not api.posts
    assert not result.stdout


@pytest.mark.parametrize("fault", [refusal("forbidden"), refusal("endpoint_unavailable"), html(500), html(200)])
def test_no_api(api: FakeApi, photos: Path, fault: Fault) -> None:
    """Exit 3 with one line if the API does not answer as it should before the first photo."""
    api.on_get = fault
    result = _run("classify", photos, "-o", photos / "new.jsonl")
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert not (photos / "new.jsonl").exists()
    assert KEY not in result.output


def test_nothing_listens(api: FakeApi, photos: Path) -> None:
    """Exit 3 where nothing listens at all, and where nothing is configured, with what to type."""
    api.close()
    result = _run("classify", photos)
    assert result.exit_code == 3
    assert "local_stack up" in result.stderr
    result = CliRunner(env={"WHIPPET_URL": None, "WHIPPET_API_KEY": None}).invoke(app, ["classify", str(photos)])
    assert result.exit_code == 3
    assert "python -m local_stack up" in result.stderr


def test_a_dead_api_mid_run(api: FakeApi, photos: Path, tmp_path: Path) -> None:
    """When the API dies for good the run stops with exit 3, and the same command goes on later."""
    for number in range(200):
        photo(photos / f"{number}.jpg", size=(40 + number, 30))
    api.dies_after = 3
    file = tmp_path / "out.jsonl"
    result = _run("classify", photos, "-o", file, "--patience", "0.2")
    assert result.exit_code == 3
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert 0 < len(lines) < 203
    assert {line["status"] for line in lines} == {"ok"}
    assert "cannot be reached" in result.stderr
    assert "The same command goes on from here" in result.stderr
    with fake_api() as again:
        result = _run("classify", photos, "-o", file, "--url", again.url, "--api-key", KEY)
        assert result.exit_code == 0
        assert sum(max(1, post.body.count(b"filename=")) for post in again.posts) == 203 - len(lines)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({line["path"] for line in lines}) == len(lines) == 203


def test_output_files(api: FakeApi, photos: Path, tmp_path: Path) -> None:
    """-o writes by suffix, leaves stdout alone, and overwrites only with --force."""
    file = tmp_path / "out.csv"
    result = _run("classify", photos, "-o", file, "--top-k", "2", "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3
    assert "label_2" in rows[0]
    assert "label_3" not in rows[0]
    assert _run("classify", photos, "-o", file).exit_code == 2
    assert _run("classify", photos / "r.jpg", "-o", file, "--force", "--format", "jsonl").exit_code == 0
    assert len(file.read_text().splitlines()) == 1


def test_table_without_a_terminal(api: FakeApi, photos: Path) -> None:
    """--format table works in a pipe too, in plain text."""
    result = _run("classify", photos, "--format", "table")
    assert result.exit_code == 0
    assert "decision" in result.stdout
    assert "\x1b" not in result.output
    assert len([line for line in result.stdout.splitlines() if line.strip()]) == 4


def test_names_of_any_kind(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spaces, a leading dash, HTML and undecodable bytes in names: all are classified under their names."""
    monkeypatch.chdir(tmp_path)
    names = ["a b.jpg", "-rf.jpg", "<img src=x onerror=alert(1)>.jpg", "[x].jpg", "new\nline.jpg"]
    if sys.platform == "linux":
        names.append(os.fsdecode(b"caf\xe9.jpg"))
    for name in names:
        photo(tmp_path / name)
    for paths in (["."], ["--", *names]):
        result = _run("classify", "--format", "jsonl", *paths)
        assert result.exit_code == 0
        assert sorted(os.path.normpath(x["path"]) for x in _lines(result)) == sorted(names)


def test_names_on_stdin(api: FakeApi, photos: Path) -> None:
    """`-` takes names from stdin; one that is missing is a failed photo, not the end of the run."""
    result = _run("classify", "-", stdin=os.fsencode(photos / "r.jpg") + b"\nmissing.jpg\n")
    assert result.exit_code == 1
    assert {x["path"]: x["error"] and x["error"]["code"] for x in _lines(result)} == {
        str(photos / "r.jpg"): None,
        "missing.jpg": "unreadable",
    }


def test_no_shrink(api: FakeApi, photos: Path) -> None:
    """--no-shrink sends the very bytes of the file."""
    assert _run("classify", photos / "r.jpg", "--no-shrink").exit_code == 0
    assert api.posts[0].body == (photos / "r.jpg").read_bytes()


def test_health_and_model(api: FakeApi) -> None:
    """The two other commands print for people, or JSON, and end with 3 where there is no answer."""
    assert "fake v1" in _run("health").stdout
    assert json.loads(_run("health", "--json").stdout)["status"] == "ok"
    assert "red, green, blue" in _run("model").stdout
    assert json.loads(_run("model", "--json").stdout)["input"] == {"resize": 64, "crop": 56}
    api.on_get = refusal("endpoint_unavailable")
    assert _run("health").exit_code == 3


def test_the_key_is_never_printed(api: FakeApi, photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not in output, not in messages, not in the log, whatever fails."""
    api.script = [refusal("forbidden")]
    with caplog.at_level("DEBUG"):
        output = _run("classify", photos, "--debug").output
    api.on_get = refusal("forbidden")
    output += _run("classify", photos, "--debug").output
    assert KEY not in output + caplog.text


def test_help_is_quick_and_light() -> None:
    """--help needs none of the heavy modules: loading them would cost most of its 0.4 s."""
    code = (
        "import sys, client.cli; heavy = {'requests', 'PIL', 'rich.progress', 'urllib3'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_kept_failures_do_not_count_again(api: FakeApi, photos: Path, tmp_path: Path) -> None:
    """`--max-failures` is of this run, so that the same command does go on."""
    file = tmp_path / "out.jsonl"
    for index in range(4):
        (photos / f"a{index}.jpg").write_bytes(b"\xff\xd8\xff torn %d" % index)
    codes = [_run("classify", photos, "-o", file, "--max-failures", "2", "--concurrency", "1") for _ in range(3)]
    assert codes[-1].exit_code == 1 and "Stopped" not in codes[-1].stderr
    assert len(file.read_text().splitlines()) == 7
    assert f"`results {file} --failed` says why" in codes[-1].stderr
    assert "--retry-failed" in codes[-1].stderr


def test_a_page_is_made_anew_without_force(api: FakeApi, photos: Path, tmp_path: Path) -> None:
    """--force would begin the results anew: the same command must do; but a page of somebody else's stays."""
    file, page = tmp_path / "out.jsonl", tmp_path / "page.html"
    assert _run("classify", photos, "-o", file, "--gallery", page).exit_code == 0
    before, sent = page.read_bytes(), len(api.posts)
    photo(photos / "new.jpg", "lime", (70, 50))
    assert _run("classify", photos, "-o", file, "--gallery", page).exit_code == 0
    assert len(page.read_bytes()) > len(before)
    assert len(api.posts) == sent + 1
    page.write_text("<html>mine")
    refused = _run("classify", photos, "-o", file, "--gallery", page)
    assert refused.exit_code == 2 and "--force" not in refused.stderr
    assert page.read_text() == "<html>mine"


def test_a_wish_that_fails_is_told(api: FakeApi, photos: Path, tmp_path: Path) -> None:
    """Exit 1: the photos are classified, and other wishes are fulfilled."""
    into = tmp_path / "sorted"
    into.mkdir()
    (into / "undo.jsonl").write_text("garbage\n")
    page = tmp_path / "page.html"
    done = _run("classify", photos, "-o", tmp_path / "out.jsonl", "--sort-into", into, "--gallery", page)
    assert done.exit_code == 1
    assert "error: " in done.stderr and "3 photos: 3 classified" in done.stderr
    assert page.exists()


def test_photos_are_not_sorted_into_their_own_folder(api: FakeApi, photos: Path, tmp_path: Path) -> None:
    """Nothing would be done. A folder among them is another matter, also where the shell names it with them."""
    refused = _run("classify", photos / "r.jpg", photos, "--sort-into", photos)
    assert refused.exit_code == 2 and "holds the photos themselves" in refused.stderr and not api.posts
    into = photos / "sorted"
    for paths in ([photos], [photos / "r.jpg", into]):
        assert _run("classify", *paths, "--sort-into", into).exit_code == 0
    assert _run("undo", into).exit_code == 0
    assert not into.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes there")
def test_pipes_are_no_photos(api: FakeApi, photos: Path, tmp_path: Path) -> None:
    """One that nobody writes to would be waited for without end."""
    os.mkfifo(tmp_path / "pipe.jpg")
    done = _run("classify", tmp_path / "pipe.jpg", photos / "r.jpg", "--format", "jsonl")
    assert [line["error"] and line["error"]["code"] for line in _lines(done)].count("unreadable") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_globs_follow_no_linked_folders(api: FakeApi, photos: Path) -> None:
    """`**` would go round in circles."""
    (photos / "deep").mkdir()
    photo(photos / "deep" / "x.jpg")
    (photos / "deep" / "loop").symlink_to(photos)
    done = _run("classify", photos / "**" / "*.jpg", "--format", "jsonl")
    assert sorted(Path(line["path"]).name for line in _lines(done)) == ["r.jpg", "x.jpg"]


def test_an_iphone_s_photo_that_nobody_reads(api: FakeApi, tmp_path: Path) -> None:
    """The mend is on this machine."""
    file = tmp_path / "IMG_0001.HEIC"
    file.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(2000))
    api.always = refusal("unsupported_media_type")
    (line,) = _lines(_run("classify", file, "--format", "jsonl"))
    assert line["error"]["code"] == "unsupported_media_type" and "whippet[heic]" in line["error"]["hint"]
