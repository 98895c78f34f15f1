"""Features on disk, so that a second run over the same photos computes none.

Files are written once, whole, and never changed: processes and machines may share a folder, and a copy that is made
while a run goes on (SageMaker uploads checkpoints so) is at worst incomplete, never wrong.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import secrets
import tempfile
import time
from collections.abc import Container, Mapping
from pathlib import Path

import torch

_DAY = 24 * 3600.0


def default_folder() -> Path:
    """`whippet/features` in the user's cache folder: WHIPPET_FEATURES, else below XDG_CACHE_HOME or ~/.cache."""
    if folder := os.environ.get("WHIPPET_FEATURES"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whippet" / "features"


class FeatureCache:
    """Feature vectors by content hash of the photo, for one way of computing them (`key`)."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder / key

    def load(self, wanted: Container[str]) -> dict[str, torch.Tensor]:
        """Vectors (F,) float32 of those hashes that are there. A damaged file counts as absent and is removed."""
        found: dict[str, torch.Tensor] = {}
        for path in sorted(self._folder.glob("*.pt")):
            try:
                part = torch.load(path, map_location="cpu", weights_only=True)
                rows = zip(part["hashes"], part["features"], strict=True)
                # Copies, since a row is a view that would keep its whole file in memory.
                found.update({sha256: row.clone() for sha256, row in rows if sha256 in wanted})
            except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError):
                with contextlib.suppress(OSError):
                    path.unlink()
            except OSError:
                continue
        self._tidy()
        return found

    def _tidy(self) -> None:
        """Remove what killed runs left half written, a day after."""
        for path in self._folder.glob(".part-*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < time.time() - _DAY:
                    path.unlink()

    def add(self, features: Mapping[str, torch.Tensor]) -> None:
        """Keep vectors by hash. OSError where the folder cannot be written."""
        if not features:
            return
        # In memory first: torch's own writer turns a full disk into a RuntimeError.
        packed = io.BytesIO()
        torch.save({"hashes": list(features), "features": torch.stack(list(features.values()))}, packed)
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=self._folder, prefix=".part-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(packed.getbuffer())
            os.chmod(partial, 0o644)
            os.replace(partial, self._folder / f"{secrets.token_hex(8)}.pt")
        except BaseException:
            os.unlink(partial)
            raise
