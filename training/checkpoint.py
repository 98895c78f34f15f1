"""What a killed run goes on from: one file a run, replaced whole after every epoch."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from .errors import TrainingError


class Checkpoint:
    """State of one run. `key` says which: a run with other photos or hyperparameters has another file."""

    def __init__(self, folder: Path, key: str) -> None:
        self._path = folder / f"finetune-{key[:12]}.pt"
        self._key = key

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file; TrainingError where the folder cannot be written."""
        partial = self._path.with_suffix(".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                torch.save({"key": self._key, **state}, stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, self._path)
        except (OSError, RuntimeError) as error:  # torch's zip writer turns a full disk into RuntimeError
            raise TrainingError(
                f"the checkpoint {self._path} cannot be written ({error}). Free space, or choose --checkpoints DIR."
            ) from None

    def load(self) -> dict[str, Any] | None:
        """The last state of a run of this key; None where there is none, or only a damaged one.

        TrainingError where the file is there and may not be read.
        """
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError):  # torn
            return None
        except OSError as error:
            raise TrainingError(f"the checkpoint {self._path} cannot be read ({error.strerror}).") from None
        return state if isinstance(state, dict) and state.get("key") == self._key else None

    def others(self) -> list[str]:
        """Names of checkpoints in the folder that belong to other runs."""
        return sorted(path.name for path in self._path.parent.glob("finetune-*.pt") if path != self._path)

    def clear(self) -> None:
        """Remove it: the run is done."""
        self._path.unlink(missing_ok=True)
