"""JSON that can hold any file name, written all or nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import DataError
from .finding import shown


def to_json(content: Any) -> str:
    """Readable JSON that any stream can encode as UTF-8.

    What UTF-8 cannot say, the odd bytes of a file name, becomes `\\udcff`: JSON's own way to write it.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_json(content: Any, file: Path) -> None:
    """Write a JSON file, whole or not at all; DataError if it cannot be written."""
    try:
        replace_json(content, file)
    except OSError as error:
        raise DataError(f"{shown(str(file))} cannot be written: {error.strerror}.") from None


def replace_json(content: Any, file: Path) -> None:
    """The same for callers with errors of their own: OSError if it cannot be written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        half.write_bytes(to_json(content).encode("utf-8") + b"\n")
        os.replace(half, file)
    finally:
        half.unlink(missing_ok=True)
