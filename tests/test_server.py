"""The local endpoint: SageMaker's wire shape as boto3 sees it, bounded queue, graceful stop."""

from __future__ import annotations

import json
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
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from model_serving.server import MAX_BODY_BYTES, Context, application
from tests.photos import jpeg
from tests.servers import serving


class Hooks:
    """Answers by the body's first word: a status, `crash`, or `wait` until released."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.running = 0

    def __call__(self, body: bytes, content_type: str | None, context: Context) -> tuple[str, str]:
        """What the body asks for."""
        word = body.split(b" ")[0].decode("latin-1")
        if word == "crash":
            raise RuntimeError("secret path /opt/ml")
        if word == "wait":
            self.running += 1
            self.release.wait(10)
        if word.isdecimal():
            context.set_response_status(int(word), "phrase")
        headers = {name.lower(): value for name, value in context.get_request_properties().items()}
        attributes = headers.get("x-amzn-sagemaker-custom-attributes")
        return json.dumps({"length": len(body), "type": content_type, "attributes": attributes}), "application/json"


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    """Hooks that are released at the end, whatever happens."""
    hooks = Hooks()
    yield hooks
    hooks.release.set()


@pytest.fixture
def url(hooks: Hooks) -> Iterator[str]:
    """An endpoint of two workers with three places in its queue."""
    with serving(application(hooks, workers=2, queue=3, name="dogs")) as url:
        yield url


def runtime(url: str) -> Any:
    """boto3's real client, pointed at the local endpoint."""
    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )


def test_ping(url: str) -> None:
    """Healthy once it serves."""
    assert requests.get(f"{url}/ping", timeout=5).status_code == 200


def test_boto3_gets_the_container_answer(url: str) -> None:
    """Body, content type and custom attributes travel to the hooks, the answer back."""
    answer = runtime(url).invoke_endpoint(
        EndpointName="dogs", Body=b"\x00\xff" * 500, ContentType="image/jpeg", CustomAttributes="top_k=3"
    )
    assert json.loads(answer["Body"].read()) == {"length": 1000, "type": "image/jpeg", "attributes": "top_k=3"}
    assert answer["InvokedProductionVariant"] == "AllTraffic"


@pytest.mark.parametrize("status", [400, 415, 503])
def test_boto3_gets_model_errors(url: str, status: int) -> None:
    """A container's status arrives as ModelError with the original status and message."""
    with pytest.raises(ClientError) as caught:
        runtime(url).invoke_endpoint(EndpointName="dogs", Body=str(status).encode())
    response: Any = caught.value.response
    assert response["Error"]["Code"] == "ModelError"
    assert response["OriginalStatusCode"] == status
    assert json.loads(response["OriginalMessage"])["length"] == 3
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424


def test_unknown_endpoint(url: str) -> None:
    """Another name is SageMaker's ValidationError."""
    with pytest.raises(ClientError) as caught:
        runtime(url).invoke_endpoint(EndpointName="cats", Body=b"x")
    assert caught.value.response["Error"]["Code"] == "ValidationError"


def test_plain_invocations(url: str) -> None:
    """Without the runtime's shape the container's own status is seen."""
    assert requests.post(f"{url}/invocations", b"415", timeout=5).status_code == 415
    assert requests.post(f"{url}/invocations", b"fine", timeout=5).json()["length"] == 4


def test_crash_in_a_hook(url: str) -> None:
    """A bug is a 500 whose body says nothing of the inside, and the next request works."""
    answer = requests.post(f"{url}/invocations", b"crash", timeout=5)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert requests.post(f"{url}/invocations", b"fine", timeout=5).status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_body_limit(url: str, chunked: bool) -> None:
    """25 megabytes pass, one byte more does not, declared or not."""
    for extra, status in ((0, 200), (1, 413)):
        body = b"x" * (MAX_BODY_BYTES + extra)
        data: Any = iter([body[:1000], body[1000:]]) if chunked else body
        assert requests.post(f"{url}/invocations", data=data, timeout=20).status_code == status


def test_full_queue(url: str, hooks: Hooks) -> None:
    """Two work, three wait, the sixth gets 503 with Retry-After at once; then the five are answered."""
    with ThreadPoolExecutor(6) as pool:
        five = [pool.submit(requests.post, f"{url}/invocations", b"wait", timeout=20) for _ in range(5)]
        time.sleep(1)  # all five are inside by now
        answer = requests.post(f"{url}/invocations", b"fine", timeout=5)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert requests.get(f"{url}/ping", timeout=5).status_code == 200
        assert hooks.running == 2
        hooks.release.set()
        assert [f.result().status_code for f in five] == [200] * 5


def start(archive: Path, *options: str) -> subprocess.Popen[str]:
    """`python -m model_serving serve`."""
    command = [sys.executable, "-m", "model_serving", "serve", str(archive), "--json", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def test_serve_command(archive: Path) -> None:
    """Serves the archive, stops on SIGTERM with its temporary files removed, frees its port."""
    with start(archive, "--port", "0") as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        answer = requests.post(f"{url}/invocations", jpeg(), timeout=60)
        assert answer.json()["predictions"][0]["label"] == "espresso"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", int(url.rpartition(":")[2])))


def test_taken_port(archive: Path) -> None:
    """Told at once, before the model is loaded, with the mend."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with start(archive, "--port", str(taken.getsockname()[1])) as process:
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "--port 0" in errors
    assert "Traceback" not in errors


def test_ends_with_its_parent(archive: Path) -> None:
    """When the pipe to the parent closes, as at its death, the server stops by itself."""
    with start(archive, "--port", "0", "--with-parent") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        process.stdin.close()
        assert process.wait(30) is not None


def test_missing_archive(tmp_path: Path) -> None:
    """One line, exit 1."""
    with start(tmp_path / "none.tar.gz", "--port", "0") as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "model_serving pack" in errors
    assert "Traceback" not in errors
