"""Features on disk, so that a second run over the same photos computes none.

Files are written once, whole, and never changed: processes and machines may share a folder, and a copy that is made
while a run goes on (SageMaker uploads checkpoints so) is at worst incomplete, never wrong.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch


def default_folder() -> Path:
    """`whippet/features` in the user's cache folder: WHIPPET_FEATURES, else below XDG_CACHE_HOME or ~/.cache."""
    if folder := os.environ.get("WHIPPET_FEATURES"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whippet" / "features"


class FeatureCache:
    """Feature vectors by content hash of the photo, for one way of computing them (`key`)."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder / key

    def load(self) -> dict[str, torch.Tensor]:
        """All vectors (F,) float32 by hash. A damaged file counts as absent and is removed."""
        found: dict[str, torch.Tensor] = {}
        for path in sorted(self._folder.glob("*.pt")):
            try:
                part = torch.load(path, map_location="cpu", weights_only=True)
                found.update(zip(part["hashes"], part["features"].unbind(), strict=True))
            except FileNotFoundError:
                continue
            except Exception:  # torch.load raises whatever zipfile, pickle or its own checks raise
                with contextlib.suppress(OSError):
                    path.unlink()
        return found

    def add(self, features: Mapping[str, torch.Tensor]) -> None:
        """Keep vectors by hash. OSError where the folder cannot be written."""
        if not features:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=self._folder, prefix=".part-")
        try:
            with os.fdopen(handle, "wb") as stream:
                torch.save({"hashes": list(features), "features": torch.stack(list(features.values()))}, stream)
            os.replace(partial, self._folder / f"{secrets.token_hex(8)}.pt")
        except BaseException:
            os.unlink(partial)
            raise
