"""What tests share: the default archive, one running stack, photos that may lie beside the checkout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local_stack.stack import Description

if TYPE_CHECKING:
    from model_serving.aws.options import EndpointOptions
    from tests.aws_world import World
    from tests.endpoint_world import Endpoints, Hosts
    from training.aws.session import Aws

ROOT = Path(__file__).parents[1]

# Before torch is imported. Processes of several tests share the cores, and an OpenMP thread that waits by spinning
# takes one from the thread that it waits for: half a minute's training took ten.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shell's background jobs ignore Ctrl-C, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of slow tests first: processes that share the files are then done at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("stack")}
    items.sort(key=lambda item: item.path not in slow)


def photo_folder(name: str) -> Path:
    """A folder of real photos that are not part of the project; the test is skipped where they are missing."""
    folder = Path(os.environ.get("WHIPPET_TEST_PHOTOS", ROOT.parent / "shared" / "data")) / name
    if not folder.is_dir():
        pytest.skip(f"no photos at {folder}; set WHIPPET_TEST_PHOTOS")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """State files and caches of the tests stay away from the user's own, and from their settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHIPPET_STATE_FILE", str(tmp_path_factory.mktemp("state") / "stack.json"))
        patch.setenv("PYTHONPATH", str(ROOT))
        for name in ("WHIPPET_URL", "WHIPPET_API_KEY", "WHIPPET_PROFILE_FILE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model, packed."""
    from model_serving import archive, defaults
    from model_serving.classifier import pretrained

    path = tmp_path_factory.mktemp("model") / "model.tar.gz"
    archive.pack(defaults.default_spec(), pretrained.weights("efficientnet_lite0"), path)
    return path


@pytest.fixture(scope="session")
def unpacked(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model, packed and unpacked again."""
    from model_serving.archive import unpack

    return unpack(archive, tmp_path_factory.mktemp("unpacked"))


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Processes that serve archives as SageMaker's endpoints, shared by a file's tests."""
    from tests import endpoint_world

    with endpoint_world.hosts(tmp_path_factory.mktemp("hosts")) as found:
        yield found


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small archives of each kind that a deployment may meet."""
    from tests.endpoint_world import kinds

    return kinds(tmp_path_factory.mktemp("archives"))


@pytest.fixture
def world(tmp_path: Path, hosts: Hosts) -> Iterator[Endpoints]:
    """An account with nothing deployed."""
    from tests import endpoint_world

    with endpoint_world.endpoints(tmp_path, hosts) as found:
        yield found


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    """AWS, on this machine, with photos in another bucket than ours."""
    from tests.aws_world import world

    with world(tmp_path) as found:
        found.client("s3").create_bucket(Bucket="photos")
        found.client("s3").put_object(Bucket="photos", Key="dogs/train/a/1.jpg", Body=b"a photo")
        yield found


@pytest.fixture
def aws(here: World) -> Aws[EndpointOptions]:
    """A connection to it, for endpoints."""
    from tests.managed import connection

    return connection()


@contextmanager
def start_stack(archive: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """`python -m local_stack up --json`, on a free port; ended with the context."""
    command = [sys.executable, "-m", "local_stack", "up", "--json", "--port", "0", "--model", str(archive), *options]
    environment = {**os.environ, **(env or {})}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def described(process: subprocess.Popen[str]) -> Description:
    """What a started stack says of itself when it is ready."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else "the stack ended"
    return Description(**json.loads(line))


@pytest.fixture(scope="session")
def stack(archive: Path) -> Iterator[Description]:
    """One running stack for all tests that only talk to it."""
    with start_stack(archive, "--allow-origin", "https://app.example") as process:
        yield described(process)


@pytest.fixture
def own_state(tmp_path: Path) -> dict[str, str]:
    """A state file of its own, for a stack that is going to be killed."""
    return {"WHIPPET_STATE_FILE": str(tmp_path / "own" / "stack.json")}
