"""What became of a photo: predictions, or the reason why there are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from client.errors import ClientError
from lambda_api.schema import Decision, Prediction


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
    """

    path: str
    sha256: str | None = None
    predictions: tuple[Prediction, ...] = ()
    decision: Decision | None = None
    error: Failure | None = None
    model: str | None = None
    version: str | None = None
    ms: float = 0.0

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
        }
