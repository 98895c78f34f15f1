"""What a model said about a set of photos: the input of every metric and of the report."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Predictions:
    """N photos and the raw answers of a model of C classes; row i of everything belongs to photo i.

    ValueError if the parts differ in length or `logits` is not (N, C): that is a mistake in the caller's code.
    """

    names: tuple[str, ...]
    """Names of the photos, relative to the folder that was evaluated."""
    paths: tuple[Path, ...]
    labels: torch.Tensor
    """(N,) int64, index into the model's classes; -1 for photos of none of the classes."""
    logits: torch.Tensor
    """(N, C) float32, before the temperature."""
    known: torch.Tensor
    """(N,) float32, the model's own "is this one of my classes" score, higher means more known."""
    sizes: torch.Tensor
    """(N, 2) int, width and height in pixels as displayed."""
    orientations: torch.Tensor
    """(N,) int, EXIF orientation 1..8."""

    def __post_init__(self) -> None:
        """ValueError for parts that do not belong together."""
        n = len(self.names)
        parts = (self.paths, self.labels, self.logits, self.known, self.sizes, self.orientations)
        if any(len(part) != n for part in parts):
            raise ValueError(f"predictions: parts of {n} photos have lengths {[len(part) for part in parts]}")
        if self.logits.ndim != 2 or tuple(self.sizes.shape) != (n, 2):
            raise ValueError("predictions: logits are (N, C) and sizes (N, 2)")

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class Scored:
    """Predictions as the numbers that metrics are made of, in float64 on the CPU.

    Of classes with equal logits the first one wins, here and in `rank`, so that a model which knows nothing
    gets no better top-k accuracy from its ties.
    """

    labels: Ints
    """(N,) index of the true class, -1 for none."""
    log_probabilities: Floats
    """(N, C) log softmax of logits / temperature."""

    @cached_property
    def predicted(self) -> Ints:
        """(N,) index of the best class."""
        best: Ints = self.log_probabilities.argmax(axis=1)
        return best

    @cached_property
    def confidence(self) -> Floats:
        """(N,) probability of the best class."""
        top: Floats = np.exp(self.log_probabilities.max(axis=1))
        return top

    @cached_property
    def correct(self) -> Bools:
        """(N,) whether the best class is the true one."""
        right: Bools = self.predicted == self.labels
        return right

    @cached_property
    def rank(self) -> Ints:
        """(N,) place of the true class among all, 0 for the best; for labels that are classes."""
        true = np.take_along_axis(self.log_probabilities, self.labels[:, None], axis=1)
        earlier = np.arange(self.log_probabilities.shape[1]) < self.labels[:, None]
        above = (self.log_probabilities > true) | ((self.log_probabilities == true) & earlier)
        places: Ints = above.sum(axis=1)
        return places


def array(tensor: torch.Tensor) -> Floats:
    """The tensor's values as float64, from whatever device and graph."""
    values: Floats = tensor.detach().to("cpu", torch.float64).numpy()
    return values


def score(predictions: Predictions, temperature: float = 1.0) -> Scored:
    """Divide the logits by the temperature and take the softmax."""
    log_probabilities = torch.log_softmax(predictions.logits.detach().cpu().double() / temperature, dim=1)
    return Scored(predictions.labels.detach().cpu().long().numpy(), log_probabilities.numpy())


def check(predictions: Predictions, classes: int, *, labelled: bool) -> None:
    """DataError for no photos, answers that are not finite, another number of classes, or labels out of range.

    With `labelled` every photo must be of one of the `classes`.
    """
    if not len(predictions):
        raise DataError("there are no photos to evaluate on; name a split or folder that has some")
    if predictions.logits.shape[1] != classes:
        found = predictions.logits.shape[1]
        raise DataError(f"the logits are of {found} classes, the model has {classes}; evaluate with its own model.json")
    finite = torch.isfinite(predictions.logits).all(dim=1) & torch.isfinite(predictions.known)
    if not finite.all():
        name = predictions.names[int((~finite).nonzero()[0])]
        raise DataError(f"the model's answer to {name} is not finite; train again with a lower learning rate")
    wrong = (predictions.labels < (0 if labelled else -1)) | (predictions.labels >= classes)
    if wrong.any():
        name = predictions.names[int(wrong.nonzero()[0])]
        raise DataError(f"{name} is of none of the model's classes; hand such photos over as the unknown ones")
