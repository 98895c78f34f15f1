"""What a killed run goes on from: one file, replaced whole after every epoch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from .errors import TrainingError


class Checkpoint:
    """State of one run. `key` says which: a run with other photos or hyperparameters does not go on from it."""

    def __init__(self, folder: Path, key: str) -> None:
        self._path = folder / "finetune.pt"
        self._key = key

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file; TrainingError where the folder cannot be written."""
        partial = self._path.with_suffix(".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"key": self._key, **state}, partial)
            os.replace(partial, self._path)
        except (OSError, RuntimeError) as error:  # torch's zip writer turns a full disk into RuntimeError
            raise TrainingError(
                f"the checkpoint {self._path} cannot be written ({error}). Free space, or choose --checkpoints DIR."
            ) from None

    def load(self) -> dict[str, Any] | None:
        """The last state of a run of this key; None where there is none, or only a damaged one."""
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True)
        except Exception:  # none yet, or torn: torch.load raises whatever zipfile, pickle or its own checks raise
            return None
        return state if isinstance(state, dict) and state.get("key") == self._key else None

    def clear(self) -> None:
        """Remove it: the run is done."""
        self._path.unlink(missing_ok=True)
