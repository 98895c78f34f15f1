"""`--local`: a one-machine stack just for this run, and gone with it."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

from client.errors import NoApiError
from client.stack import Stack

START_SECONDS = 120
"""Longest wait for the stack to be ready, in seconds: the first start may build the default model."""

STOP_SECONDS = 15
"""Longest wait for it to end by itself, in seconds, before it is killed."""

_TAIL = 10


@contextlib.contextmanager
def started(model: str | None = None) -> Iterator[Stack]:
    """A stack of its own, serving `model` (an archive) or the default one; NoApiError if it does not start.

    It is stopped on the way out, whatever the way.
    """
    # Neither uploads nor jobs: photos are sent directly.
    command = [sys.executable, "-m", "local_stack", "up", "--json", "--port", "0", "--no-jobs"]
    if model is not None:
        command += ["--model", model]
    with tempfile.TemporaryFile() as errors:
        # A session of its own, so that Ctrl-C ends the run first and the stack only after it.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            yield _description(process, errors)
        finally:
            _stop(process)


def _description(process: subprocess.Popen[bytes], errors: IO[bytes]) -> Stack:
    """The line it prints when it is ready."""
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_pump, args=(process, lines), daemon=True).start()
    try:
        return Stack.from_json(lines.get(timeout=START_SECONDS))
    except queue.Empty:
        fact = f"The one-machine stack was not ready within {START_SECONDS} s."
        raise NoApiError(fact, _advice(errors)) from None
    except ValueError:
        raise NoApiError("The one-machine stack did not start.", _advice(errors)) from None


def _pump(process: subprocess.Popen[bytes], lines: queue.Queue[bytes]) -> None:
    """Hand over every line of its output, or an empty one at its end, so that the pipe never fills."""
    assert process.stdout is not None
    with process.stdout as output:
        for line in output:
            lines.put(line)
    lines.put(b"")


def _advice(errors: IO[bytes]) -> str:
    errors.seek(0)
    tail = errors.read().decode("utf-8", "replace").strip().splitlines()[-_TAIL:]
    said = "\n".join(["It said:", *tail]) if tail else "It said nothing."
    return f"Try `python -m local_stack up` by itself. {said}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End it and all it started; a second Ctrl-C must not leave any of it behind."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _kill(process)
    except BaseException:
        _kill(process)
        raise


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)  # its parts live in its session
    process.wait()
