"""The worlds in which the same contract holds: one machine, MiniStack with the deployed template, and a real stack.

The last where WHIPPET_URL is set, with WHIPPET_API_KEY; WHIPPET_ORIGIN is that of a page that may call it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from local_stack import resources
from local_stack.stack import Description
from tests.contract.world import Api, Photos, client
from tests.ministack_host import Deployment, MiniStack, ministack

ORIGIN = "https://app.example"
SOURCE = "holiday"

# Read before the fixture that keeps the user's own settings away from tests.
_REAL = os.environ.get("WHIPPET_URL", "").rstrip("/")
_REAL_KEY = os.environ.get("WHIPPET_API_KEY", "")


@pytest.fixture(scope="session")
def emulator(stack: Description, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    """MiniStack, whose functions ask the one-machine stack's endpoint."""
    with ministack(tmp_path_factory.mktemp("ministack"), stack.endpoint_url) as found:
        found.client("s3").create_bucket(Bucket=SOURCE)
        yield found


@pytest.fixture(scope="session")
def deployed(emulator: MiniStack) -> Deployment:
    """The template as it comes, with one origin and a bucket of photos."""
    return emulator.deploy("whippet", AllowedOrigins=ORIGIN, PhotoBucket=SOURCE, PhotoPrefix="2026/")


@pytest.fixture(scope="session")
def one_machine(stack: Description) -> Api:
    """`python -m local_stack up`."""
    s3 = client(stack.storage_url, stack.aws_access_key_id, stack.aws_secret_access_key)
    photos = Photos(resources.PHOTOS, "2026/", s3)
    return Api(stack.url, stack.api_key, ORIGIN, no_route=404, photos=photos)


@pytest.fixture(scope="session")
def emulated(emulator: MiniStack, deployed: Deployment) -> Api:
    """The deployed template."""
    photos = Photos(SOURCE, "2026/", emulator.client("s3"))
    return Api(deployed.url, deployed.key, ORIGIN, verify=emulator.certificate, photos=photos)


@pytest.fixture(scope="session")
def real() -> Api:
    """Whatever WHIPPET_URL leads to."""
    return Api(_REAL, _REAL_KEY, os.environ.get("WHIPPET_ORIGIN", ""))


@pytest.fixture(scope="session", params=["one_machine", "emulated", *(["real"] if _REAL else [])])
def api(request: pytest.FixtureRequest) -> Api:
    """Each of them in turn."""
    found: Api = request.getfixturevalue(request.param)
    return found
