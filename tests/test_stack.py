"""The whole chain as processes: photos in, labels out."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from PIL import Image

from client import Client
from client.stack import state_file
from client.transport import Body, Patience, Transport
from local_stack.stack import Description
from tests.conftest import ROOT, photo_folder
from tests.photos import encode, jpeg, sample, sample_image, save
from tests.running import classify

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


@pytest.mark.parametrize("lost", [False, True])
def test_a_photo_too_large_for_the_api_is_uploaded(
    stack: Description, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """Unshrunk above 4 MB; also where the answer was lost, since an upload is gone once it was classified."""
    noise = Image.effect_noise((4500, 3000), 60).convert("RGB")
    noise.paste(sample_image().resize((3900, 2600)), (300, 200))
    photo = encode(noise, quality=97)
    assert len(photo) > 4_000_000
    post, sent = Transport.post, list[str]()

    def watched(self: Transport, route: str, body: Body, patience: Patience) -> dict[str, Any]:
        sent.append(route)
        answer = post(self, route, body, patience)
        return post(self, route, body, patience) if lost and sent == ["/v1/uploads", "/v1/classify"] else answer

    monkeypatch.setattr(Transport, "post", watched)
    with Client(stack.url, stack.api_key, shrink=False) as client:
        assert client.classify(photo).label == "espresso"
    assert sent == ["/v1/uploads", "/v1/classify"] * (2 if lost else 1)


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
