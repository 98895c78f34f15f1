"""Results as Parquet, by pyarrow (an extra): the columns of CSV with types, and predictions as a column of lists."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.errors import UsageError
from client.output import CSV_COLUMNS, columns
from client.results import Outcome

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

GROUP_ROWS = 10_000
"""Photos in a row group, which are in memory at once: some 20 MB with five labels each."""

_NUMBERS = ("score", "ms")


class Parquet:
    """Gathers outcomes and writes them in row groups; made by `writing`, which closes the file."""

    def __init__(self, file: ParquetWriter, top_k: int | None) -> None:
        self._file, self._top_k = file, top_k
        self._rows: list[dict[str, Any]] = []

    def write(self, outcome: Outcome) -> None:
        """Take one; OSError if the disk does not take its group."""
        self._rows.append(_row(outcome, self._top_k))
        if len(self._rows) >= GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered as a row group."""
        import pyarrow as pa

        if self._rows:
            self._file.write_table(pa.Table.from_pylist(self._rows, schema=self._file.schema))
        self._rows.clear()


@contextmanager
def writing(path: Path, top_k: int | None = None) -> Iterator[Parquet]:
    """A writer of a new file, with at most `top_k` predictions a photo. UsageError without pyarrow.

    The file is none that can be read before this is left.
    """
    check()
    from pyarrow.parquet import ParquetWriter

    with ParquetWriter(path, _schema()) as file:
        writer = Parquet(file, top_k)
        yield writer
        writer.flush()


def check() -> None:
    """UsageError without pyarrow."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UsageError("Parquet needs pyarrow.", "Install it with: pip install 'whippet[parquet]'") from error


def _schema() -> pa.Schema:
    import pyarrow as pa

    flat = [(name, pa.float64() if name in _NUMBERS else pa.string()) for name in CSV_COLUMNS]
    prediction = pa.struct([("label", pa.string()), ("class_id", pa.string()), ("score", pa.float64())])
    return pa.schema([*flat, ("predictions", pa.list_(prediction))])


def _row(outcome: Outcome, top_k: int | None) -> dict[str, Any]:
    """By column; what a photo has not got is null."""
    ranked = [
        {"label": _utf8(p.label), "class_id": _utf8(p.class_id), "score": p.score} for p in outcome.predictions[:top_k]
    ]
    flat = zip(CSV_COLUMNS, map(_utf8, columns(outcome)), strict=True)
    return {**dict(flat), "predictions": ranked}


def _utf8(value: Any) -> Any:
    """Undecodable bytes of a name, and whatever else UTF-8 has no place for, as escapes like in CSV."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
