"""`--local` with a stand-in for the stack: started for the run, gone after it, whatever happens."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client import local
from client.cli import app
from client.errors import NoApiError
from tests.fake_api import KEY, FakeApi, fake_api, photo


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """The API that the stand-in stack claims to have started."""
    with fake_api() as running:
        yield running


@pytest.fixture
def fake_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: FakeApi) -> Path:
    """A module `local_stack` that notes its arguments and its end, and tells of the stand-in API."""
    line = json.dumps({"url": api.url, "api_key": KEY, "endpoint_url": "e", "model": "m"})
    script = f"""
        import os, signal, sys, time
        from pathlib import Path
        here = Path({str(tmp_path)!r})
        def end(*_):
            (here / "ended").touch()
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        (here / "args").write_text(" ".join(sys.argv[1:]))
        if os.environ.get("BROKEN"):
            sys.exit("no model could be built")
        print({line!r}, flush=True)
        time.sleep(60)
    """
    package = tmp_path / "modules" / "local_stack"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(textwrap.dedent(script))
    monkeypatch.setenv("PYTHONPATH", f"{package.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.chdir(tmp_path)  # for there `-m` would find the real one first
    return tmp_path


def test_a_run_with_its_own_stack(api: FakeApi, fake_stack: Path) -> None:
    """--local starts a stack with the named model, uses its URL and key, and ends it."""
    photo(fake_stack / "a.jpg")
    (fake_stack / "my.tar.gz").touch()
    result = CliRunner().invoke(app, ["classify", "a.jpg", "--local", "--model", "my.tar.gz"])
    assert result.exit_code == 0
    assert len(api.posts) == 1
    assert (fake_stack / "args").read_text() == "up --json --port 0 --no-jobs --model my.tar.gz"
    assert (fake_stack / "ended").exists()


def test_the_stack_goes_even_after_errors(fake_stack: Path) -> None:
    """An error or Ctrl-C during the run ends the stack too."""
    with pytest.raises(KeyboardInterrupt), local.started():
        raise KeyboardInterrupt
    assert (fake_stack / "ended").exists()


def test_a_stack_that_does_not_start(fake_stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it dies first, its last words are shown and the exit code is 3."""
    monkeypatch.setenv("BROKEN", "1")
    photo(fake_stack / "a.jpg")
    result = CliRunner().invoke(app, ["classify", "a.jpg", "--local"])
    assert result.exit_code == 3
    assert "no model could be built" in result.stderr


def test_a_stack_that_never_gets_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack that says nothing is given up and killed, with all it started."""
    package = tmp_path / "local_stack"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "START_SECONDS", 1)
    monkeypatch.setattr(local, "STOP_SECONDS", 0.2)
    started = time.monotonic()
    with pytest.raises(NoApiError, match="not ready"), local.started():
        pass
    assert time.monotonic() - started < 10


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM cannot be caught there")
