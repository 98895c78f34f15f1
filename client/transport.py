"""HTTP to the API: one session a thread, retries by tenacity, and every answer typed or raised.

Photos are classified, never stored, so that sending one twice does no harm and POST is retried like GET.
"""

from __future__ import annotations

import email.utils
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError

from client.errors import ApiError, ClientError, PhotoError, UnreachableError
from lambda_api.schema import ERRORS, RETRYABLE

if TYPE_CHECKING:
    from tenacity import RetryCallState, Retrying

    from client.forms import Form

CONNECT_SECONDS = 5.0
"""Longest wait for a connection, in seconds; `--timeout` is for the answer."""

MAX_RETRY_AFTER = 30.0
"""Longest Retry-After obeyed, in seconds: beyond it a failed line is worth more than a silent wait."""

FIRST_WAIT, LONGEST_WAIT, JITTER = 0.5, 8.0, 0.5
"""Seconds before the first retry, doubled for each further one up to the longest; jitter is added, up to this many."""

TRIES, CURT_TRIES = 5, 3
"""Tries for a photo, and for a GET, whose answer a person waits for."""

SLOW_TRIES = 2
"""How often an answer that does not come in time, or a 504, is waited for: each costs half a minute."""

SLOW = ("timeout", "endpoint_timeout")
"""Codes of answers that did not come in time."""

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_CODES = {status: code for code, (status, _) in reversed(list(ERRORS.items()))}
_RERUN = "Check the URL and that the API runs (on one machine: `python -m local_stack up`); then run it again."
_HINTS = {
    "forbidden": "Check the API key: --api-key, WHIPPET_API_KEY or the profile file.",
    "throttled": "Lower --concurrency, then run this again.",
    "not_found": "Check the URL: it ends with the stage, such as /prod on AWS, and has no /v1.",
    "endpoint_unavailable": _RERUN,
    "endpoint_failed": _RERUN,
    "endpoint_timeout": _RERUN,
}


@dataclass(frozen=True)
class Body:
    """What a POST carries: its bytes, their media type, and parameters of the URL."""

    data: bytes | Form
    media_type: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Patience:
    """How a request is tried: how often, who is told of each failed try, and who may say that it is enough."""

    tries: int = TRIES
    failed: Callable[[ClientError], None] = lambda error: None
    enough: Callable[[], bool] = lambda: False
    sleep: Callable[[float], None] = time.sleep


PATIENT, CURT, ONCE = Patience(), Patience(CURT_TRIES), Patience(1)


class Transport:
    """Talks to one API. Safe to use from many threads; each keeps its own connection alive."""

    def __init__(self, url: str, api_key: str | None, timeout: float) -> None:
        self.url = url.rstrip("/")
        self._api_key = api_key
        self._timeout = timeout
        self._sessions: dict[threading.Thread, requests.Session] = {}
        self._lock = threading.Lock()

    def get(self, route: str, patience: Patience = CURT) -> dict[str, Any]:
        """The JSON of a GET; ApiError or UnreachableError once the tries are used up."""
        return self._request("GET", route, patience, None)

    def post(self, route: str, body: Body, patience: Patience = PATIENT) -> dict[str, Any]:
        """The JSON of a POST; ApiError or UnreachableError once the tries are used up."""
        return self._request("POST", route, patience, body)

    def send_form(
        self, url: str, fields: Mapping[str, str], photo: bytes, media_type: str, patience: Patience = PATIENT
    ) -> None:
        """Send a form that the API has signed to the store it names, without the key.

        PhotoError if it is refused; ApiError or UnreachableError once the tries are used up.
        """
        files = {"file": ("photo", photo, media_type)}

        def send() -> None:
            try:
                response = requests.post(url, dict(fields), files=files, timeout=(CONNECT_SECONDS, self._timeout))
            except requests.RequestException as error:
                raise self._no_answer(error, f"the store of uploads, {urlsplit(url).netloc},") from error
            fact = f"The upload was refused with status {response.status_code}."
            if response.status_code == 429 or response.status_code >= 500:  # as the API's own 503: worth another try
                raise ApiError(503, "upload_failed", fact, "Run it again later.")
            if not response.ok:
                raise PhotoError("upload_failed", fact, "Drop --no-shrink and it is small enough to be sent directly.")

        _retrying(patience)(send)

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            while self._sessions:
                self._sessions.popitem()[1].close()

    def _request(self, method: str, route: str, patience: Patience, body: Body | None) -> dict[str, Any]:
        answer: dict[str, Any] = _retrying(patience)(self._once, method, route, body)
        return answer

    def _once(self, method: str, route: str, body: Body | None) -> dict[str, Any]:
        try:
            response = self._session().request(
                method,
                self.url + route,
                data=body.data if body else None,
                headers={"Content-Type": body.media_type} if body else None,
                params=body.params if body else None,
                timeout=(CONNECT_SECONDS, self._timeout),
                allow_redirects=False,  # the key is for this server only
            )
        except requests.RequestException as error:
            raise self._no_answer(error) from error
        return _answer(response)

    def _session(self) -> requests.Session:
        thread = threading.current_thread()
        with self._lock:
            if thread not in self._sessions:
                for over in [each for each in self._sessions if not each.is_alive()]:
                    self._sessions.pop(over).close()
                self._sessions[thread] = self._new_session()
            return self._sessions[thread]

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=1))
        session.headers.update({"Accept": "application/json", "User-Agent": "whippet-client"})
        if self._api_key:
            session.headers["x-api-key"] = self._api_key
        if urlsplit(self.url).hostname in _LOOPBACK:
            session.trust_env = False  # a proxy of the environment cannot reach this machine's own ports
        return session

    def _no_answer(self, error: requests.RequestException, where: str = "") -> UnreachableError:
        where = where or self.url
        _let_go(error)
        if _timed_out(error):
            hint = f"Raise --timeout, or lower --concurrency. {_RERUN}"
            return UnreachableError("timeout", f"No answer from {where} within {self._timeout:g} s.", hint)
        if isinstance(error, requests.exceptions.SSLError):
            hint = "Check the address and this machine's clock and certificates."
            return UnreachableError("unreachable", f"{where} shows no valid certificate.", hint)
        return UnreachableError("unreachable", f"{where} cannot be reached.", _RERUN)


