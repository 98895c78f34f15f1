"""What can go wrong, as one tree. Callers branch on the class and on `code`, never on text.

ClientError            code, detail (the fact), hint (the mend)
├── UsageError         the command, a setting or a name is wrong; nothing was sent
├── NoApiError         no API is configured and no one-machine stack runs (or it would not start)
├── UnreachableError   no answer came: `unreachable` or `timeout`
├── ApiError           the API answered with an error: also status and request_id
└── PhotoError         this photo cannot be sent: `unreadable`, `bad_image`, `too_large`,
                       `unsupported_media_type`, `upload_failed`
"""

from __future__ import annotations


class ClientError(Exception):
    """Base of all expected errors; `str()` gives the fact and the mend in one line."""

    def __init__(self, code: str, detail: str, hint: str = "") -> None:
        super().__init__(f"{detail} {hint}".strip())
        self.code = code
        self.detail = detail
        self.hint = hint


class UsageError(ClientError):
    """The command or a setting is wrong; raised before anything is sent."""

    def __init__(self, detail: str, hint: str = "") -> None:
        super().__init__("usage", detail, hint)


class NoApiError(ClientError):
    """There is no API to talk to."""

    def __init__(self, detail: str, hint: str = "") -> None:
        super().__init__("no_api", detail, hint)


class UnreachableError(ClientError):
    """No answer came: the connection failed (`unreachable`), or it took too long (`timeout`)."""


class ApiError(ClientError):
    """The API answered with an error; `code` is one of the API's own, or `bad_answer`.

    `retry_after` is what it asks to wait before another try, in seconds, if it asks.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        hint: str = "",
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, detail, hint)
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after


class PhotoError(ClientError):
    """This photo cannot be sent; others can. The detail never holds a path."""
