"""HTTP to the API: one session a thread, retries by urllib3, and every answer typed or raised.

Photos are classified, never stored, so that sending one twice does no harm and POST is retried like GET.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import InvalidHeader, MaxRetryError, ReadTimeoutError
from urllib3.util.retry import Retry

from client.errors import ApiError, ClientError, UnreachableError
from lambda_api.schema import ERRORS, RETRYABLE

if TYPE_CHECKING:
    from types import TracebackType

    from urllib3.connectionpool import ConnectionPool
    from urllib3.response import BaseHTTPResponse

CONNECT_SECONDS = 5.0
"""Longest wait for a connection, in seconds; `--timeout` is for the answer."""

MAX_RETRY_AFTER = 30
"""Longest Retry-After obeyed, in seconds: beyond it a failed line is worth more than a silent wait."""

SLOW_TRIES = 2
"""How often an answer that does not come in time, or a 504, is waited for: each costs half a minute."""

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_DOWN = frozenset({"unreachable", "timeout"})
_DOWN_STATUS = frozenset({502, 503, 504})
_CODES = {status: code for code, (status, _) in reversed(list(ERRORS.items()))}
_RERUN = "Check the URL and that the API runs (on one machine: `python -m local_stack up`); then run it again."
_HINTS = {
    "forbidden": "Check the API key: --api-key, WHIPPET_API_KEY or the profile file.",
    "throttled": "Lower --concurrency, then run this again.",
    "not_found": "Check the URL: it ends with the stage, such as /prod on AWS.",
    "endpoint_unavailable": _RERUN,
    "endpoint_failed": _RERUN,
    "endpoint_timeout": _RERUN,
}


class _Retry(Retry):
    """urllib3's retry with Retry-After capped, and slow answers waited for less often than others."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> _Retry:
        left = super().increment(method, url, response, error, _pool, _stacktrace)
        slow = [step for step in left.history if isinstance(step.error, ReadTimeoutError) or step.status == 504]
        if len(slow) >= SLOW_TRIES:
            raise MaxRetryError(cast("ConnectionPool", _pool), url or "", error)
        return left

    def parse_retry_after(self, retry_after: str) -> float:
        try:
            return min(super().parse_retry_after(retry_after), MAX_RETRY_AFTER)
        except InvalidHeader:
            return 0  # which means: back off as without the header


def _retries(total: int) -> Retry:
    return _Retry(
        total=total,
        redirect=False,
        backoff_factor=0.5,
        backoff_jitter=0.5,
        backoff_max=8,
        status_forcelist=RETRYABLE,
        allowed_methods=None,
        respect_retry_after_header=True,
        raise_on_status=False,
    )


_PATIENT, _CURT, _ONCE = _retries(4), _retries(2), _retries(0)


class Transport:
    """Talks to one API. Safe to use from many threads; each keeps its own connection alive.

    Once a request has used up its retries because the API is down, the following ones try once each,
    until one succeeds: a dead API costs ten seconds a run, not ten seconds a photo.
    """

    def __init__(self, url: str, api_key: str | None, timeout: float) -> None:
        self.url = url.rstrip("/")
        self._api_key = api_key
        self._timeout = timeout
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._down = False

    def get(self, route: str) -> dict[str, Any]:
        """The JSON of a GET; ApiError or UnreachableError, within few retries since a person waits."""
        return self._request("GET", route, _CURT)

    def post(self, route: str, body: bytes, media_type: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON of a POST of raw bytes; ApiError or UnreachableError once the retries are used up."""
        retries = _ONCE if self._down else _PATIENT
        try:
            answer = self._request("POST", route, retries, body, {"Content-Type": media_type}, params)
        except ClientError as error:
            if _is_down(error):
                self._down = True
            raise
        self._down = False
        return answer

    def close(self) -> None:
        """Close the connections of all threads."""
        while self._sessions:
            self._sessions.pop().close()

    def _request(
        self,
        method: str,
        route: str,
        retries: Retry,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        session = self._session(retries)
        try:
            response = session.request(
                method,
                self.url + route,
                data=body,
                headers=headers,
                params=params,
                timeout=(CONNECT_SECONDS, self._timeout),
                allow_redirects=False,  # the key is for this server only
            )
        except requests.RequestException as error:
            raise self._no_answer(error) from error
        return _answer(response)

    def _session(self, retries: Retry) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = self._new_session()
        session.get_adapter(self.url).max_retries = retries  # type: ignore[attr-defined]  # an HTTPAdapter
        return session

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=1))
        session.headers.update({"Accept": "application/json", "User-Agent": "whippet-client"})
        if self._api_key:
            session.headers["x-api-key"] = self._api_key
        if urlsplit(self.url).hostname in _LOOPBACK:
            session.trust_env = False  # a proxy of the environment cannot reach this machine's own ports
        self._sessions.append(session)
        return session

    def _no_answer(self, error: requests.RequestException) -> UnreachableError:
        if isinstance(error, requests.Timeout) or isinstance(_reason(error), ReadTimeoutError):
            hint = f"Raise --timeout, or lower --concurrency. {_RERUN}"
            return UnreachableError("timeout", f"No answer from {self.url} within {self._timeout:g} s.", hint)
        if isinstance(error, requests.exceptions.SSLError):
            hint = "Check the address and this machine's clock and certificates."
            return UnreachableError("unreachable", f"{self.url} shows no valid certificate.", hint)
        return UnreachableError("unreachable", f"{self.url} cannot be reached.", _RERUN)


def _reason(error: requests.RequestException) -> Exception | None:
    """What used up the retries: requests wraps it twice."""
    inner = error.args[0] if error.args else None
    return inner.reason if isinstance(inner, MaxRetryError) else None


def _is_down(error: ClientError) -> bool:
    return error.code in _DOWN or (isinstance(error, ApiError) and error.status in _DOWN_STATUS)


def _answer(response: requests.Response) -> dict[str, Any]:
    """The JSON object of a good answer; ApiError for any other."""
    try:
        data = response.json()
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise bad_answer(response.status_code)
    if response.status_code != 200:
        raise _problem(response.status_code, data)
    return data


def bad_answer(status: int) -> ApiError:
    """The error for an answer that is not the API's: a proxy's page, a redirect, a stranger's JSON."""
    fact = f"The answer (status {status}) is not one of this API's."
    return ApiError(status, "bad_answer", fact, "Check the URL and what is in between: a proxy, a login page.")


def _problem(status: int, data: dict[str, Any]) -> ApiError:
    """The error of a problem document, or of a gateway's `{"message": …}`, whose status says it all."""
    code = data.get("code") or _CODES.get(403 if status == 401 else status)
    if not isinstance(code, str):
        return bad_answer(status)
    detail = data.get("detail") or f"{ERRORS[code][1] if code in ERRORS else 'The API refused it'}."
    hint = data.get("hint") or _HINTS.get(code, "")
    return ApiError(status, code, str(detail), str(hint), str(data.get("request_id") or ""))
