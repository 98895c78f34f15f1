"""How result lines look, for programs and for people."""

from __future__ import annotations

import csv
import io
import json

from client import output, screen
from client.results import Failure, Outcome
from lambda_api.schema import Prediction

OK = Outcome(
    "dir/é dog.jpg",
    "ab",
    (Prediction("Basset, hound", "n1", 0.9), Prediction("Beagle", "n2", 0.1)),
    "confident",
    None,
    "m",
    "v",
    1.5,
)
FAILED = Outcome("x.jpg", None, error=Failure("bad_image", "Broken.", "Mend it."), model="m", version="v", ms=2.0)
ODD = Outcome("caf\udce9.jpg", error=Failure("unreadable", "Gone.", ""))
NASTY = "[red]<b>\x1b[2J\u202egnp.exe\n.jpg"


def _rows(*outcomes: Outcome, width: int = 100) -> str:
    stream = io.StringIO()
    table = screen.Table(screen.console(stream))
    for outcome in outcomes:
        table.write(outcome)
    return stream.getvalue()


def test_json_lines() -> None:
    """One object a line with exactly the contract's names, readable characters kept."""
    stream = io.BytesIO()
    writer = output.JsonLines(stream)
    writer.write(OK)
    writer.write(FAILED)
    first, second = stream.getvalue().decode().splitlines()
    assert "é dog" in first
    assert list(json.loads(first)) == [
        *("path", "sha256", "status", "predictions", "decision", "error", "model", "version", "ms", "options"),
    ]
    assert json.loads(first)["predictions"][0] == {"label": "Basset, hound", "class_id": "n1", "score": 0.9}
    assert json.loads(second)["error"] == {"code": "bad_image", "detail": "Broken.", "hint": "Mend it."}


def test_undecodable_names_round_trip() -> None:
    """A name of any bytes gives a line that is UTF-8 and from which the very name comes back."""
    stream = io.BytesIO()
    output.JsonLines(stream).write(ODD)
    assert stream.getvalue().isascii()
    assert json.loads(stream.getvalue())["path"] == ODD.path
    table = io.BytesIO()
    output.Csv(table, 1).write(ODD)
    assert "caf\\udce9.jpg" in table.getvalue().decode("utf-8")


def test_csv() -> None:
    """The same names flattened; every row has every column, failures too."""
    stream = io.BytesIO()
    writer = output.Csv(stream, 3)
    writer.write(OK)
    writer.write(FAILED)
    rows = list(csv.DictReader(io.StringIO(stream.getvalue().decode()), strict=True))
    assert list(rows[0])[:4] == ["path", "sha256", "status", "label"]
    assert (rows[0]["label"], rows[0]["label_2"], rows[0]["score_3"]) == ("Basset, hound", "Beagle", "")
    assert (rows[1]["error_code"], rows[1]["error_hint"], rows[1]["label"]) == ("bad_image", "Mend it.", "")
    assert all(None not in row.values() and None not in row for row in rows)


def test_table_rows_are_plain_and_aligned() -> None:
    """Without a terminal: no escapes, columns under their heads, code and mend for a failure."""
    text = _rows(OK, FAILED)
    assert "\x1b" not in text
    head, first, second = (line for line in text.splitlines() if line.strip())
    assert first.index("Basset") == head.index("label")
    assert "90.0%" in first
    assert "Beagle" in first
    assert "bad_image: Broken. Mend it." in second


def test_names_cannot_play_tricks() -> None:
    """Control characters, direction marks and markup in names and labels are shown, not obeyed."""
    text = _rows(Outcome(NASTY, predictions=(Prediction(NASTY, "n", 1.0),), decision="unsure"))
    assert "[red]" in text
    assert not {"\x1b", "\u202e"} & set(text)
    assert len([line for line in text.splitlines() if line.strip()]) == 2


def test_long_paths_show_their_end() -> None:
    """Of a long path the end is shown, which tells photos apart."""
    assert "9999.jpg" in _rows(Outcome("very/" * 50 + "9999.jpg", predictions=OK.predictions, decision="unsure"))


def test_summary() -> None:
    """The summary counts by code and never hides ignored files or an interruption."""
    tally = screen.Tally()
    for outcome in (OK, FAILED, FAILED, ODD):
        tally.add(outcome)
    line = tally.summary(passed_over="1 other file ignored, 2 linked folders not followed", interrupted=True)
    assert line.startswith("interrupted: 4 photos: 1 classified, 3 failed (bad_image 2, unreadable 1), ")
    assert "1 other file ignored, 2 linked folders not followed, " in line
    assert line.endswith(" photos/s")
