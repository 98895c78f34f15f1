"""`client results FILE`: what a run has left, in another form, filtered, and used."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from client.cli import app
from client.output import json_line
from client.results import Failure, Outcome
from lambda_api.schema import Prediction
from tests.photos import jpeg, save


def results(*args: object) -> Result:
    """`client results …`."""
    return CliRunner().invoke(app, ["results", *map(str, args)])


def outcome(path: str, label: str = "", score: float = 0.9) -> Outcome:
    """A photo's, failed if it has no label."""
    if not label:
        return Outcome(path, "ab", error=Failure("bad_image", "It is torn.", "Copy it again."))
    return Outcome(path, f"sha of {path}", (Prediction(label, f"id-{label}", score),), "confident", None, "m", "v", 1.0)


def lines(*outcomes: Outcome) -> bytes:
    """A file of them."""
    return b"".join(json_line(each.to_dict()).encode() + b"\n" for each in outcomes)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Two beagles, a pug, and one that failed, then was well."""
    once = [outcome("a.jpg", "beagle"), outcome("b.jpg"), outcome("c.jpg", "pug", 0.4), outcome("d.jpg", "beagle", 0.6)]
    return save(tmp_path, "results.jsonl", lines(*once, outcome("b.jpg", "pug", 0.8)))


def test_the_last_line_of_a_photo_counts(saved: Path) -> None:
    """Each photo once, by the journal's own rule; the number on stderr, the exit code of a run without failures."""
    done = results(saved, "--format", "jsonl")
    assert done.exit_code == 0
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["path"], each["predictions"][0]["label"]) for each in found] == [
        ("a.jpg", "beagle"),
        ("c.jpg", "pug"),
        ("d.jpg", "beagle"),
        ("b.jpg", "pug"),
    ]
    assert done.stderr == f"4 photos in {saved}\n"


def test_filters_and_counts(saved: Path, tmp_path: Path) -> None:
    """What is kept is what is written and counted."""
    table = tmp_path / "labels.csv"
    done = results(saved, "-o", table, "--only", "beagle", "--min-confidence", 0.7, "--summary")
    assert done.exit_code == 0
    with table.open(encoding="utf-8", newline="") as stream:
        assert [row["path"] for row in csv.DictReader(stream)] == ["a.jpg"]
    assert done.stderr.splitlines()[0] == f"1 photo in {saved}"
    assert "beagle" in done.stderr and "pug" not in done.stderr


def test_failures_tell(tmp_path: Path) -> None:
    """By number and exit code."""
    file = save(tmp_path, "results.jsonl", lines(outcome("a.jpg", "beagle"), outcome("b.jpg")))
    done = results(file, "--format", "csv")
    assert (done.exit_code, done.stderr) == (1, f"2 photos in {file}, 1 of them failed\n")
    assert "bad_image" in done.stdout


def test_damaged_lines_are_told(saved: Path) -> None:
    """Never passed over in silence; but the end of a file that is being written is no damage."""
    whole = saved.read_bytes()
    saved.write_bytes(whole + b'{"path": "e.jpg", "sha')
    assert (results(saved, "-q").exit_code, results(saved).stderr) == (0, f"4 photos in {saved}\n")
    saved.write_bytes(whole.replace(b'"c.jpg"', b'"c.jpg', 1) + b"\n \nnonsense\n")
    done = results(saved, "-q", "--format", "jsonl")
    assert done.exit_code == 1
    assert f"2 lines of {saved} cannot be read" in done.stderr
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == ["a.jpg", "d.jpg", "b.jpg"]


def test_what_is_wished_is_enough(tmp_path: Path) -> None:
    """A page, and photos by label, without a table that nobody asked for."""
    photos = [str(save(tmp_path, f"{name}.jpg", jpeg((60 + len(name), 50)))) for name in ("a", "bb")]
    file = save(tmp_path, "results.jsonl", lines(outcome(photos[0], "beagle"), outcome(photos[1], "pug")))
    page, sorted_ = tmp_path / "page.html", tmp_path / "sorted"
    done = results(file, "--gallery", page, "--sort-into", sorted_, "--how", "copy")
    assert (done.exit_code, done.stdout) == (0, "")
    assert page.stat().st_size > 10_000
    assert {str(path.relative_to(sorted_)) for path in sorted_.rglob("*.jpg")} == {"beagle/a.jpg", "pug/bb.jpg"}


@pytest.mark.parametrize("name", ["nothing", "foreign.jsonl"])
def test_what_holds_no_results(tmp_path: Path, name: str) -> None:
    """The fact and the mend."""
    save(tmp_path, "foreign.jsonl", b'{"id": 1}\n')
    done = results(tmp_path / name)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ") and os.fspath(tmp_path / name) in done.stderr


def test_options_that_go_with_something_else(saved: Path, tmp_path: Path) -> None:
    """Refused before anything is read."""
    assert "names already" in results(saved, "--photos", tmp_path).stderr
    (tmp_path / "job").mkdir()
    assert "one file first" in results(tmp_path / "job", "--summary").stderr
