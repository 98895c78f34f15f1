"""Ways to have a folder of photos labelled, each timed: our client, a plain load generator, the usual loop."""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil
import requests
from urllib3 import encode_multipart_formdata

from bench.pictures import is_sendable
from client.asking import PACK_BYTES
from client.photo import Upload
from local_stack import models
from local_stack.stack import Description

THREADS, TRIES, WAIT_SECONDS = 32, 3, 1.0
"""Of the loop that others use: fixed, whatever the API says."""

CONCURRENCY = (1, 2, 4, 8, 16)
PACKS = (16, 64)
IN_FLIGHT = 512
"""Photos that a generator may have under way: more would not be answered within the gateway's 29 seconds."""


@dataclass(frozen=True)
class Load:
    """Photos that got their labels, in so many seconds; `memory` is the peak in bytes, 0 where it was not looked at."""

    photos: int
    seconds: float
    memory: int = 0

    @property
    def rate(self) -> float:
        """Photos a second."""
        return self.photos / self.seconds


@contextmanager
def stack(model: Path | None) -> Iterator[Description]:
    """A one-machine stack on a free port, which no other program takes for its own."""
    packed = model or models.default_archive()
    command = [sys.executable, "-m", "local_stack", "up", "--json", "--port", "0", "--model", str(packed)]
    with ExitStack() as resources:
        folder = resources.enter_context(TemporaryDirectory(prefix="whippet-bench-"))
        environment = {**os.environ, "WHIPPET_STATE_FILE": f"{folder}/stack.json"}
        process = resources.enter_context(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        resources.callback(process.terminate)
        assert process.stdout is not None
        yield Description(**json.loads(process.stdout.readline()))


def ours(url: str, api_key: str, folder: Path) -> Load:
    """`python -m client classify FOLDER -o FILE`, start included; memory is that of all its processes."""
    with TemporaryDirectory(prefix="whippet-bench-") as other:
        lines = Path(other) / "labels.jsonl"
        environment = {
            **os.environ,
            "WHIPPET_URL": url,
            "WHIPPET_API_KEY": api_key,
            "WHIPPET_STATE_FILE": f"{other}/no-stack.json",
            "WHIPPET_PROFILE_FILE": f"{other}/no-profile.ini",
        }
        command = [sys.executable, "-m", "client", "classify", str(folder), "-o", str(lines), "--quiet"]
        started = time.perf_counter()
        with subprocess.Popen(command, env=environment) as process:
            memory = _peak(process)
        seconds = time.perf_counter() - started
        return Load(sum('"status": "ok"' in line for line in lines.open(encoding="utf-8")), seconds, memory)


def _peak(process: subprocess.Popen[bytes]) -> int:
    """The most memory that a process and its children held together until its end, in bytes."""
    most, watched = 0, psutil.Process(process.pid)
    while process.poll() is None:
        try:
            most = max(most, sum(each.memory_info().rss for each in (watched, *watched.children(recursive=True))))
        except psutil.NoSuchProcess:
            continue
        time.sleep(0.05)
    return most


def loop(url: str, api_key: str, files: Sequence[Path]) -> Load:
    """Each file as it is, one a request, by a fixed number of threads and tries."""

    def one(path: Path) -> bool:
        data = path.read_bytes()
        if not is_sendable(data):
            return False
        headers = {"x-api-key": api_key, "Content-Type": "image/jpeg"}
        for _ in range(TRIES):
            try:
                if requests.post(f"{url}/v1/classify", data, headers=headers, timeout=60).ok:
                    return True
            except requests.RequestException:
                pass
            time.sleep(WAIT_SECONDS)
        return False

    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        done = sum(pool.map(one, files))
    return Load(done, time.perf_counter() - started)


class Body(NamedTuple):
    """One prepared request: its bytes, their content type, and how many photos are in it."""

    data: bytes
    content_type: str
    photos: int


@dataclass(frozen=True)
class Requests:
    """What a load generator sends over and over; `most` photos at a time."""

    url: str
    bodies: Sequence[Body]
    most: int


def singles(stack: Description, uploads: Sequence[Upload]) -> Requests:
    """One photo a request."""
    return Requests(f"{stack.url}/v1/classify", [Body(each.body, each.media_type, 1) for each in uploads], 1)


def packs(stack: Description, uploads: Sequence[Upload], most: int) -> Requests:
    """So many photos a request, or as many as fit; as a form."""
    forms: list[list[Upload]] = [[]]
    for upload in uploads:
        if len(forms[-1]) == most or sum(len(one.body) for one in [*forms[-1], upload]) > PACK_BYTES:
            forms.append([])
        forms[-1].append(upload)
    return Requests(f"{stack.url}/v1/classify/batch", [_form(form) for form in forms], most)


def _form(uploads: Sequence[Upload]) -> Body:
    parts = [("images", (str(i), each.body, each.media_type)) for i, each in enumerate(uploads)]
    return Body(*encode_multipart_formdata(parts), len(uploads))


def generate(stack: Description, what: Requests, threads: int, photos: int) -> Load:
    """Send prepared requests as fast as so many threads can, each once; photos without an answer do not count."""
    todo, taking = _enough(what.bodies, photos), threading.Lock()

    def send() -> int:
        done = 0
        session = requests.Session()
        session.headers["x-api-key"] = stack.api_key
        while True:
            with taking:
                body = next(todo, None)
            if body is None:
                return done
            answer = session.post(what.url, body.data, headers={"Content-Type": body.content_type}, timeout=120)
            done += body.photos if answer.ok else 0

    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        done = sum(running.result() for running in [pool.submit(send) for _ in range(threads)])
    return Load(done, time.perf_counter() - started)


def _enough(bodies: Sequence[Body], photos: int) -> Iterator[Body]:
    for body in itertools.cycle(bodies):
        if photos <= 0:
            return
        photos -= body.photos
        yield body


def best(stack: Description, choices: Sequence[Requests], photos: int) -> Callable[[int], Load]:
    """The generator as it did best on so many photos: which requests, how many threads. To be called with a number."""
    tried = {
        (n, threads): generate(stack, what, threads, max(photos, threads * what.most)).rate
        for n, what in enumerate(choices)
        for threads in CONCURRENCY
        if threads * what.most <= IN_FLIGHT
    }
    n, threads = max(tried, key=lambda one: tried[one])
    print(
        f"load generator, {choices[n].most} a request: best with {threads} threads "
        f"({', '.join(f'{choices[i].most} x {t}: {rate:.1f}/s' for (i, t), rate in tried.items())})"
    )
    return lambda number: generate(stack, choices[n], threads, number)


def rounds(ways: Mapping[str, Callable[[], Load]], number: int) -> dict[str, list[Load]]:
    """Each way in turn, `number` times, so that noise meets all alike; prints as it goes."""
    found: dict[str, list[Load]] = {name: [] for name in ways}
    for _ in range(number):
        for name, way in ways.items():
            found[name].append(load := way())
            print(f"  {name:44} {load.photos:6} photos {load.seconds:7.1f} s  {load.rate:7.1f}/s", flush=True)
    return found


def ratio(found: Mapping[str, Sequence[Load]], one: str, other: str) -> float:
    """How many times the photos a second of the other, the median of the rounds."""
    return statistics.median(a.rate / b.rate for a, b in zip(found[one], found[other], strict=True))
