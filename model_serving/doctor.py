"""The archive doctor: runs an archive as a container would, and says of each promise whether it holds.

The hooks run in a clean process (`probe.py`) where only `code/` and installed packages can be imported, so an
archive that leans on a checkout fails here and not in the cloud.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .archive import ADAPTERS, PACKAGE, code_digest, content_version, unpacked
from .classifier import ClassifierError, ModelSpec, read_weights
from .errors import ArchiveError

PROBE_SECONDS = 300
"""Loading and answering takes seconds; a hook that hangs must not hang the doctor."""

SHADOWED = ("serving", "torchserve", "handler_service", "ts_")
"""Module names that AWS's PyTorch container puts its own before."""


@dataclass(frozen=True)
class Check:
    """One promise: whether it holds, and what was seen."""

    name: str
    ok: bool
    detail: str = ""


def examine(archive: Path) -> Iterator[Check]:
    """Check after check as they are made; stops early where nothing further can be checked."""
    try:
        with unpacked(archive) as folder:
            yield Check("unpacks safely", True)
            yield from _content(folder)
    except ArchiveError as error:
        yield Check("unpacks safely", False, str(error))


def _content(folder: Path) -> Iterator[Check]:
    missing = [name for name in ("model.json", "model.pt", "code/inference.py") if not (folder / name).is_file()]
    yield Check("has model.json, model.pt and code/inference.py", not missing, f"missing: {missing}" if missing else "")
    if missing:
        return
    shadowed = [p.name for p in (folder / "code").iterdir() if p.stem.startswith(SHADOWED)]
    yield Check("no module that the container shadows", not shadowed, ", ".join(shadowed))
    adapters = [name for name in (*ADAPTERS, "config.yaml") if not (folder / name).is_file()]
    detail = f"missing: {', '.join(adapters)}; pack it again, or leave it to deploy" if adapters else ""
    yield Check("has what TorchServe's batches and Ray Serve need", not adapters, detail)
    yield _version(folder)
    yield from _probe(folder)


def _version(folder: Path) -> Check:
    name = "version is that of the content"
    try:
        spec = ModelSpec.load(folder / "model.json")
        actual = content_version(spec, read_weights(folder / "model.pt"), code_digest(folder / "code"))
    except ClassifierError as error:
        return Check(name, False, str(error))
    if spec.version == actual:
        return Check(name, True, actual)
    return Check(name, False, f"model.json says {spec.version!r}, the content is {actual}; pack it again")


def _probe(folder: Path) -> Iterator[Check]:
    """Run the hooks in a process that has seen neither this checkout nor an editable install of it."""
    paths = dict.fromkeys(sysconfig.get_paths()[key] for key in ("purelib", "platlib"))
    command = [sys.executable, "-I", "-S", str(PACKAGE / "probe.py"), str(folder), *paths]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        yield Check("the hooks run to the end", False, f"still running after {PROBE_SECONDS} s")
        return
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            yield Check(**json.loads(line))
    last = (done.stderr.strip().splitlines() or [""])[-1]
    yield Check("the hooks run to the end", done.returncode == 0, "" if done.returncode == 0 else last)
