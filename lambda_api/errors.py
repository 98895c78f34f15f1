"""Errors of the API: one class, told apart by the codes of `schema.ERRORS`.

ApiError
├── EndpointError     the model endpoint's fault or state (502, 503, 504, 429)
└── (itself)          the caller's fault (4xx)
"""

from __future__ import annotations

from .schema import ERRORS, ItemError, Problem, problem

RETRY_SECONDS = 5
"""What Retry-After says: an endpoint that scales or restarts takes longer than a second."""


class ApiError(Exception):
    """An answer other than 200: a code of `schema.ERRORS`, what happened, and what to do."""

    def __init__(self, code: str, detail: str, hint: str) -> None:
        super().__init__(detail)
        self.status, _ = ERRORS[code]
        self.code = code
        self.detail = detail
        self.hint = hint

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After in seconds for the statuses that pass by themselves."""
        return {"Retry-After": str(RETRY_SECONDS)} if self.status in (429, 503) else {}

    def as_problem(self, request_id: str) -> Problem:
        """The whole answer's document."""
        return problem(self.code, self.detail, self.hint, request_id)

    def as_item(self) -> ItemError:
        """The same for one photo of a batch."""
        return ItemError(self.status, self.code, self.detail, self.hint)


class EndpointError(ApiError):
    """The endpoint failed, is missing, busy or too slow."""
