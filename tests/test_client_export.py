"""Results in other formats: nothing is lost, and a file is whole or not there."""

from __future__ import annotations

import csv
import json
import os
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from client import parquet
from client.errors import UsageError
from client.export import export
from client.output import CSV_COLUMNS, Format
from client.results import Failure, Outcome
from lambda_api.schema import Prediction

BEAGLE, PUG, CAT = (
    Prediction(label, f"n{score}", score) for label, score in (("beagle", 0.7), ("pug", 0.2), ("é", 0.1))
)
OUTCOMES = (
    Outcome("a/dog.jpg", "ab", (BEAGLE, PUG), "confident", None, "m", "v", 1.5, "top_k=3"),
    Outcome("torn.jpg", "cd", error=Failure("bad_image", "It is torn.", "Copy it again.")),
    Outcome("caf\udce9.jpg", "ef", (PUG, BEAGLE, CAT), "unsure", None, "m", "v", 2.5, "top_k=3"),
)
FORMATS = pytest.mark.parametrize("fmt", Format)


def _some() -> Iterator[Outcome]:
    return iter(OUTCOMES)


def _broken() -> Iterator[Outcome]:
    yield OUTCOMES[0]
    raise OSError(28, "No space left on device")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, strict=True))


@FORMATS
def test_every_outcome_is_in_the_file(tmp_path: Path, fmt: Format) -> None:
    """Failures too; the file has the rights of any other, and nothing else is left."""
    path = tmp_path / "out"
    assert export(_some, fmt, path) == 3
    assert os.listdir(tmp_path) == ["out"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o600 == 0o600
    data = path.read_bytes()
    assert b"dog.jpg" in data and b"bad_image" in data


@FORMATS
def test_no_outcomes_make_an_empty_file(tmp_path: Path, fmt: Format) -> None:
    """A filter may leave none; that is no error."""
    assert export(lambda: iter(()), fmt, tmp_path / "out") == 0
    assert (tmp_path / "out").exists()


def test_json_lines_come_back_as_they_were(tmp_path: Path) -> None:
    """Undecodable names too, so that a filtered journal is a journal."""
    export(_some, Format.jsonl, tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert tuple(Outcome.from_dict(json.loads(line)) for line in lines) == OUTCOMES


def test_csv_has_room_for_the_photo_with_most_labels(tmp_path: Path) -> None:
    """Also where that comes last; `top_k` cuts."""
    export(_some, Format.csv, tmp_path / "all.csv")
    rows = _rows(tmp_path / "all.csv")
    assert [row["label_3"] for row in rows] == ["", "", "é"] and "label_4" not in rows[0]
    assert rows[2]["path"] == "caf\\udce9.jpg"
    export(_some, Format.csv, tmp_path / "two.csv", top_k=2)
    assert "label_3" not in _rows(tmp_path / "two.csv")[2] and _rows(tmp_path / "two.csv")[2]["label_2"] == "beagle"


@pytest.mark.parametrize("name", ["=cmd|'/C x'!A0.jpg", "+1.jpg", "-1.jpg", "@SUM(A1).jpg", "\t=1.jpg", "\uff1d1.jpg"])
def test_names_are_no_formulas_in_spreadsheets(tmp_path: Path, name: str) -> None:
    """In CSV such a path is written with its folder, which names the same file; other cells stay as they are."""
    outcome = Outcome(name, "ab", (Prediction("-", "n", 1.0), PUG), "confident")
    export(lambda: iter((outcome, OUTCOMES[0])), Format.csv, tmp_path / "out.csv")
    row, other = _rows(tmp_path / "out.csv")
    assert row["path"] == f"./{name}" and os.path.normpath(row["path"]) == name
    assert row["label"] == "-" and other["path"] == "a/dog.jpg"


def test_parquet_has_types(tmp_path: Path) -> None:
    """The columns of CSV, numbers as numbers, nothing as null, and all predictions as a list of records."""
    pq = pytest.importorskip("pyarrow.parquet")
    export(_some, Format.parquet, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == [*CSV_COLUMNS, "predictions"]
    assert str(table.schema.field("score").type) == str(table.schema.field("ms").type) == "double"
    assert "struct<label: string, class_id: string, score: double>" in str(table.schema.field("predictions").type)
    first, torn, odd = table.to_pylist()
    assert (first["label"], first["score"], first["error_code"], first["ms"]) == ("beagle", 0.7, None, 1.5)
    assert (torn["label"], torn["score"], torn["error_hint"], torn["predictions"]) == (None, None, "Copy it again.", [])
    assert odd["path"] == "caf\\udce9.jpg"
    assert odd["predictions"][2] == {"label": "é", "class_id": "n0.1", "score": 0.1}


def test_parquet_is_written_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that memory stays flat; `top_k` cuts the lists."""
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(parquet, "GROUP_ROWS", 2)
    export(_some, Format.parquet, tmp_path / "out.parquet", top_k=1)
    file = pq.ParquetFile(tmp_path / "out.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [2, 1]
    assert [len(row["predictions"]) for row in file.read().to_pylist()] == [1, 0, 1]


def test_parquet_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, since stdout cannot have it, or pyarrow; nothing is left then."""
    with pytest.raises(UsageError, match=r"-o FILE\.parquet"):
        export(_some, Format.parquet, None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"pip install 'whippet\[parquet\]'"):
        export(_some, Format.parquet, tmp_path / "out.parquet")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("fmt", [Format.table, Format.jsonl, Format.csv])
def test_without_a_file_it_is_stdout(fmt: Format, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """The same lines, for a pipe."""
    assert export(_some, fmt, None) == 3
    sys.stdout.flush()
    assert b"dog.jpg" in capfdbinary.readouterr().out


@FORMATS
def test_a_failure_leaves_the_old_file(tmp_path: Path, fmt: Format) -> None:
    """Whatever happens on the way there is the old file or the new one, and no third."""
    path = tmp_path / "out"
    path.write_text("before")
    with pytest.raises(OSError, match="No space left"):
        export(_broken, fmt, path, top_k=2, force=True)
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["out"]


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    """A file that exists needs `force`; a link to it stays a link."""
    path, link = tmp_path / "out.csv", tmp_path / "link.csv"
    path.write_text("before")
    link.symlink_to(path)
    with pytest.raises(UsageError, match="exists"):
        export(_some, Format.csv, link)
    assert path.read_text() == "before"
    assert export(_some, Format.csv, link, force=True) == 3
    assert link.is_symlink() and len(_rows(path)) == 3


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Said before anything is read."""
    with pytest.raises(UsageError, match="no folder"):
        export(_some, Format.jsonl, tmp_path / "none" / "out.jsonl")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    """A device or a pipe is never replaced by a file."""
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    reader.start()
    assert export(_some, Format.jsonl, pipe, force=True) == 3
    reader.join()
    assert heard[0].count(b"\n") == 3 and stat.S_ISFIFO(pipe.stat().st_mode)
