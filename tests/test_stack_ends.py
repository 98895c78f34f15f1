"""How a stack starts and ends as processes: stopped, killed, in part or whole, or never ready."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest
import requests

from local_stack import models
from tests.conftest import ROOT, described, start_stack
from tests.photos import jpeg, sample, save
from tests.running import classify, parts

pytestmark = pytest.mark.stack


def gone(processes: list[psutil.Process], seconds: float = 20) -> bool:
    """Whether all of them end in time."""
    return not psutil.wait_procs(processes, timeout=seconds)[1]


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "t"), (signal.SIGTERM, 60 * "t")])
def test_clean_end(archive: Path, own_state: dict[str, str], number: signal.Signals, name: str, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM stop every process, free the port, remove state, logs and model, and say nothing.

    So do they where the folder of temporary files has a name too long for the path of a socket.
    """
    folder = tmp_path / name
    folder.mkdir()
    with start_stack(archive, env={**own_state, "TMPDIR": str(folder)}) as process:
        stack = described(process)
        everything = psutil.Process(process.pid).children(recursive=True)
        assert len(everything) >= 8
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert errors == ""
    assert gone(everything, 5)
    assert not Path(own_state["WHIPPET_STATE_FILE"]).exists()
    assert not list(folder.iterdir())
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", int(stack.url.rpartition(":")[2])))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stop_while_starting(archive: Path, own_state: dict[str, str], number: signal.Signals) -> None:
    """A stop before the model is loaded does not wait for it, and nothing is announced."""
    with start_stack(archive, env=own_state) as process:
        while len(psutil.Process(process.pid).children()) < 4:
            time.sleep(0.01)
        everything = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (130, "", "")
    assert gone(everything, 10)


def test_a_killed_handler_costs_no_request(archive: Path, own_state: dict[str, str]) -> None:
    """On Lambda only its own event would be lost; here even that one is tried again."""
    with start_stack(archive, env=own_state) as process:
        stack = described(process)
        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(classify, stack, sample("coffee.png")) for _ in range(60)]
            gateway = parts(process)["gateway"]
            time.sleep(0.3)
            workers = [p for p in gateway.children(recursive=True) if p.memory_info().rss > 40e6]
            workers[-1].kill()
            statuses = {answer.result().status_code for answer in answers}
    assert statuses == {200}


def test_killed_supervisor_leaves_nothing_behind(archive: Path, own_state: dict[str, str]) -> None:
    """kill -9 of `up` itself: all parts and their workers end too."""
    with start_stack(archive, env=own_state) as process:
        described(process)
        everything = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        assert gone(everything)


@pytest.mark.parametrize("part", ["serve", "gateway", "storage", "worker"])
def test_a_crash_is_seen_and_told(archive: Path, own_state: dict[str, str], part: str) -> None:
    """Whichever part is killed: one message with what happened and where the logs are, exit 1, all stopped."""
    with start_stack(archive, env=own_state) as process:
        described(process)
        everything = psutil.Process(process.pid).children(recursive=True)
        parts(process)[part].kill()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"the {part.replace('serve', 'endpoint')} was killed by signal 9" in errors
    assert "logs are in" in errors
    assert "Traceback" not in errors
    assert gone(everything)


def test_endpoint_killed_during_a_folder_run(archive: Path, own_state: dict[str, str], tmp_path: Path) -> None:
    """The run stops with exit 3 and keeps what it has; the same command goes on once a stack is there again."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(300):
        save(photos, f"{number}.jpg", jpeg((300 + number, 300)))
    results = tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "client", "classify", str(photos), "-o", str(results), "--patience", "1"]
    where = {"cwd": ROOT, "env": {**os.environ, **own_state}}
    client = partial(subprocess.Popen, command, stderr=subprocess.PIPE, text=True, **where)
    with start_stack(archive, env=own_state) as process:
        described(process)
        with client() as running:
            deadline = time.monotonic() + 60
            while (not results.exists() or results.stat().st_size < 5000) and time.monotonic() < deadline:
                time.sleep(0.01)
            parts(process)["serve"].kill()
            _, errors = running.communicate(timeout=120)
        process.wait(30)
    assert running.returncode == 3, errors
    assert "The same command goes on from here." in errors
    assert "Traceback" not in errors
    before = results.read_bytes()
    assert 0 < before.count(b"\n") < 300
    with start_stack(archive, env=own_state) as process:
        described(process)
        with client() as running:
            _, errors = running.communicate(timeout=120)
    assert running.returncode == 0, errors
    assert results.read_bytes().startswith(before)
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == len({line["path"] for line in lines}) == 300
    assert all(line["status"] == "ok" for line in lines)


def test_a_talkative_function_does_not_stop_the_stack(archive: Path, own_state: dict[str, str]) -> None:
    """What the parts print beyond their address goes to their logs: a full pipe would freeze every request."""
    env = {**own_state, "POWERTOOLS_LOG_LEVEL": "INFO", "POWERTOOLS_METRICS_DISABLED": "false"}
    with start_stack(archive, env=env) as process:
        stack = described(process)
        for _ in range(150):  # about a kilobyte of log each; a pipe holds 64
            assert requests.get(f"{stack.url}/v1/health", timeout=20).status_code == 200


def test_taken_port(archive: Path, own_state: dict[str, str]) -> None:
    """Told in one line with the mend, and nothing keeps running."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with start_stack(archive, "--port", str(taken.getsockname()[1]), env=own_state) as process:
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "--port 0" in errors
    assert "Traceback" not in errors


def test_bad_archive(tmp_path: Path, own_state: dict[str, str]) -> None:
    """What the endpoint says of a broken archive reaches the person who started the stack."""
    path = save(tmp_path, "model.tar.gz", b"text")
    with start_stack(path, env=own_state) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "cannot be unpacked" in errors
    assert "Traceback" not in errors


def test_default_archive_is_packed_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the cache, under a name that follows code and weights."""
    monkeypatch.setenv("WHIPPET_STATE_FILE", str(tmp_path / "stack.json"))
    path = models.default_archive()
    written = path.stat().st_mtime_ns
    assert models.default_archive() == path
    assert path.stat().st_mtime_ns == written
