"""Our server against TorchServe, Ray Serve, LitServe and BentoML on the same archive: `python -m bench.hosts`.

All run the archive's own hooks, as each project's documentation would have it: TorchServe and Ray Serve by what is in
the archive, the others by bench/peers. One server at a time, in turns over `--rounds`, the load from this process: the
same photos, `--seconds` at concurrency 1, 8 and 32. Requests a second (the median round), p50 and p99 in milliseconds
(of all rounds together), and memory: proportional set size of all of a server's processes at the end, in MB.

Each server needs an environment of its own: `make test` makes those of TorchServe and Ray Serve, `make bench` the rest;
what is missing is said and left out.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from bench.measure import photo
from model_serving import archive, defaults
from model_serving.classifier import Head, ModelSpec, network, pretrained
from model_serving.classifier.network import LITE0
from tests import hosts
from tests.conftest import ROOT

CONCURRENCY = (1, 8, 32)
BATCH = 8
SIZES = ((500, 375), (640, 480), (375, 500), (800, 600))
LITSERVE, BENTOML = (
    Path(os.environ.get(f"WHIPPET_{name.upper()}", Path(sys.prefix) / name)) / "bin" for name in ("litserve", "bentoml")
)


@dataclass(frozen=True)
class Server:
    """How a server is started on an archive, and what it is sent of a photo: content type and body."""

    start: Callable[[Path, Path], AbstractContextManager[hosts.Host]]
    content_type: str = "image/jpeg"
    body: Callable[[bytes], bytes] = bytes


@dataclass
class Measured:
    """Of one server at one concurrency."""

    rates: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests a second, the median round."""
        return statistics.median(self.rates)

    def percentile(self, percent: int) -> float:
        """Milliseconds."""
        return statistics.quantiles(self.latencies, n=100)[percent - 1]


@contextmanager
def litserve(packed: Path, folder: Path) -> Iterator[hosts.Host]:
    """LitServe with one worker."""
    with _peer(packed, folder, LITSERVE / "litserve") as (port, environment):
        command = [str(LITSERVE / "python"), str(ROOT / "bench" / "peers" / "litserve_app.py"), str(port), str(BATCH)]
        url = f"http://127.0.0.1:{port}"
        with hosts.started(command, folder, environment, lambda: hosts.answers(f"{url}/health")) as process:
            yield hosts.Host(f"{url}/predict", f"{url}/health", process.pid)


@contextmanager
def bentoml(packed: Path, folder: Path) -> Iterator[hosts.Host]:
    """BentoML with one worker."""
    with _peer(packed, folder, BENTOML / "bentoml") as (port, environment):
        environment["PYTHONPATH"] = str(ROOT / "bench" / "peers")
        command = [str(BENTOML / "bentoml"), "serve", "bentoml_app:Model", "--host", "127.0.0.1", "--port", str(port)]
        url = f"http://127.0.0.1:{port}"
        with hosts.started(command, folder, environment, lambda: hosts.answers(f"{url}/readyz")) as process:
            yield hosts.Host(f"{url}/invocations", f"{url}/readyz", process.pid)


@contextmanager
def _peer(packed: Path, folder: Path, program: Path) -> Iterator[tuple[int, dict[str, str]]]:
    if not program.exists():
        pytest.skip(f"no {program}; `make bench` installs it")
    (folder / "model").mkdir()
    archive.unpack(packed, folder / "model")
    yield hosts.free_port(), {**os.environ, "ARCHIVE": str(folder / "model"), "BENTOML_DO_NOT_TRACK": "True"}


def _in_json(body: bytes) -> bytes:
    return b'{"image": "%s"}' % base64.b64encode(body)


SERVERS = {
    "ours": Server(hosts.ours),
    "TorchServe": Server(hosts.torchserve),
    "Ray Serve": Server(hosts.ray),
    "LitServe": Server(litserve, "application/json", _in_json),
    "BentoML": Server(bentoml),
}


