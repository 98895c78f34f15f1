"""Schemathesis makes requests of our own OpenAPI document: nothing it thinks of is a 5xx or an undocumented answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local_stack.stack import Description

COMMAND = Path(os.environ.get("WHIPPET_SCHEMATHESIS", Path(sys.prefix) / "schemathesis")) / "bin" / "schemathesis"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
)


@pytest.mark.slow
@pytest.mark.stack
def test_every_answer_is_documented(stack: Description, tmp_path: Path) -> None:
    """Odd and broken bodies, parameters and methods, chains of requests by the document's links."""
    if not COMMAND.exists():
        assert "CI" not in os.environ, "make .venv/.schemathesis"
        pytest.skip("needs Schemathesis in an environment of its own: make test")
    options = ["--checks", ",".join(CHECKS), "--max-examples", "25", "--seed", "7", "--workers", "1", "--no-color"]
    done = subprocess.run(
        [
            COMMAND,
            "run",
            f"{stack.url}/v1/openapi.json",
            "--url",
            stack.url,
            "-H",
            f"x-api-key: {stack.api_key}",
            *options,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
