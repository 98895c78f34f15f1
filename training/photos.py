"""Batches of photos for the unfrozen stage, the same whichever process, worker or restart makes them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from model_serving.classifier import Preprocessing, RequestError
from model_serving.classifier.preprocess import to_tensor

from . import augment
from .distributed import World
from .errors import DataError

MAX_WORKERS = 16


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Key = tuple[int, int]
"""Epoch and index of a photo: what its view is seeded by."""


@dataclass(frozen=True)
class Photos(Dataset[tuple[torch.Tensor, int]]):
    """Files with labels, read as the network sees them; augmented anew each epoch unless `augmentation` is none."""

    paths: Sequence[Path]
    labels: Sequence[int]
    preprocessing: Preprocessing
    augmentation: str = "none"
    seed: int = 0

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, int]:
        epoch, index = key
        try:
            return self._pixels(self.paths[index].read_bytes(), epoch, index), self.labels[index]
        except (OSError, RequestError) as error:
            # It was readable when the run began. One argument: a worker's error is made anew in the main process.
            raise DataError(f"{self.paths[index]} can no longer be read ({error}). Put it back and go on.") from None

    def _pixels(self, data: bytes, epoch: int, index: int) -> torch.Tensor:
        if self.augmentation == "none":
            return to_tensor(data, self.preprocessing)
        seed, strong = f"{self.seed}-{epoch}-{index}", self.augmentation == "strong"
        return augment.view(data, self.preprocessing, seed, strong=strong)

    def __len__(self) -> int:
        return len(self.paths)


class Batches:
    """The batches of one process: its part of each batch of the whole run, shuffled by seed and epoch.

    A batch that does not divide by the number of processes is filled up from its own start, so that all take
    equally many steps.
    """

    def __init__(self, photos: int, size: int, world: World, seed: int, *, shuffle: bool) -> None:
        self._photos, self._size, self._world = photos, size, world
        self._seed, self._shuffle = seed, shuffle
        self.epoch = 0

    def __iter__(self) -> Iterator[list[Key]]:
        order = torch.arange(self._photos)
        if self._shuffle:
            generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self.epoch)
            order = torch.randperm(self._photos, generator=generator)
        for batch in torch.split(order, self._size):
            indices = batch.tolist()
            missing = -len(indices) % self._world.size
            indices += (indices * self._world.size)[:missing]
            yield [(self.epoch, index) for index in self._world.share(indices)]

    def __len__(self) -> int:
        return -(-self._photos // self._size)

    @property
    def full(self) -> int:
        """Batches of the full size; the last one may be smaller."""
        return self._photos // self._size


def readers(workers: int, world: World) -> int:
    """Processes that read photos; -1 takes the cores that a GPU leaves idle, on a CPU none: the pass needs them."""
    if workers >= 0:
        return workers
    return min(MAX_WORKERS, cores() // world.neighbours) if world.device.type == "cuda" else 0


def loader(photos: Photos, batches: Batches, workers: int, world: World) -> DataLoader[tuple[torch.Tensor, int]]:
    """Reads ahead in `workers` processes, which live as long as the loader."""
    gpu = world.device.type == "cuda"
    return DataLoader(
        photos, batch_sampler=batches, num_workers=workers, pin_memory=gpu, persistent_workers=workers > 0
    )
