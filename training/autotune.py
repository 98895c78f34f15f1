"""How many processes should read photos? Tried out with the very steps that are to come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice

import torch

from .distributed import World
from .photos import MAX_WORKERS, Batches, Photos, cores, loader

WARM, STEPS = 2, 4
"""Steps before the clock starts, and timed ones; both more with more processes, which read ahead."""

BETTER = 0.95
"""More processes must bring a step down to this share of its time, or the search for more ends."""

Step = Callable[[torch.Tensor, torch.Tensor], object]


def tried(photos: Photos, batches: Batches, world: World, step: Step) -> Iterator[tuple[int, float]]:
    """Processes and seconds a step: 0, 2, 4 … up to the cores, until more of them are no faster.

    It ends earlier, perhaps before the first, where there are too few photos to tell. `step` takes pixels and labels
    and leaves the network as it was. Every process of the run calls this.
    """
    fastest = float("inf")
    for workers in range(0, min(MAX_WORKERS, max(2, cores() // world.neighbours)) + 1, 2):
        if batches.full <= _warm(workers):
            return
        seconds = _seconds(photos, batches, workers, world, step)
        yield workers, seconds
        if seconds > BETTER * fastest:
            return
        fastest = seconds


def _warm(workers: int) -> int:
    """Batches read ahead while the clock stood still would flatter."""
    return WARM + 2 * workers


def _seconds(photos: Photos, batches: Batches, workers: int, world: World, step: Step) -> float:
    """Of one step, the slowest process's. A smaller last batch is none: a GPU compiles for its size first."""
    warm, steps = _warm(workers), min(batches.full, _warm(workers) + STEPS + workers)
    started = ended = 0.0
    for done, (pixels, labels) in enumerate(islice(loader(photos, batches, workers, world), steps), 1):
        step(pixels, labels)
        ended = time.perf_counter()
        if done == warm:
            started = ended
    return max(world.gather((ended - started) / (steps - warm)))
