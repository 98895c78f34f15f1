"""Result lines as JSON Lines and CSV, and what names look like when a person reads them."""

from __future__ import annotations

import csv
import enum
import io
import json
import os
import unicodedata
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from client.errors import UsageError
from client.results import Outcome

CSV_COLUMNS = (
    "path",
    "sha256",
    "status",
    "label",
    "class_id",
    "score",
    "decision",
    "error_code",
    "error_detail",
    "error_hint",
    "model",
    "version",
    "ms",
    "options",
)
"""The first columns; `label_2, class_id_2, score_2 …` follow, up to top_k."""

_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How a cell begins that spreadsheets would calculate (OWASP, CSV injection); the last are full-width forms."""

_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}


class Format(str, enum.Enum):
    """How result lines look."""

    table = "table"
    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"

    @classmethod
    def of_suffix(cls, suffix: str) -> Format:
        """The format that a file's suffix, with its dot, tells; JSON Lines for any other."""
        return {".csv": cls.csv, ".parquet": cls.parquet}.get(suffix.lower(), cls.jsonl)


class Writer(Protocol):
    """Writes one line a photo, at once: what is written stays, whatever comes after."""

    def write(self, outcome: Outcome) -> None:
        """Write one line; OSError if the disk or the pipe does not take it."""


class JsonLines:
    """One JSON object a line, in UTF-8. A name with undecodable bytes comes as ASCII with escapes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, outcome: Outcome) -> None:
        """Write one line and flush it."""
        self._stream.write(json_line(outcome.to_dict()).encode() + b"\n")
        self._stream.flush()


class Csv:
    """The same as CSV in UTF-8, with a header; predictions after the first in columns of their own.

    Of a path that a spreadsheet would take for a formula the row has `./=a.jpg`, which names the same file.
    """

    def __init__(self, stream: BinaryIO, top_k: int) -> None:
        self._stream = stream
        self._top_k = top_k
        more = [f"{name}_{rank}" for rank in range(2, top_k + 1) for name in ("label", "class_id", "score")]
        self._row([*CSV_COLUMNS, *more])

    def write(self, outcome: Outcome) -> None:
        """Write one row and flush it."""
        others = outcome.predictions[1 : self._top_k]
        rest = [value for p in others for value in (p.label, p.class_id, p.score)]
        blanks = [""] * (3 * (self._top_k - 1 - len(others)))
        path, *more = columns(outcome)
        self._row(["./" + path if path.startswith(_FORMULAS) else path, *more, *rest, *blanks])

    def _row(self, values: list[Any]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(values)
        self._stream.write(text.getvalue().encode("utf-8", "backslashreplace"))
        self._stream.flush()


def columns(outcome: Outcome) -> tuple[Any, ...]:
    """The values of `CSV_COLUMNS`, None for what a photo has not got."""
    best, error = outcome.predictions[0] if outcome.predictions else None, outcome.error
    return (
        outcome.path,
        outcome.sha256,
        outcome.status,
        best and best.label,
        best and best.class_id,
        best and best.score,
        outcome.decision,
        error and error.code,
        error and error.detail,
        error and error.hint,
        outcome.model,
        outcome.version,
        outcome.ms,
        outcome.options,
    )


def json_line(value: Any) -> str:
    """JSON on one line; readable characters stay unless a name in it cannot be written as UTF-8."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def printable(text: str) -> str:
    """A name or label safe to show: control characters and text-direction tricks become escapes."""
    return "".join(_escaped(c) if _is_trick(c) else c for c in text)


def _is_trick(char: str) -> bool:
    return char in _BIDI or unicodedata.category(char) in _UNPRINTABLE


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def check_file(path: Path, *, force: bool) -> None:
    """UsageError if results cannot go to this file: it exists and `force` is off, or it has no folder."""
    if os.path.lexists(path) and not force:
        raise UsageError(f"{path} exists.", "Add --force to overwrite it, or choose another name.")
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", "Name a file in it.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent}.", "Create it first.")


def open_file(path: Path, *, force: bool) -> BinaryIO:
    """The file for results, to be closed by the caller; UsageError if it cannot be written."""
    try:
        return open(path, "wb" if force else "xb")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.", "Choose another with -o.") from error
