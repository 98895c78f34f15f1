"""client/web/whippet.mjs on the one-machine stack, from node: it says what the Python client says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client import Client
from local_stack.stack import Description
from tests import node
from tests.photos import encode, sample, sample_image, save

pytestmark = pytest.mark.stack

NAMES = ("chelsea.png", "coffee.png", "rocket.jpg", "camera.png")


def check(stack: Description, name: str, photos: Path, **more: str) -> None:
    """A test of stack.mjs passes."""
    node.passes("stack.mjs", name, stack.url, stack.api_key, WHIPPET_PHOTOS=str(photos), **more)


def test_labels_are_those_of_the_python_client(stack: Description, tmp_path: Path) -> None:
    """The same files unshrunk: decision, best label and all scores alone, the best label in a batch."""
    expected = {}
    with Client(stack.url, stack.api_key, shrink=False) as client:
        for name in NAMES:
            told = client.classify(save(tmp_path, name, sample(name))).to_dict()
            expected[name] = {"predictions": told["predictions"], "decision": told["decision"]}
    check(stack, "labels are those of the other client", tmp_path, EXPECTED=json.dumps(expected))


def test_errors_and_jobs(stack: Description, tmp_path: Path) -> None:
    """The API's problems with their hints; an upload, a job, its results, its end."""
    save(tmp_path, "coffee.png", sample("coffee.png"))
    check(stack, "errors are those of the contract", tmp_path)
    check(stack, "a job from its photos to its results", tmp_path)


def test_large_photos_are_uploaded(stack: Description, tmp_path: Path) -> None:
    """Above the direct limit, to a store that is not shown the key."""
    save(tmp_path, "large.png", encode(sample_image().resize((2600, 1950)), "PNG"))
    check(stack, "a large photo is uploaded first", tmp_path)
