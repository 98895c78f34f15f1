"""Results as Parquet, by pyarrow (an extra): the columns of CSV with types, and all predictions as one column of lists."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.errors import UsageError
from client.output import CSV_COLUMNS, encodable
from client.results import Outcome

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

GROUP_ROWS = 20_000
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
    """A writer of a new Parquet file with at most `top_k` predictions a photo; UsageError without pyarrow.

    The file can be read once this is left; it holds nothing readable before.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError("Parquet needs pyarrow.", "Install it with: pip install 'whippet[parquet]'.") from error
    with parquet.ParquetWriter(path, _schema()) as file:
        writer = Parquet(file, top_k)
        yield writer
        writer.flush()


def _schema() -> pa.Schema:
    import pyarrow as pa

    columns = [(name, pa.float64() if name in _NUMBERS else pa.string()) for name in CSV_COLUMNS]
    prediction = pa.struct([("label", pa.string()), ("class_id", pa.string()), ("score", pa.float64())])
    return pa.schema([*columns, ("predictions", pa.list_(prediction))])


def _row(outcome: Outcome, top_k: int | None) -> dict[str, Any]:
    """By column; what a photo has not got is null."""
    ranked = [
        {"label": encodable(p.label), "class_id": encodable(p.class_id), "score": p.score}
        for p in outcome.predictions[:top_k]
    ]
    error = outcome.error
    texts = {
        "path": outcome.path,
        "sha256": outcome.sha256,
        "status": outcome.status,
        "decision": outcome.decision,
        "error_code": error and error.code,
        "error_detail": error and error.detail,
        "error_hint": error and error.hint,
        "model": outcome.model,
        "version": outcome.version,
    }
    best = ranked[0] if ranked else {}
    return {
        **{name: text and encodable(text) for name, text in texts.items()},
        **best,
        "ms": outcome.ms,
        "predictions": ranked,
    }
