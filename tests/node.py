"""Tests of the web client by node's own test runner, and the programs of its documentation."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.hosts import missing

CLIENT = ROOT / "client" / "web" / "whippet.mjs"
FOLDER = ROOT / "tests" / "web_client"
OLDEST = 18
TYPESCRIPT = Path(os.environ.get("WHIPPET_TYPESCRIPT", Path(sys.prefix) / "typescript")) / "node_modules" / "typescript"


def program() -> str:
    """node; skips the test where there is none that is new enough."""
    found = shutil.which("node") or ""
    if not found:
        missing(f"needs node {OLDEST} or newer: apt-get install nodejs")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version[1:].partition(".")[0]) < OLDEST:
        missing(f"needs node {OLDEST} or newer, this is {version.strip()}")
    return found


def passes(file: str, name: str, url: str, key: str, **more: str) -> None:
    """The test of that name in that file, with an API to talk to, passes."""
    command = [program(), "--test-reporter=tap", f"--test-name-pattern=^{re.escape(name)}$", str(FOLDER / file)]
    named: Mapping[str, str] = {"WHIPPET_URL": url, "WHIPPET_API_KEY": key, **more}
    done = subprocess.run(command, env={**os.environ, **named}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^# pass 1$", done.stdout, re.MULTILINE), f"no test {name!r} in {file}"


def compiles(script: Path) -> None:
    """TypeScript finds no error in that file, nor in the JavaScript it imports."""
    if not TYPESCRIPT.exists():
        pytest.skip(f"no {TYPESCRIPT}; `make test` installs it where npm has a registry")
    strict = ["--noEmit", "--strict", "--noUnusedLocals", "--allowJs", "--checkJs"]
    modern = ["--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"]
    command = [program(), str(TYPESCRIPT / "bin" / "tsc"), *strict, *modern, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def programs(language: str) -> list[str]:
    """The programs of docs/clients.md in a language, in their order."""
    text = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
