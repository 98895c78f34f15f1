"""What became of a photo: predictions, or the reason why there are none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from client.errors import ClientError
from lambda_api.schema import Decision, Prediction, parse_predictions

CLIENT_ERROR = "client_error"
"""The code of failures that are the client's own, such as too little memory: they say nothing of the photo."""


@dataclass(frozen=True)
class Failure:
    """Why a photo has no predictions: a stable code, the fact, and what to do about it."""

    code: str
    detail: str
    hint: str

    @classmethod
    def of(cls, error: ClientError) -> Failure:
        """The failure that an exception stands for."""
        return cls(error.code, error.detail, error.hint)


@dataclass(frozen=True)
class Outcome:
    """One photo's result. Exactly one of `predictions` (by falling score) and `error` says something.

    `sha256` is that of the file as it lies on disk, None where it could not be read. `ms` is the wall
    time in milliseconds for reading, shrinking and asking, retries and waits included. `path` is the
    name as given, with undecodable bytes as surrogates, and empty for photos handed over as bytes.
    `options` are those of the client that change a result, such as `top_k=5 shrink=2`; None where nobody noted them.
    """

    path: str
    sha256: str | None = None
    predictions: tuple[Prediction, ...] = ()
    decision: Decision | None = None
    error: Failure | None = None
    model: str | None = None
    version: str | None = None
    ms: float = 0.0
    options: str | None = None

    @classmethod
    def from_dict(cls, data: Any) -> Outcome:
        """The outcome of a JSON line's object; what a line may lack is None. ValueError where it is no result line."""
        try:
            path, sha256 = data["path"], data.get("sha256")
            if not isinstance(path, str) or not isinstance(sha256, (str, type(None))):
                raise TypeError(path)
            predictions = tuple(parse_predictions(data.get("predictions") or ()))
            for prediction in predictions:
                _finite(prediction.score)
            return cls(
                path,
                sha256,
                predictions,
                _decision(data.get("decision")),
                _failure(data),
                data.get("model"),
                data.get("version"),
                _finite(data.get("ms") or 0.0),
                data.get("options"),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError("not a result line") from error

    @property
    def ok(self) -> bool:
        """Whether the photo was classified."""
        return self.error is None

    @property
    def status(self) -> str:
        """`ok` or `error`, as the result line says it."""
        return "ok" if self.ok else "error"

    @property
    def label(self) -> str | None:
        """The best label, None for a failed photo."""
        return self.predictions[0].label if self.predictions else None

    def to_dict(self) -> dict[str, Any]:
        """The JSON line's object."""
        predictions = [{"label": p.label, "class_id": p.class_id, "score": p.score} for p in self.predictions]
        error = self.error and {
            "code": self.error.code,
            "detail": self.error.detail,
            "hint": self.error.hint,
        }
        return {
            "path": self.path,
            "sha256": self.sha256,
            "status": self.status,
            "predictions": predictions,
            "decision": self.decision,
            "error": error,
            "model": self.model,
            "version": self.version,
            "ms": self.ms,
            "options": self.options,
        }


def _finite(value: Any) -> float:
    """A number; ValueError for what Python's JSON takes for one and nobody else's."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _decision(value: Any) -> Decision | None:
    if value is not None and value not in get_args(Decision):
        raise ValueError(value)
    decision: Decision | None = value
    return decision


def _failure(data: Mapping[str, Any]) -> Failure | None:
    """The error of a line; ValueError where its status and what it holds contradict each other."""
    error = data.get("error")
    if data["status"] not in ("ok", "error") or (data["status"] == "ok") == bool(error):
        raise ValueError(data["status"])
    if error is None:
        if not data.get("predictions"):
            raise ValueError("no predictions")
        return None
    return Failure(str(error["code"]), str(error.get("detail", "")), str(error.get("hint", "")))
