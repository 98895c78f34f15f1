"""What tests ask of a running one-machine stack."""

from __future__ import annotations

import subprocess
import threading

import psutil
import requests

from local_stack.stack import Description


def classify(stack: Description, body: bytes, content_type: str = "image/jpeg", **query: str) -> requests.Response:
    """One photo, raw."""
    headers = {"x-api-key": stack.api_key, "Content-Type": content_type}
    return requests.post(f"{stack.url}/v1/classify", body, params=query, headers=headers, timeout=60)


def parts(process: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """The running parts of a stack by their command."""
    children = psutil.Process(process.pid).children()
    return {child.cmdline()[3]: child for child in children}


class Memory:
    """What a process and those below it take, looked at ten times a second while the context lasts.

    Pages that several share count once, in parts (`Pss`, proc(5)); elsewhere than on Linux they count every time. The
    kernel's own peaks cannot be added up: they hold pages of torch's libraries that idle processes have given back.
    """

    def __init__(self, pid: int) -> None:
        self.peak = 0
        """Bytes."""
        self._pid = pid
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look)

    def __enter__(self) -> Memory:
        self._looking.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._looking.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            family = [psutil.Process(self._pid), *psutil.Process(self._pid).children(recursive=True)]
            self.peak = max(self.peak, sum(map(_held, family)))


def _held(process: psutil.Process) -> int:
    try:
        held = process.memory_full_info()
    except psutil.NoSuchProcess:
        return 0
    return int(getattr(held, "pss", held.rss))
