"""A stand-in for the API that is fast, misbehaves by a plan, dies and comes back, and remembers what it answered."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import requests

from client import photo
from tests.chaos_server import MODEL, Plan, labels_of, read_record
from tests.conftest import ROOT
from tests.fake_api import KEY

__all__ = ["CALM", "NASTY", "ChaosApi", "Plan", "chaos_api", "expected", "sent_bytes", "sent_hash"]

CALM = Plan()

NASTY = Plan(
    throttled=0.03,
    unavailable=0.02,
    failed=0.02,
    late=0.01,
    gateway=0.01,
    hung_up=0.02,
    reset=0.02,
    half=0.02,
    slow=0.03,
    item=0.04,
    slow_seconds=0.5,
    batch=10,
)
"""Of everything something: a fifth of the requests, and many requests."""


class ChaosApi:
    """The running stand-in; its record lies in `folder`. Use it in a `with`."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._record = folder / "record.jsonl"
        self._life = 0
        self._down = plan.down
        self._closing = threading.Event()
        self._up = threading.Event()
        self._process, self.url = self._start(0)
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def answered(self) -> Counter[str]:
        """How often each photo, by the SHA-256 of what was sent, got an answer that was delivered completely."""
        return Counter(line["answered"] for line in self._lines() if "answered" in line)

    def ids(self) -> dict[str, str]:
        """Under which name in its batch each photo was sent that was answered last; empty where it came alone."""
        return {line["answered"]: line["id"] for line in self._lines() if "answered" in line}

    def again(self) -> list[str]:
        """Photos that arrived although they had been answered before."""
        return [line["again"] for line in self._lines() if "again" in line]

    def faults(self) -> Counter[str]:
        """How often it misbehaved in which way, by the names of the plan."""
        return Counter(line["fault"] for line in self._lines() if "fault" in line)

    def restart(self, down: float = 3.0) -> None:
        """Kill the process, as power loss would, and have it back on its port after `down` seconds."""
        self._down = down
        self._up.clear()
        self._process.kill()
        assert self._up.wait(down + 30), "the stand-in did not come back"

    @property
    def deaths(self) -> int:
        """How often it was killed so far, by the plan or by `restart`."""
        return self._life

    def close(self) -> None:
        """End it."""
        self._closing.set()
        self._process.kill()
        self._keeper.join()

    def _lines(self) -> list[dict[str, str]]:
        """The record, after everything that was answered until now is in it: the server does one thing at a time."""
        with suppress(requests.ConnectionError):  # it is dead: all is written
            requests.get(f"{self.url}/v1/health", headers={"x-api-key": KEY}, timeout=30)
        return read_record(self._record)

    def _start(self, port: int) -> tuple[subprocess.Popen[str], str]:
        settings = json.dumps(asdict(self._plan))
        command = [sys.executable, "-m", "tests.chaos_server", settings, str(port), str(self._record), str(self._life)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, "the stand-in did not start"
        return process, url

    def _keep(self) -> None:
        """Bring it back whenever it has died."""
        while True:
            _buried(self._process)
            if self._closing.wait(self._down):
                return
            self._life += 1
            self._process, _ = self._start(int(urlsplit(self.url).port or 0))
            if self._closing.is_set():
                self._process.kill()
            self._up.set()


def _buried(process: subprocess.Popen[str]) -> None:
    """Wait for its end; not as its `with` does, which would end it."""
    process.wait()
    process.communicate()


@contextmanager
def chaos_api(plan: Plan = CALM) -> Iterator[ChaosApi]:
    """A running stand-in with a record of its own, ended with the block."""
    with TemporaryDirectory(prefix="whippet-chaos-") as folder:
        api = ChaosApi(plan, Path(folder))
        try:
            yield api
        finally:
            api.close()


def sent_bytes(file: Path) -> bytes:
    """What the client sends of a photo; PhotoError where it sends nothing."""
    return photo.prepare(file.read_bytes(), photo.Target.of(MODEL)).body


def sent_hash(file: Path) -> str:
    """How `ChaosApi.answered` names a photo; PhotoError where it is not sent."""
    return hashlib.sha256(sent_bytes(file)).hexdigest()


def expected(file: Path, top_k: int = 5) -> list[dict[str, object]]:
    """The predictions of a photo's result line; PhotoError where it is not sent."""
    predictions: list[dict[str, object]] = labels_of(sent_bytes(file), top_k)["predictions"]
    return predictions
