"""What tests ask of a running one-machine stack."""

from __future__ import annotations

import subprocess
from pathlib import Path

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


def peak_memory(pid: int) -> int:
    """Bytes that a process and those below it took at most since they began, pages that they share counted once.

    By the kernel's own record of each one's peak: whoever looks from time to time misses what lasts for milliseconds.
    Peaks are added up as if they fell together, so the truth is never more. Elsewhere than on Linux nobody keeps
    them; there it is what they hold now, shared pages counted every time.
    """
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    if not psutil.LINUX:
        return sum(process.memory_info().rss for process in family)
    held = [_kernels_figures(process.pid) for process in family]
    # Files are mapped by all, nearly all of them by the endpoint: torch's libraries.
    files = max(each["Rss"] - each["Anonymous"] for each in held)
    return files + sum(each["Pss_Anon"] + each["VmHWM"] - each["Rss"] for each in held)


def _kernels_figures(pid: int) -> dict[str, int]:
    """Bytes by the names of proc(5): `Pss_Anon` are its own pages and its share of others', `VmHWM` its peak."""
    folder = Path(f"/proc/{pid}")
    lines = [line.split() for name in ("status", "smaps_rollup") for line in (folder / name).read_text().splitlines()]
    return {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines if line[2:] == ["kB"]}
