"""The whole chain as processes: photos in, labels out, hostile files, crashes, clean ends."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
import requests
from PIL import Image

from client.stack import state_file
from local_stack import models
from local_stack.stack import Description
from model_serving.probe import HOSTILE
from tests.conftest import ROOT, described, photo_folder, start_stack
from tests.photos import encode, jpeg, sample, sample_image, save
from tests.running import classify, parts

pytestmark = pytest.mark.stack

LABELS = {"chelsea.png": "tiger cat", "coffee.png": "espresso", "rocket.jpg": "missile", "camera.png": "tripod"}


def run_client(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """`python -m client …`."""
    command = [sys.executable, "-m", "client", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, **options)


@pytest.mark.parametrize(("photo", "label"), LABELS.items())
def test_a_photo_gets_its_label(stack: Description, photo: str, label: str) -> None:
    """Through gateway, function, boto3, endpoint and hooks."""
    answer = classify(stack, sample(photo), top_k="3").json()
    assert answer["predictions"][0]["label"] == label
    assert len(answer["predictions"]) == 3


def test_batch_equals_single(stack: Description) -> None:
    """The batch route gives each photo what it gets alone."""
    photos = [jpeg((300 + i, 200)) for i in range(5)]
    body = {"images": [{"id": str(i), "b64": base64.b64encode(p).decode()} for i, p in enumerate(photos)]}
    headers = {"x-api-key": stack.api_key}
    answer = requests.post(f"{stack.url}/v1/classify/batch", json=body, headers=headers, timeout=60).json()
    for photo, result in zip(photos, answer["results"], strict=True):
        alone = classify(stack, photo).json()["predictions"][0]
        assert result["predictions"][0]["label"] == alone["label"]
        assert result["predictions"][0]["score"] == pytest.approx(alone["score"], abs=1e-3)


def test_model_and_health(stack: Description) -> None:
    """What answers: 1,000 classes, its input size; health needs no key."""
    model = requests.get(f"{stack.url}/v1/model", headers={"x-api-key": stack.api_key}, timeout=9).json()
    assert len(model["classes"]) == 1000
    assert model["input"] == {"resize": 256, "crop": 224}
    assert requests.get(f"{stack.url}/v1/health", timeout=9).json()["model"]["version"] == model["version"]


def test_boto3_and_plain_http_reach_the_endpoint(stack: Description) -> None:
    """Both addresses of the endpoint that `up` tells of."""
    plain = requests.post(f"{stack.endpoint_url}/invocations", sample("coffee.png"), timeout=60).json()
    client = boto3.client(
        "sagemaker-runtime",
        endpoint_url=stack.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    answer = client.invoke_endpoint(EndpointName="whippet", Body=sample("coffee.png"), ContentType="image/png")
    assert json.loads(answer["Body"].read())["predictions"] == plain["predictions"]


def memory(pid: int) -> int:
    """Bytes in use by a process and all below it, each shared page counted once where the system can tell."""
    total = 0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            known = process.memory_full_info()
            total += getattr(known, "pss", known.uss)
    return total


@contextlib.contextmanager
def watched_memory(pid: int) -> Iterator[list[int]]:
    """Look at the memory all the while: photos give theirs back as soon as they are answered."""
    found, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            found.append(memory(pid))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()


def big(side: int, kind: str, mode: str, **options: Any) -> bytes:
    """A square photo in a few bytes, just below its limit of pixels: costly to decode."""
    return encode(Image.new("RGB", (side, side), "red").convert(mode), kind, **options)


def test_hostile_files(archive: Path, own_state: dict[str, str]) -> None:
    """Every answer is 200 or a 4xx problem; the whole stack, which has done nothing else before, stays below 1.5 GB."""
    with start_stack(archive, env=own_state) as process:
        try:
            stack = described(process)
            with watched_memory(stack.pid) as found:
                _send_hostile_files(stack)
            assert max(found) < 1.5e9, f"{max(found) / 1e6:.0f} MB"
        finally:
            process.terminate()
            process.wait(30)


def _send_hostile_files(stack: Description) -> None:
    good = jpeg()
    files = [make() for make, _ in HOSTILE.values()]
    files += [good[:n] for n in (3, 20, 200, 2000)] + [good[:500] + os.urandom(3000)]
    files += [b"%!PS-Adobe-3.0", b"%PDF-1.7", b"PK\x03\x04", b"MZ", b"\x00" * 100_000, b"{}", b"\xff" * 50]
    files += [big(7000, "PNG", "RGB"), big(7000, "GIF", "P"), big(5000, "PNG", "RGBA"), big(4000, "WEBP", "RGB")]
    files += [big(5000, "JPEG", "CMYK", quality=30, progressive=True), big(7000, "TIFF", "RGB", compression="tiff_lzw")]
    for content_type in ("image/jpeg", "application/octet-stream", "text/plain", "application/json", "multipart/x"):
        for data in files:
            answer = classify(stack, data, content_type)
            assert answer.status_code == 200 or 400 <= answer.status_code < 500, answer.text
            if answer.status_code != 200:
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["code"]
            assert "Traceback" not in answer.text
    assert classify(stack, good).status_code == 200


def test_odd_photos(stack: Description) -> None:
    """Fifty odd and broken real files: classified or refused as their list says, the right status where it is sure."""
    folder = photo_folder("odd_inputs")
    manifest = json.loads((folder / "MANIFEST.json").read_text(encoding="utf-8"))
    for entry in manifest["files"]:
        answer = classify(stack, (folder / entry["file"]).read_bytes(), "application/octet-stream")
        status, expected = answer.status_code, entry["expect"]
        assert status == 200 or 400 <= status < 500, entry["file"]
        if expected != "either":
            assert (status == 200) == (expected == "classify"), (entry["file"], answer.text)
        if expected == "reject" and entry["suggested_status"] in (413, 415):
            assert status == entry["suggested_status"], (entry["file"], answer.text)
        if expected == "classify":
            labels = [p["label"] for p in answer.json()["predictions"]]
            assert "beagle" in labels[:2], (entry["file"], labels)


def test_client_finds_the_running_stack(stack: Description, tmp_path: Path) -> None:
    """Without a URL: through the state file, which only its owner may read."""
    assert state_file().stat().st_mode & 0o077 == 0
    for name in LABELS:
        save(tmp_path, name, sample(name))
    save(tmp_path, "broken.jpg", jpeg()[:3000])
    save(tmp_path, "notes.txt", b"no photo")
    done = run_client("classify", tmp_path, "--format", "jsonl")
    assert done.returncode == 1, done.stderr
    lines = {Path(line["path"]).name: line for line in map(json.loads, done.stdout.splitlines())}
    assert lines.keys() == {*LABELS, "broken.jpg"}
    for name, label in LABELS.items():
        assert lines[name]["predictions"][0]["label"] == label
    assert lines["broken.jpg"]["error"]["code"] == "bad_image"


@pytest.mark.slow
def test_shrinking_keeps_labels(stack: Description) -> None:
    """At most one label in a hundred changes between the photo as it is and as the client sends it."""
    folder = photo_folder("pets37_ccbysa")
    plain, shrunk = (
        {line["path"]: line["predictions"][0]["label"] for line in map(json.loads, done.stdout.splitlines())}
        for done in (
            run_client("classify", folder, "--format", "jsonl", "--no-shrink"),
            run_client("classify", folder, "--format", "jsonl"),
        )
    )
    assert len(plain) == len(shrunk) > 300
    changed = sum(plain[path] != shrunk[path] for path in plain)
    assert changed <= len(plain) / 100, f"{changed} of {len(plain)}"


def gone(processes: list[psutil.Process], seconds: float = 20) -> bool:
    """Whether all of them end in time."""
    return not psutil.wait_procs(processes, timeout=seconds)[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_clean_end(archive: Path, own_state: dict[str, str], number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM stop every process, free the port, remove state, logs and model, and say nothing."""
    folder = tmp_path / "tmp"
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
        process.terminate()
        process.wait(30)
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
    """Every photo still gets its line: labels before, errors with code and hint after; exit 1."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(300):
        save(photos, f"{number}.jpg", jpeg((300 + number, 300)))
    results = tmp_path / "results.jsonl"
    with start_stack(archive, env=own_state) as process:
        described(process)
        command = [sys.executable, "-m", "client", "classify", str(photos), "-o", str(results)]
        with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **own_state}, stderr=subprocess.PIPE) as client:
            deadline = time.monotonic() + 60
            while (not results.exists() or results.stat().st_size < 5000) and time.monotonic() < deadline:
                time.sleep(0.01)
            parts(process)["serve"].kill()
            _, errors = client.communicate(timeout=120)
        process.wait(30)
    assert client.returncode == 1, errors
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == len({line["path"] for line in lines}) == 300
    failed = [line for line in lines if line["status"] == "error"]
    assert 0 < len(failed) < 300
    assert all(line["error"]["code"] and line["error"]["hint"] for line in failed)


def test_a_talkative_function_does_not_stop_the_stack(archive: Path, own_state: dict[str, str]) -> None:
    """What the parts print beyond their address goes to their logs: a full pipe would freeze every request."""
    env = {**own_state, "POWERTOOLS_LOG_LEVEL": "INFO", "POWERTOOLS_METRICS_DISABLED": "false"}
    with start_stack(archive, env=env) as process:
        stack = described(process)
        for _ in range(150):  # about a kilobyte of log each; a pipe holds 64
            assert requests.get(f"{stack.url}/v1/health", timeout=20).status_code == 200
        process.terminate()
        process.wait(30)


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


def test_browser_page_of_an_allowed_origin(stack: Description) -> None:
    """The preflight passes without a key, and errors of gateway and function can be read."""
    origin = {"Origin": "https://app.example"}
    asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    preflight = requests.options(f"{stack.url}/v1/classify", headers=asked, timeout=9)
    assert preflight.ok
    assert "x-api-key" in preflight.headers["access-control-allow-headers"].lower()
    for headers in (origin, {**origin, "x-api-key": stack.api_key}):
        answer = requests.post(f"{stack.url}/v1/classify", b"text", headers=headers, timeout=9)
        assert answer.status_code in (403, 415)
        assert answer.headers["access-control-allow-origin"] == "https://app.example"


def test_gray_photos(stack: Description) -> None:
    """A gray JPEG and a 16-bit PNG are photos too."""
    gray = sample_image().convert("L")
    assert classify(stack, encode(gray)).json()["predictions"][0]["label"] == "espresso"
