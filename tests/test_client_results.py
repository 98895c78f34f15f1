"""`client results`: what a Batch Transform job left, as the lines of `classify`, from a folder and from S3."""

from __future__ import annotations

import builtins
import csv
import hashlib
import io
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from client import pool
from client.cli import app
from tests.aws_world import BUCKET, World
from tests.fake_api import photo

ANSWER = {
    "predictions": [
        {"label": "Basset, hound", "class_id": "n1", "score": 0.9},
        {"label": "beagle", "class_id": "n2", "score": 0.1},
    ],
    "decision": "confident",
    "model": {"name": "dogs", "version": "0123456789ab"},
    "timings_ms": {"decode": 3.25, "predict": 10.5},
}
REFUSED = {"error": {"status": 400, "code": "bad_image", "detail": "The photo is cut off.", "hint": "Send it again."}}
NAMES = ("path", "sha256", "status", "predictions", "decision", "error", "model", "version", "ms", "options")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Results of three photos, one of them refused, in folders as Batch Transform leaves them."""
    folder = tmp_path / "labels"
    for name, body in (("b.jpg", ANSWER), ("a/é dog.jpg", ANSWER), ("torn.jpg", REFUSED)):
        put(folder, name, json.dumps(body))
    return folder


def put(folder: Path, name: str, body: str | bytes) -> None:
    """One result."""
    path = folder / f"{name}.out"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body if isinstance(body, bytes) else body.encode())


def run(*args: object) -> Result:
    """`client results …`."""
    return CliRunner().invoke(app, ["results", *map(str, args)])


def lines(result: Result) -> list[dict[str, Any]]:
    """What it printed."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_results_are_lines_of_the_client(source: Path) -> None:
    """Exactly the names of `classify`, sorted by path; exit 1 with a summary, since one photo was refused."""
    result = run(source)
    assert result.exit_code == 1
    found = lines(result)
    assert [tuple(line) for line in found] == [NAMES] * 3
    assert [line["path"] for line in found] == ["a/é dog.jpg", "b.jpg", "torn.jpg"]
    ok, refused = found[1], found[2]
    assert ok == {
        "path": "b.jpg",
        "sha256": None,
        "status": "ok",
        "predictions": ANSWER["predictions"],
        "decision": "confident",
        "error": None,
        "model": "dogs",
        "version": "0123456789ab",
        "ms": 13.8,
        "options": None,
    }
    assert refused["status"] == "error"
    assert refused["error"] == {"code": "bad_image", "detail": "The photo is cut off.", "hint": "Send it again."}
    assert result.stderr.startswith("3 photos: 2 classified, 1 failed (bad_image 1), ")


def test_all_well_is_exit_0_and_csv_has_the_same_columns(source: Path, tmp_path: Path) -> None:
    """By the suffix of FILE, which is not overwritten without --force."""
    (source / "torn.jpg.out").unlink()
    target = tmp_path / "labels.csv"
    assert run(source, "-o", target, "--quiet").exit_code == 0
    rows = list(csv.DictReader(io.StringIO(target.read_text("utf-8")), strict=True))
    assert [(row["path"], row["label"], row["label_2"], row["label_5"]) for row in rows] == [
        ("a/é dog.jpg", "Basset, hound", "beagle", ""),
        ("b.jpg", "Basset, hound", "beagle", ""),
    ]
    again = run(source, "-o", target)
    assert again.exit_code == 2
    assert "--force" in again.stderr


def test_photos_bring_their_hash_and_the_missing_ones(source: Path, tmp_path: Path) -> None:
    """A photo without a result has a line that says so; a result without a photo keeps its own; notes are no photos."""
    photos = tmp_path / "photos"
    photos.mkdir()
    photo(photos / "b.jpg", "red")
    photo(photos / "lost.jpg", "blue")
    (photos / "notes.txt").write_text("hello")
    result = run(source, "--photos", photos)
    found = {line["path"]: line for line in lines(result)}
    assert list(found) == ["a/é dog.jpg", "b.jpg", "lost.jpg", "torn.jpg"]
    assert found["b.jpg"]["sha256"] == hashlib.sha256((photos / "b.jpg").read_bytes()).hexdigest()
    assert found["lost.jpg"]["error"]["code"] == "no_result"
    assert found["lost.jpg"]["error"]["hint"]
    assert found["lost.jpg"]["sha256"] == hashlib.sha256((photos / "lost.jpg").read_bytes()).hexdigest()
    assert found["a/é dog.jpg"]["sha256"] is None
    assert result.exit_code == 1
    assert "2 failed (" in result.stderr
    assert "1 other file ignored" in result.stderr


def test_names_that_begin_alike_stay_apart(tmp_path: Path) -> None:
    """`a.out` sorts behind `a.jpg.out`, but `a` before `a.jpg`; a photo may be called `b.out` itself."""
    folder, photos = tmp_path / "labels", tmp_path / "photos"
    names = ["a", "a.jpg", "a.jpg.jpg", "b.out", "c/a.jpg"]
    for name in names:
        put(folder, name, json.dumps(ANSWER))
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / "log.txt").write_text("no result")
    for name in [*names, "a.jp"]:
        (photos / name).write_bytes(b"\xff\xd8\xff")
    assert [line["path"] for line in lines(run(folder))] == names
    joined = {line["path"]: line["status"] for line in lines(run(folder, "--photos", photos))}
    assert joined == {**dict.fromkeys(names, "ok"), "a.jp": "error"}
    assert list(joined) == sorted(joined)


