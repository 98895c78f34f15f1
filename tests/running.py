"""What tests ask of a running one-machine stack."""

from __future__ import annotations

import subprocess

import psutil
import requests

from local_stack.stack import Description


def classify(stack: Description, body: bytes, content_type: str = "image/jpeg", **query: str) -> requests.Response:
    """One photo, raw."""
    headers = {"x-api-key": stack.api_key, "Content-Type": content_type}
    return requests.post(f"{stack.url}/v1/classify", body, params=query, headers=headers, timeout=60)


def parts(process: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """The running parts of a stack by their command."""
    children = psutil.Process(process.pid).children()
    return {child.cmdline()[3]: child for child in children}
