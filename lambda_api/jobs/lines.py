"""The line of a photo's result: JSON as the client writes it."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from ..endpoint import of_item
from ..errors import ApiError
from .store import Line, PhotoRecord


def classified(photo: PhotoRecord, data: bytes, result: dict[str, Any], model: dict[str, str], started: float) -> Line:
    """What the endpoint said of a photo, labels or an error. `started` is by time.perf_counter."""
    by = {"model": model["name"], "version": model["version"]}
    if "error" in result:
        return failed(photo, of_item(result["error"]), started, data, **by)
    good = {"predictions": result["predictions"], "decision": result["decision"]}
    return Line(photo, _text(photo, started, sha256=_digest(data), **by, **good), True)


def failed(
    photo: PhotoRecord, error: ApiError, started: float | None = None, data: bytes | None = None, **by: str
) -> Line:
    """Why there are no labels; `data` None where it was not fetched, `by` the model where one answered."""
    why = {"code": error.code, "detail": error.detail, "hint": error.hint}
    digest = None if data is None else _digest(data)
    return Line(photo, _text(photo, started, sha256=digest, **by, error=why), False)


def unfinished(photo: PhotoRecord) -> Line:
    """The line of a photo whose job was cancelled before its turn."""
    error = ApiError("conflict", "The job was cancelled before this photo's turn.", "Start another job for it.")
    return failed(photo, error)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _text(photo: PhotoRecord, started: float | None, **known: Any) -> str:
    """All names in the client's order, whatever is known of them."""
    document = {
        "path": photo.path,
        "sha256": known.get("sha256"),
        "status": "error" if "error" in known else "ok",
        "predictions": known.get("predictions", []),
        "decision": known.get("decision"),
        "error": known.get("error"),
        "model": known.get("model"),
        "version": known.get("version"),
        "ms": 0.0 if started is None else round((time.perf_counter() - started) * 1e3, 1),
        "options": None,  # those of a client that shrinks
    }
    return json.dumps(document, ensure_ascii=False)
