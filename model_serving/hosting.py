"""A server process that others start: bind first, serve an ASGI application, end with the parent."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import Any

from .errors import PortError


def bind(host: str, port: int) -> tuple[socket.socket, str]:
    """A listening socket and its URL; port 0 takes a free one. PortError if the port cannot be used.

    Bound before the seconds that loading takes, so that a taken port is told at once; who connects meanwhile waits.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if os.name == "posix":
        # Elsewhere the option would let two servers share a port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise PortError(
            f"port {port} of {host} cannot be used ({error.strerror}). Take another, or --port 0."
        ) from None
    listener.listen(1024)
    shown = f"[{host}]" if ":" in host else host
    return listener, f"http://{shown}:{listener.getsockname()[1]}"


def announce(line: str) -> None:
    """Print the one line that a parent waits for; whatever is printed later goes where the log goes.

    The parent reads no more than that line, and a pipe that nobody drains stops its writers after 64 kB.
    """
    print(line, flush=True)
    os.dup2(2, 1)


def end_with_parent() -> None:
    """Stop when standard input closes: a pipe that the parent holds ends with it, even by kill -9."""

    def watch() -> None:
        # Not through sys.stdin: its lock, held here, would abort the interpreter's own exit.
        while os.read(0, 1):
            continue
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def run(application: Any, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM; running requests get 30 s to end."""
    import uvicorn

    config = uvicorn.Config(
        application, log_level="warning", access_log=False, timeout_graceful_shutdown=30, timeout_keep_alive=75
    )
    uvicorn.Server(config).run(sockets=[listener])