def pack(backbone: str, output: Path) -> None:
    """An archive of 1,000 classes; random weights, since speed does not depend on them."""
    spec = defaults.default_spec()
    if backbone == LITE0:
        archive.pack(spec, pretrained.weights(LITE0), output)
        return
    torch.manual_seed(0)
    spec = ModelSpec("bench", backbone, spec.classes, preprocessing=spec.preprocessing)
    archive.pack(spec, network.build(backbone, Head(), len(spec.classes)).state_dict(), output)


async def caller(port: int, requests: Sequence[bytes], first: int, until: float, latencies: list[float]) -> None:
    """One connection, one request after the other; latencies in milliseconds of what was answered in time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        started = time.perf_counter()
        writer.write(requests[first % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(head.decode("latin-1"))
        await _rest(reader, head.lower())
        latencies.append((time.perf_counter() - started) * 1e3)
        first += 1
    writer.close()


async def _rest(reader: asyncio.StreamReader, head: bytes) -> None:
    if b"transfer-encoding: chunked" in head:
        while (size := int(await reader.readline(), 16)) > 0:
            await reader.readexactly(size + 2)
        await reader.readline()
        return
    await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))


async def load(port: int, requests: Sequence[bytes], concurrency: int, seconds: float) -> tuple[float, list[float]]:
    """Requests a second and latencies at so many connections."""
    started, latencies = time.perf_counter(), list[float]()
    until = started + seconds
    await asyncio.gather(*(caller(port, requests, first, until, latencies) for first in range(concurrency)))
    return len(latencies) / (time.perf_counter() - started), latencies


def memory(pid: int) -> float:
    """Proportional set size of a host's processes, in MB."""
    return float(sum(process.memory_full_info().pss for process in hosts.family(pid))) / 1e6


def measure(server: Server, packed: Path, seconds: float, found: dict[int, Measured]) -> float:
    """One round of a server: its memory; what it answered goes to `found` by concurrency."""
    with TemporaryDirectory(prefix="whippet-bench-") as folder, server.start(packed, Path(folder)) as host:
        path = host.invocations.partition("//")[2].partition("/")
        port = int(path[0].rpartition(":")[2])
        bodies = [server.body(photo(*size, kilobytes=60)) for size in SIZES]
        head = f"POST /{path[2]} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {server.content_type}\r\n"
        requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
        asyncio.run(load(port, requests, BATCH, seconds / 2))  # unmeasured: caches, clocks, batches of all sizes
        for concurrency in CONCURRENCY:
            rate, latencies = asyncio.run(load(port, requests, concurrency, seconds))
            found[concurrency].rates.append(rate)
            found[concurrency].latencies += latencies
        return memory(host.pid)


def compare(backbone: str, names: Sequence[str], rounds: int, seconds: float) -> None:
    """Measure and print one model."""
    found = {name: {concurrency: Measured() for concurrency in CONCURRENCY} for name in names}
    sizes: dict[str, list[float]] = {name: [] for name in names}
    with TemporaryDirectory(prefix="whippet-bench-") as folder:
        packed = Path(folder) / "model.tar.gz"
        pack(backbone, packed)
        for _ in range(rounds):
            for name in [name for name in names if name in found]:
                try:
                    sizes[name].append(measure(SERVERS[name], packed, seconds, found[name]))
                except pytest.skip.Exception as reason:
                    print(f"{name} is left out: {reason}")
                    del found[name]
    print(f"\n{backbone}, {rounds} rounds of {seconds:g} s")
    for concurrency in CONCURRENCY:
        best = max(one[concurrency].rate for name, one in found.items() if name != "ours" or len(found) == 1)
        for name, one in found.items():
            here = one[concurrency]
            print(
                f"  {concurrency:2} at a time  {name:11} {here.rate:7.1f}/s  p50 {here.percentile(50):7.1f} ms  "
                f"p99 {here.percentile(99):7.1f} ms  {statistics.median(sizes[name]):6.0f} MB  "
                f"{here.rate / best:5.2f} of the best of the others"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["resnet50", LITE0])
    parser.add_argument("--servers", nargs="+", default=list(SERVERS), choices=list(SERVERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    arguments = parser.parse_args()
    for backbone in arguments.backbones:
        compare(backbone, arguments.servers, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