def _let_go(error: BaseException | None) -> None:
    """Forget the frames that an error came through: they hold what was sent, and some of urllib3's hold themselves."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error.__traceback__ = None
        error = error.__context__


def _timed_out(error: requests.RequestException) -> bool:
    """Whether the answer did not come in time, or stopped half-way, which requests tells as a lost connection."""
    return isinstance(error, requests.ReadTimeout) or any(isinstance(why, ReadTimeoutError) for why in error.args)


def is_transient(error: BaseException) -> bool:
    """Whether another try may help: no answer came, or one that says so by its status."""
    return isinstance(error, UnreachableError) or (isinstance(error, ApiError) and error.status in RETRYABLE)


def _retrying(patience: Patience) -> Retrying:
    """tenacity's loop: transient errors only, Retry-After before backoff, slow answers waited for less often."""
    import tenacity

    backoff = tenacity.wait_exponential(FIRST_WAIT, LONGEST_WAIT) + tenacity.wait_random(0, JITTER)
    slow = 0

    def wait(state: RetryCallState) -> float:
        error = state.outcome and state.outcome.exception()
        asked = error.retry_after if isinstance(error, ApiError) else None
        return backoff(state) if asked is None else min(asked, MAX_RETRY_AFTER)

    def tried(state: RetryCallState) -> None:
        nonlocal slow
        error = state.outcome and state.outcome.exception()
        if isinstance(error, ClientError) and is_transient(error):
            slow += error.code in SLOW
            patience.failed(error)

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_transient),
        wait=wait,
        stop=lambda state: state.attempt_number >= patience.tries or slow >= SLOW_TRIES or patience.enough(),
        after=tried,
        sleep=patience.sleep,
        reraise=True,
    )


def _answer(response: requests.Response) -> dict[str, Any]:
    """The JSON object of a good answer; ApiError for any other."""
    try:
        data = response.json()
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise bad_answer(response.status_code)
    if response.status_code not in (200, 201):
        raise _problem(response, data)
    return data


def bad_answer(status: int) -> ApiError:
    """The error for an answer that is not the API's: a proxy's page, a redirect, a stranger's JSON."""
    fact = f"The answer (status {status}) is not one of this API's."
    return ApiError(status, "bad_answer", fact, "Check the URL and what is in between: a proxy, a login page.")


def _problem(response: requests.Response, data: dict[str, Any]) -> ApiError:
    """The error of a problem document, or of a gateway's `{"message": …}`, whose status says it all."""
    status = response.status_code
    code = data.get("code") or _CODES.get(403 if status == 401 else status)
    if not isinstance(code, str):
        return bad_answer(status)
    detail = data.get("detail") or f"{ERRORS[code][1] if code in ERRORS else 'The API refused it'}."
    hint = data.get("hint") or _HINTS.get(code, "")
    asked = _seconds(response.headers.get("Retry-After", ""))
    return ApiError(status, code, str(detail), str(hint), str(data.get("request_id") or ""), asked)


def _seconds(retry_after: str) -> float | None:
    """A Retry-After in seconds from now (RFC 9110, 10.2.3: a number of them, or a date); None where it is neither."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        moment = email.utils.parsedate_to_datetime(retry_after)
    except (TypeError, ValueError):
        return None
    return max(0.0, moment.timestamp() - time.time())
