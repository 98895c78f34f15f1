"""A real browser that opens a page: Chromium, spoken to through a pipe."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


class Tab:
    """One page of a browser; what it asked for and complained of is kept."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._buffer, self._number = write, read, b"", 0
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol and its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            more = os.read(self._read, 1 << 16)
            assert more, "the browser has gone"
            self._buffer += more
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        if event["method"] in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.complaints.append(json.dumps(event["params"])[:500])
        if event["method"] == "Network.requestWillBeSent":
            self.requests.append(event["params"]["request"]["url"])

    def value(self, script: str) -> Any:
        """What the script comes to in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return found["result"].get("value")

    def open(self, path: Path, width: int, height: int, *, dark: bool = False) -> None:
        """Show the page in a window of that size."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        window = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **window)
        self.visit(path.as_uri())

    def visit(self, url: str) -> None:
        """Go to an address and wait until all of it is there."""
        self.call("Page.navigate", url=url)
        self.until(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def until(self, script: str, seconds: float = 60) -> None:
        """Wait until the script is true."""
        end = time.monotonic() + seconds
        while not self.value(script):
            assert time.monotonic() < end, f"never: {script}"
            time.sleep(0.1)


@contextmanager
def browser(profile: Path) -> Iterator[Tab]:
    """A browser with one tab; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    (its_read, our_write), (our_read, its_write) = os.pipe(), os.pipe()
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (its_read, its_write)]

    def connect() -> None:
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        [found, *options, "--remote-debugging-pipe"],
        pass_fds=(3, 4),
        preexec_fn=connect,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for fd in (its_read, its_write, *high):
        os.close(fd)
    try:
        yield Tab(our_write, our_read)
    finally:
        process.terminate()
        process.wait()
        os.close(our_write)
        os.close(our_read)


WIDEST = "document.documentElement.scrollWidth"
DRAWN = "[...document.querySelectorAll('.plot')].filter((plot) => plot.data && plot.querySelector('.main-svg')).length"


def assert_drawn(path: Path, profile: Path, plots: int) -> None:
    """On a phone and on a dark desktop: all plots are drawn, no line runs out of the page, nothing is complained of."""
    with browser(profile) as tab:
        for width, dark in ((360, False), (1280, True)):
            # As tall as the page: plots are drawn when they come near the window.
            tab.open(path, width, 20_000, dark=dark)
            tab.value("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
            tab.until(f"{DRAWN} === {plots}")
            assert tab.value(WIDEST) <= width
        assert not tab.complaints, tab.complaints
        assert {url for url in tab.requests if not url.startswith(("data:", "blob:"))} == {path.as_uri()}
