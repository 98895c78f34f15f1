"""Strict JSON, and files that are whole or not there."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """Only what JSON has: tuples become lists, numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_whole(path: Path, text: str) -> Path:
    """Write the text as UTF-8 beside its place, then move it there: no reader ever sees half a file.

    File names that are not UTF-8 reach Python as lone surrogates. They are written as backslash and number, which
    JSON reads as the same name and a person can read too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
        os.chmod(partial, 0o644)  # mkstemp keeps others out, a report is for everybody
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
    return path
