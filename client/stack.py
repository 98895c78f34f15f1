"""The one-machine stack as the client sees it: the state file of a running one."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Stack:
    """A running one-machine stack. `model` is its archive; `pid` its process, None where nobody told."""

    url: str
    api_key: str = field(repr=False)
    endpoint_url: str = ""
    model: str = ""
    pid: int | None = None

    @classmethod
    def from_json(cls, text: str | bytes) -> Stack:
        """Read the JSON a stack writes about itself; ValueError if it is something else."""
        data: Any = json.loads(text)
        try:
            url, key = str(data["url"]), str(data["api_key"])
            pid = data.get("pid")
            return cls(url, key, str(data.get("endpoint_url", "")), str(data.get("model", "")), pid and int(pid))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError("not a stack's description") from error


def state_file() -> Path:
    """Where a running stack describes itself, whether one runs or not.

    WHIPPET_STATE_FILE, else `whippet/stack.json` in the user's cache folder. It holds a key: whoever
    writes it keeps it readable for its owner alone.
    """
    if named := os.environ.get("WHIPPET_STATE_FILE"):
        return Path(named)
    return _cache_folder() / "whippet" / "stack.json"


def running() -> Stack | None:
    """The stack that the state file describes; None if there is none or its process is gone."""
    try:
        found = Stack.from_json(state_file().read_bytes())
    except (OSError, ValueError):
        return None
    return found if found.pid is None or _alive(found.pid) else None


def _cache_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    if sys.platform == "win32":  # os.kill(pid, 0) would end the process there
        import ctypes

        handle = ctypes.windll.kernel32.OpenProcess(0x1000, False, pid)  # may query
        return bool(handle and ctypes.windll.kernel32.CloseHandle(handle))
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
