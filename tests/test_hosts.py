"""One archive under three hosts: our server, AWS's PyTorch stack, Ray Serve. The same answers, errors and limits."""

from __future__ import annotations

import base64
import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from model_serving.probe import GOOD, HOSTILE
from tests import hosts
from tests.hosts import Host, labels
from tests.photos import jpeg, sample

pytestmark = pytest.mark.slow

PHOTOS = {**{name: make() for name, make in GOOD.items()}, "coffee": jpeg(), "cat": sample("chelsea.png")}


@pytest.fixture(scope="module")
def reference(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Our own server."""
    with hosts.ours(archive, tmp_path_factory.mktemp("ours")) as found:
        yield found


@pytest.fixture(scope="class")
def host(request: pytest.FixtureRequest, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """What the class of tests starts."""
    with request.cls.start(archive, tmp_path_factory.mktemp("host")) as found:
        yield found


class Contract:
    """What every host answers."""

    def test_ping(self, host: Host) -> None:
        """What SageMaker asks every five seconds."""
        assert hosts.answers(host.ping)

    def test_the_same_labels_and_scores(self, host: Host, reference: Host) -> None:
        """Within 1e-4 of our own server's, for every kind of photo."""
        for name, body in PHOTOS.items():
            here, there = labels(reference.post(body)), labels(host.post(body, "application/octet-stream"))
            assert [label for label, _ in there] == [label for label, _ in here], name
            assert max(abs(a - b) for (_, a), (_, b) in zip(here, there, strict=True)) < 1e-4, name

    def test_many_photos_in_one_request(self, host: Host) -> None:
        """Each with its result or its own error; top_k counts."""
        instances = [{"b64": base64.b64encode(body).decode()} for body in (PHOTOS["coffee"], b"none", PHOTOS["cat"])]
        answer = host.post(json.dumps({"instances": instances, "top_k": 2}).encode(), "application/json")
        good, bad, other = answer.json()["results"]
        assert [len(good["predictions"]), len(other["predictions"])] == [2, 2]
        assert good["predictions"][0]["label"] == "espresso"
        assert bad["error"]["status"] == 415

    def test_custom_attributes(self, host: Host) -> None:
        """top_k of a raw body travels in SageMaker's header."""
        answer = host.post(PHOTOS["coffee"], X_Amzn_SageMaker_Custom_Attributes="top_k=3")
        assert len(answer.json()["predictions"]) == 3

    @pytest.mark.parametrize("name", HOSTILE)
    def test_hostile_bodies_keep_their_status(self, host: Host, name: str) -> None:
        """A 4xx with code and hint, without a traceback, and the next photo is answered."""
        make, status = HOSTILE[name]
        answer = host.post(make())
        assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (status, "application/json")
        assert {"code", "detail", "hint"} <= answer.json()["error"].keys()
        assert host.post(PHOTOS["coffee"]).ok

    def test_an_array_is_never_unpickled(self, host: Host) -> None:
        """The toolkit's own decoder would."""
        assert host.post(b"\x93NUMPY", "application/x-npy").status_code == 415

    def test_eight_at_a_time(self, host: Host, reference: Host) -> None:
        """Requests that share a pass get each its own answer, those of bad ones among them."""
        bodies = [*PHOTOS.values(), b"not a photo", b"{"] * 4
        kinds = ["{" if body == b"{" else "image" for body in bodies]
        expected = {body: labels(reference.post(body))[0] for body in PHOTOS.values()}

        def send(number: int) -> tuple[int, str]:
            kind = "application/json" if kinds[number] == "{" else "image/jpeg"
            answer = host.post(bodies[number], kind)
            return answer.status_code, answer.text

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(send, range(len(bodies))))
        for body, (status, text) in zip(bodies, found, strict=True):
            if body in expected:
                best = json.loads(text)["predictions"][0]
                label, score = expected[body]
                assert (status, best["class_id"]) == (200, label)
                assert abs(best["score"] - score) < 1e-3  # passes of another size
            else:
                assert status == (400 if body == b"{" else 415)


class TestTorchServe(Contract):
    """AWS's PyTorch stack with the settings of a deployment."""

    start = staticmethod(hosts.torchserve)


class TestRay(Contract):
    """Ray Serve."""

    start = staticmethod(hosts.ray)

    def test_nothing_is_left(self, host: Host) -> None:
        """A stopped server takes its processes and its unpacked archive along. The last test: it ends the `host`."""
        process = psutil.Process(host.pid)
        family = process.children(recursive=True)
        folders = {Path(child.cwd()) for child in family if "whippet-model-" in child.cwd()}
        assert len(family) > 3 and folders
        process.send_signal(signal.SIGTERM)
        process.wait(40)
        until = time.monotonic() + 30
        while (alive := [p for p in family if p.is_running() and p.status() != "zombie"]) and time.monotonic() < until:
            time.sleep(0.2)
        assert not alive
        assert not [folder for folder in folders if folder.exists()]
