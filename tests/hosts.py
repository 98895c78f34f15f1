"""The three hosts of an archive as processes: our server, AWS's PyTorch stack (TorchServe on Java), and Ray Serve.

The latter two have environments of their own, which `make test` makes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil
import pytest
import requests

from model_serving.archive import unpack
from model_serving.aws import package
from model_serving.aws.options import EndpointOptions
from tests.conftest import ROOT

TORCHSERVE = Path(os.environ.get("WHIPPET_TORCHSERVE", Path(sys.prefix) / "torchserve")) / "bin"
RAY = Path(os.environ.get("WHIPPET_RAY", Path(sys.prefix) / "ray")) / "bin"

READY_SECONDS = 120


@dataclass(frozen=True)
class Host:
    """Where a host answers: `invocations` takes POST, `ping` GET; `pid` is that of its first process."""

    invocations: str
    ping: str
    pid: int

    def post(self, body: bytes, content_type: str = "image/jpeg", **headers: str) -> requests.Response:
        """One request."""
        named = {"Content-Type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return requests.post(self.invocations, data=body, headers=named, timeout=60)


def free_port() -> int:
    """One that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(
    command: list[str], folder: Path, environment: Mapping[str, str], ready: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process from when it is ready until the end of the block; what it says is in `folder`/log."""
    with ExitStack() as stack:
        log: IO[bytes] = stack.enter_context((folder / "log").open("wb"))
        process = subprocess.Popen(
            command, cwd=folder, env=dict(environment), stdout=log, stderr=log, start_new_session=True
        )
        stack.callback(_end, process)
        until = time.monotonic() + READY_SECONDS
        while not ready():
            assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-3000:]
            time.sleep(0.2)
        yield process


def _end(process: subprocess.Popen[bytes]) -> None:
    processes = family(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in processes:  # of a server that leaves its workers behind
        with suppress(psutil.NoSuchProcess):
            child.kill()


def family(pid: int) -> list[psutil.Process]:
    """A host's processes: those it started, and those of its session, since some detach themselves."""
    found = (
        {child.pid: child for child in psutil.Process(pid).children(recursive=True)} if psutil.pid_exists(pid) else {}
    )
    for process in psutil.process_iter():
        with suppress(OSError):
            if os.getsid(process.pid) == pid:
                found[process.pid] = process
    return list(found.values())


def answers(url: str, body: bytes = b"", content_type: str = "") -> bool:
    """Whether a host answers at all: to a request where there is a body, else to GET."""
    try:
        if body:
            return requests.post(url, data=body, headers={"Content-Type": content_type}, timeout=30).ok
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


@contextmanager
def ours(archive: Path, folder: Path) -> Iterator[Host]:
    """`python -m model_serving serve`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "model_serving", "serve", str(archive), "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with started(command, folder, environment, lambda: answers(f"{url}/ping")) as process:
        yield Host(f"{url}/invocations", f"{url}/ping", process.pid)


@contextmanager
def torchserve(archive: Path, folder: Path) -> Iterator[Host]:
    """AWS's serving stack by its own entry point, on the unpacked archive, with the settings of a deployment.

    It is ready when it has described its model, since its ping is healthy before it has one.
    """
    _require(TORCHSERVE / "torchserve")
    if shutil.which("java") is None:
        missing("TorchServe needs Java 17")
    if not os.access("/etc", os.W_OK):
        missing("AWS's serving toolkit writes /etc/sagemaker-ts.properties, which only root may")
    (folder / "model").mkdir()
    unpack(archive, folder / "model")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        **package.environment(EndpointOptions(), os.cpu_count() or 1),
        "PATH": f"{TORCHSERVE}{os.pathsep}{os.environ['PATH']}",
        "SAGEMAKER_BASE_DIR": str(folder),
        "SAGEMAKER_PROGRAM": "inference.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": str(folder / "model" / "code"),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_SAFE_PORT_RANGE": f"{port + 1}-{port + 90}",
    }
    environment.pop("PYTHONPATH", None)
    start = "from sagemaker_pytorch_serving_container import serving; serving.main()"
    command = [str(TORCHSERVE / "python"), "-c", start]
    ready = lambda: answers(f"{url}/invocations", b'{"describe": true}', "application/json")  # noqa: E731  # one line
    with started(command, folder, environment, ready) as process:
        yield Host(f"{url}/invocations", f"{url}/ping", process.pid)


@contextmanager
def ray(archive: Path, folder: Path) -> Iterator[Host]:
    """`serve --engine ray`, by the routes that the adapter of AWS's container maps SageMaker's to."""
    _require(RAY / "serve")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(RAY / "python"), "-m", "model_serving", "serve", str(archive), "--engine", "ray"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}
    with started([*command, "--port", str(port)], folder, environment, lambda: answers(f"{url}/")) as process:
        yield Host(f"{url}/", f"{url}/-/healthz", process.pid)


def _require(program: Path) -> None:
    if not program.exists():
        missing(f"no {program}; `make test` installs it")


def missing(reason: str) -> None:
    """Skip the test, or fail it where everything should be there."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


def labels(answer: requests.Response) -> list[tuple[str, float]]:
    """(class id, score) of a single answer, by falling score."""
    return [(one["class_id"], one["score"]) for one in json.loads(answer.text)["predictions"]]
