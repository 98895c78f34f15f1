"""One process or several under torchrun: who am I, and what did the others find."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from .errors import ConfigError, TrainingError

T = TypeVar("T")

_TIMEOUT = timedelta(hours=2)
"""How long a process waits for the others: rank 0 trains the head while the rest wait, and photos differ in size."""


@dataclass(frozen=True)
class World:
    """The processes of a run. Rank 0 prints, writes and trains the head; all compute features and fine-tune."""

    rank: int
    size: int
    device: torch.device

    @property
    def neighbours(self) -> int:
        """Processes on this process's machine; their ranks follow one another."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if self.size > 1 else 1

    @property
    def leads(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of the items: every size-th."""
        return items[self.rank :: self.size]

    def gather(self, value: T) -> list[T]:
        """The value of every process, by rank, in every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def broadcast(self, value: T) -> T:
        """Rank 0's value, in every process."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, device=self.device if self.device.type == "cuda" else None)
        return box[0]


@contextmanager
def world() -> Iterator[World]:
    """The run as torchrun's environment describes it: nccl where there are GPUs, gloo elsewhere."""
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        local = int(os.environ.get("LOCAL_RANK", 0))
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f"this machine has {torch.cuda.device_count()} GPUs and was given more processes. "
                "Start as many by --nproc-per-node."
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if size == 1:
        yield World(0, 1, device)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield World(rank, size, device)
    except RuntimeError as error:
        # gloo has no error class of its own; nccl's is DistBackendError, a RuntimeError.
        if isinstance(error, distributed.DistBackendError) or "gloo" in str(error):
            raise TrainingError("another process of this run has ended; its message says why.") from None
        raise
    # Not after an error: the others may wait in an operation that this one has left, and so would the goodbye.
    distributed.destroy_process_group()
