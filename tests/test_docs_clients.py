"""The programs of docs/clients.md: those in Python, JavaScript, TypeScript and for curl run as they stand there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from local_stack.stack import Description
from tests import node
from tests.fake_api import KEY, fake_api, photo, refusal
from tests.hosts import missing
from tests.node import programs
from tests.photos import jpeg


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader tries them: photos, and the file that is to be copied."""
    (tmp_path / "photos").mkdir()
    for name, size in (("dog.jpg", (400, 300)), ("cat.jpg", (300, 200)), ("photos/dog.jpg", (400, 300))):
        (tmp_path / name).write_bytes(jpeg(size))
    shutil.copy(node.CLIENT, tmp_path)
    return tmp_path


def environment(url: str, key: str) -> dict[str, str]:
    """What the programs read."""
    return {"WHIPPET_URL": url, "WHIPPET_API_KEY": key}


def run(command: list[str], folder: Path, named: Mapping[str, str]) -> str:
    """What a command prints in that folder."""
    whole = {**os.environ, **named}
    done = subprocess.run(command, cwd=folder, env=whole, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.stack
def test_python(stack: Description, folder: Path) -> None:
    """Both clients label the photo and the folder; what cannot be labelled is told."""
    plain, asynchronous = programs("python")
    named = environment(stack.url, stack.api_key)
    lines = run([sys.executable, "-c", plain], folder, named).splitlines()
    assert lines[0] == "espresso" and lines[2].endswith("dog.jpg espresso")
    assert lines[1].startswith("unsupported_media_type The file is no photo")
    lines = run([sys.executable, "-c", asynchronous], folder, named).splitlines()
    assert lines[0] == "espresso" and lines[1].endswith("dog.jpg espresso")


@pytest.mark.stack
def test_javascript_on_a_server(stack: Description, folder: Path) -> None:
    """A photo, an error, a job."""
    (script,) = [program for program in programs("js") if "node:fs" in program]
    (folder / "script.mjs").write_text(script, encoding="utf-8")
    command = [node.program(), "script.mjs"]
    lines = run(command, folder, environment(stack.url, stack.api_key)).splitlines()
    assert lines == ["confident espresso", "415 unsupported_media_type with an id for the logs", "my dog espresso"]


def test_typescript(folder: Path) -> None:
    """It compiles, with the types that the file says of itself."""
    (script,) = programs("ts")
    (folder / "script.ts").write_text(script, encoding="utf-8")
    node.compiles(folder / "script.ts")


@pytest.mark.parametrize("program", programs("js"), ids=["page", "server", "native"])
def test_javascript_can_be_read(program: str, tmp_path: Path) -> None:
    """By its grammar at least, where nothing here runs it."""
    script = tmp_path / "script.mjs"
    script.write_text(program, encoding="utf-8")
    run([node.program(), "--check", str(script)], tmp_path, {})


def curl(program: int, folder: Path, url: str, key: str) -> str:
    """What the page's program with that number prints; the first line of all writes the key's file."""
    if shutil.which("curl") is None:
        missing("needs curl: apt-get install curl")
    scripts = programs("bash")
    first = scripts[0].splitlines()[0]
    script = f"{first}\n{scripts[program].removeprefix(first)}"
    return run(["bash", "-euo", "pipefail", "-c", script], folder, environment(url, key))


@pytest.mark.stack
def test_curl(stack: Description, folder: Path) -> None:
    """One photo, then two in a request; nobody else may read the key's file."""
    alone = json.loads(curl(0, folder, stack.url, stack.api_key))
    assert [len(alone["predictions"]), alone["predictions"][0]["label"]] == [3, "espresso"]
    both = json.loads(curl(1, folder, stack.url, stack.api_key))
    assert [result["id"] for result in both["results"]] == ["dog.jpg", "cat.jpg"]
    assert (folder / "key.txt").stat().st_mode & 0o077 == 0


def test_curl_tries_again(folder: Path) -> None:
    """When the API says so, and not before its time."""
    photo(folder / "dog.jpg", "blue")
    with fake_api() as api:
        api.script = [refusal("throttled", **{"Retry-After": "1"}), refusal("endpoint_unavailable")]
        assert json.loads(curl(0, folder, api.url, KEY))["predictions"][0]["label"] == "blue"
        first, second, _ = api.posts
    assert second.at - first.at >= 1