def test_results_of_other_photos_are_noticed(source: Path, tmp_path: Path) -> None:
    """Where nothing joins the two places hardly belong together, and that is said; each still has its lines."""
    photo(tmp_path / "other.jpg", "red")
    result = run(source, "--photos", tmp_path / "labels" / "..", "--quiet")
    assert len(lines(result)) == 4
    assert "warning: no result has the name of a photo" in result.stderr
    photo(tmp_path / "b.jpg", "red")
    assert "warning" not in run(source, "--photos", tmp_path, "--quiet").stderr


GARBAGE: dict[str, bytes] = {
    "empty": b"",
    "cut off": json.dumps(ANSWER).encode()[:60],
    "no text": b"\xff\xfe\x00\x9c",
    "a page": b"<html>502</html>",
    "no object": b"[1, 2]",
    "deep": b"[" * 100_000,
    "of a stranger": b'{"score": 1}',
    "no labels": json.dumps({**ANSWER, "predictions": []}).encode(),
    "no decision": json.dumps({**ANSWER, "decision": "maybe"}).encode(),
    "an error that is none": b'{"error": "oops"}',
    "two answers": json.dumps(ANSWER).encode() * 2,
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_an_error_line(source: Path, kind: str) -> None:
    """Never a crash, never a photo less: code, detail and hint like any failure, and the others keep their lines."""
    put(source, "z.jpg", GARBAGE[kind])
    result = run(source)
    last = lines(result)[-1]
    assert (last["path"], last["status"], last["error"]["code"]) == ("z.jpg", "error", "bad_answer")
    assert last["error"]["detail"]
    assert last["error"]["hint"]
    assert len(lines(result)) == 4


def test_a_result_that_cannot_be_read_is_an_error_line(source: Path) -> None:
    """As a photo of `classify` that cannot be read."""
    (source / "z.jpg.out").symlink_to(source / "nowhere")
    assert lines(run(source))[-1]["error"]["code"] == "unreadable"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["{tmp}/none"], "There is no folder"),
        (["{tmp}"], "There is no .out file"),
        (["s3://"], "is no S3 URI. Write s3://BUCKET/PREFIX"),
        (["{tmp}", "--photos", "{tmp}/none"], "There is no folder"),
    ],
)
def test_wrong_usage_is_exit_2(tmp_path: Path, args: list[str], said: str) -> None:
    """One line with the mend."""
    result = run(*(arg.format(tmp=tmp_path) for arg in args))
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_without_boto3_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base install is without it."""
    real = builtins.__import__

    def refusing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "boto3":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refusing)
    result = run("s3://bucket/labels")
    assert result.exit_code == 2
    assert "pip install 'whippet[aws]'" in result.stderr


def test_s3_gives_the_same_lines_as_its_copy(here: World, source: Path, tmp_path: Path) -> None:
    """More than a page of keys, in any alphabet, prefixes of the same beginning left out, folder markers too."""
    for number in range(1005):
        put(source, f"many/{number:04}.jpg", json.dumps(ANSWER))
    s3 = here.client("s3")
    for path in source.rglob("*.out"):
        s3.upload_file(str(path), BUCKET, f"labels/{path.relative_to(source).as_posix()}")
    s3.put_object(Bucket=BUCKET, Key="labels2/other.jpg.out", Body=b"{}")
    s3.put_object(Bucket=BUCKET, Key="photos/", Body=b"")
    s3.put_object(Bucket=BUCKET, Key="photos/b.jpg", Body=b"photo")
    s3.put_object(Bucket=BUCKET, Key="photos/lost & found/ß+.jpg", Body=b"photo")
    local, remote = run(source), run(f"s3://{BUCKET}/labels")
    assert remote.stdout == local.stdout
    assert remote.exit_code == 1
    with_photos = lines(run(f"s3://{BUCKET}/labels/", "--photos", f"s3://{BUCKET}/photos"))
    assert [line["path"] for line in with_photos if (line["error"] or {}).get("code") == "no_result"] == [
        "lost & found/ß+.jpg"
    ]
    assert len(with_photos) == 1009


@pytest.mark.usefixtures("here")
def test_s3_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket that is not there is wrong usage; no way to AWS is exit 3, both in one line."""
    missing = run("s3://nobodys-bucket/labels")
    assert missing.exit_code == 2
    assert "There is no bucket" in missing.stderr
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    away = run(f"s3://{BUCKET}/labels")
    assert away.exit_code == 3
    assert "Check the credentials" in away.stderr
    assert away.stderr.count("\n") == 1


def test_results_stream_in_order_and_few_are_held() -> None:
    """The first comes before the last is asked for; a slow one holds only some back; closing ends it."""
    begun: list[int] = []
    slow = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item == 0:
            slow.wait(5)
        return item

    found = pool.in_order(work, iter(range(10_000)), 4)
    threading.Timer(0.2, slow.set).start()
    assert next(found) == 0
    assert len(begun) <= 16
    assert [next(found) for _ in range(100)] == list(range(1, 101))
    found.close()
    time.sleep(0.05)
    assert len(begun) < 200


def test_a_reader_that_has_seen_enough_ends_it(source: Path) -> None:
    """`| head` is no traceback."""
    for number in range(2000):
        put(source, f"many/{number:04}.jpg", json.dumps(ANSWER))
    command = [sys.executable, "-m", "client", "results", str(source), "-q"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
