"""Results as a file of another format, whole or not at all; or on stdout."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from client import files, parquet
from client.errors import UsageError
from client.output import Format
from client.printing import Printing
from client.results import Outcome


def export(
    outcomes: Callable[[], Iterable[Outcome]],
    fmt: Format,
    target: Path | None,
    *,
    top_k: int | None = None,
    force: bool = False,
) -> int:
    """Write all outcomes to a file, or to stdout for None, and return how many there are.

    `outcomes` begins anew at each call. CSV and Parquet have `top_k` labels a photo at most; without it all, for which
    CSV goes through the outcomes twice. UsageError where the file exists and `force` is off, where it cannot be
    written, and for Parquet without a file or without pyarrow; OSError for a full disk.
    """
    if fmt is Format.parquet:
        parquet.check()
        if target is None:
            raise UsageError("Parquet needs a file.", "Add -o FILE.parquet.")
    elif fmt is Format.csv and top_k is None:
        top_k = max((len(outcome.predictions) for outcome in outcomes()), default=1)
    if target is None:
        return _write(outcomes(), fmt, None, top_k)
    with files.in_place_of(target, force=force) as part:
        return _write(outcomes(), fmt, part, top_k)


def _write(outcomes: Iterable[Outcome], fmt: Format, path: Path | None, top_k: int | None) -> int:
    with ExitStack() as stack:
        if fmt is Format.parquet and path is not None:
            write = stack.enter_context(parquet.writing(path, top_k)).write
        else:
            write = Printing(path, fmt, top_k or 1, force=True).open_writer(stack)[0].write
        count = 0
        for outcome in outcomes:
            write(outcome)
            count += 1
        return count
