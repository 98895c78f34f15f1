"""Lambda's execution environments on one machine: processes that each work on one event at a time.

Powertools keeps the current event on its class, as Lambda's own rule allows; threads would see each other's.
"""

from __future__ import annotations

import importlib
import json
import logging
import multiprocessing
import os
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger("whippet.function")

FUNCTION_NAME = "whippet-local"
_handler: Any = None
_timeout = 28.0
"""The function's, in seconds."""

MAX_TEMPORARY = 70
"""Longest name of the folder for temporary files, in bytes, that leaves room for the socket of forked processes: its
path may have 107 bytes on Linux, 103 on macOS."""


@dataclass(frozen=True)
class Context:
    """The Lambda context object, as far as handlers and powertools use it."""

    aws_request_id: str
    function_name: str = FUNCTION_NAME
    function_version: str = "$LATEST"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = f"arn:aws:lambda:local:000000000000:function:{FUNCTION_NAME}"
    log_group_name: str = f"/aws/lambda/{FUNCTION_NAME}"
    log_stream_name: str = "local"
    client_context: Any = None
    identity: Any = None
    tags: dict[str, str] = field(default_factory=dict)
    deadline: float = field(default_factory=lambda: time.monotonic() + _timeout)

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda would end the process; `deadline` is by the monotonic clock."""
        return max(0, round((self.deadline - time.monotonic()) * 1000))


def _context(handler: str) -> Any:
    """How processes start: where the system can, forked from one that imported the handler, which is quicker."""
    methods = multiprocessing.get_all_start_methods()
    shares = "forkserver" in methods and len(os.fsencode(tempfile.gettempdir())) <= MAX_TEMPORARY
    context = multiprocessing.get_context("forkserver" if shares else "spawn")
    if shares:
        context.set_forkserver_preload([__name__, handler.rpartition(".")[0]])
    return context


class Failed(Exception):
    """The function did not answer."""


class Raised(Failed):
    """It raised an exception, which is in the log."""


class Died(Failed):
    """Its process ended."""


class TooSlow(Failed):
    """It took more than its time, and was ended."""


_starts_and_ends = threading.Lock()
"""Multiprocessing looks at all its children when one starts, which must not meet the end of another."""


class Environment:
    """One execution environment: a process that works on one event at a time, `timeout` seconds at most.

    It starts with its first event; one that died is replaced with the next. No other dies with it, as in a pool.
    """

    def __init__(self, handler: str, timeout: float) -> None:
        self._handler, self._timeout = handler, timeout
        self._process: Any = None
        self._pipe: Any = None

    def invoke(self, event: str) -> Any:
        """The handler's answer to an event, JSON text; Raised, Died or TooSlow if there is none."""
        self.warm()
        try:
            self._pipe.send(event)
            if not self._pipe.poll(self._timeout):
                raise TooSlow(f"the function took more than {self._timeout:g} s")
            done, answer = self._pipe.recv()
        except (EOFError, OSError):
            raise Died(f"the function's process ended with code {self._ended()}") from None
        except TooSlow:
            self.close()
            raise
        if not done:
            raise Raised(answer)
        return answer

    def warm(self) -> None:
        """Start the process now, so that the first event need not wait for it."""
        if self._process is None:
            self._begin()

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._ended(patience=0)

    def _ended(self, patience: float = 1.0) -> int | None:
        """The exit code of a process that ends within so many seconds or is made to."""
        with _starts_and_ends:
            self._process.join(patience)
            self._process.kill()
            self._process.join()
            code: int | None = self._process.exitcode
        self._pipe.close()
        self._process = None
        return code

    def _begin(self) -> None:
        context = _context(self._handler)
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._handler, self._timeout, theirs), daemon=True)
        with _starts_and_ends:
            self._process.start()
        theirs.close()


def _serve(handler: str, timeout: float, pipe: Any) -> None:
    """An environment's process: events in, answers out, until the other end closes."""
    _start(handler, timeout)
    while True:
        try:
            event = pipe.recv()
        except EOFError:
            return
        answer: tuple[bool, Any]
        try:
            answer = (True, _invoke(event))
        except Exception as error:
            log.exception("the function failed")
            answer = (False, f"the function raised {type(error).__name__}")
        pipe.send(answer)


def _start(handler: str, timeout: float) -> None:
    """Load the handler; end with the gateway, even if that was killed."""
    global _handler, _timeout
    _timeout = timeout
    module, _, name = handler.rpartition(".")
    _handler = getattr(importlib.import_module(module), name)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def _invoke(event: str) -> dict[str, Any]:
    result: dict[str, Any] = _handler(json.loads(event), Context(str(uuid.uuid4())))
    return result
