"""Scores that mean what they say: temperature, calibration error and how well two groups are told apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from training.errors import DataError

from .predictions import Bools, Floats, Ints, array

TEMPERATURES = (0.05, 20.0)
"""Bounds of a fitted temperature. Without them, photos that are all right would drive it to 0."""

BINS = 10
"""Bins of the calibration error: with 200 photos 20 each, enough to see an accuracy in steps of 5 points."""

_GOLDEN = (math.sqrt(5) - 1) / 2
_STEPS = 32  # leave 0.618**32 of the interval: a temperature to 6 digits

Values = torch.Tensor | Floats | Ints | Bools | Sequence[float]
"""(N,) numbers, in whichever form the caller has them."""


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor, spread: float = math.inf) -> float:
    """The T within `TEMPERATURES` that minimises the mean negative log likelihood of softmax(logits / T).

    A finite `spread` is the standard deviation of a normal prior on log T around T = 1: a dozen photos that happen
    to be all right must not make a model certain of everything, while hundreds outweigh it.

    Temperature scaling of Guo et al. 2017, "On Calibration of Modern Neural Networks". The likelihood is concave
    in 1/T, so golden section search over log T finds its maximum. Logits that no temperature improves give 1.0.
    DataError for no photos or labels outside the (N, C) logits.
    """
    if not len(labels):
        raise DataError("a temperature needs photos to be fitted on; there are none")
    if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise DataError("a temperature is fitted on photos of the model's classes only; leave out the others")
    logits, labels = logits.detach().cpu().double(), labels.cpu()

    def loss(log_temperature: float) -> float:
        prior = (log_temperature / spread) ** 2 / 2 / len(labels)
        return float(functional.cross_entropy(logits / math.exp(log_temperature), labels)) + prior

    best = _golden_section(loss, math.log(TEMPERATURES[0]), math.log(TEMPERATURES[1]))
    return math.exp(best) if loss(best) < loss(0.0) else 1.0


TEMPERATURE_SPREAD = 0.5
"""The prior's standard deviation where a model is calibrated: most networks need a temperature from 0.6 to 1.6."""


def _golden_section(loss: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley is lowest: one of the ends if it falls up to there, near 0 on a flat floor."""
    ends = (low, high)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(_STEPS):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss(right)
    return min((*ends, (low + high) / 2), key=lambda at: (loss(at), abs(at)))


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability diagram: `n` photos, their mean confidence and the share that is right."""

    n: int
    confidence: float
    accuracy: float


def reliability(confidence: Values, correct: Values, bins: int = BINS) -> list[Bin]:
    """At most `bins` bins of about equally many photos, by rising confidence.

    Equal mass instead of equal width: Nguyen & O'Connor 2015, "Posterior calibration and exploratory analysis for
    natural language processing models"; trained models crowd near 1, where equal widths would hold everything.
    Photos of one confidence share a bin, so that the order of the photos changes nothing.
    """
    confidences, rights = _floats(confidence), _floats(correct)
    order = np.argsort(confidences)
    confidences, rights = confidences[order], rights[order]
    starts = _starts(confidences, bins)
    counts = np.diff([*starts, len(confidences)])
    means = np.add.reduceat(confidences, starts) / counts, np.add.reduceat(rights, starts) / counts
    return [Bin(int(n), float(c), float(a)) for n, c, a in zip(counts, *means, strict=True)]


def ece(confidence: Values, correct: Values, bins: int = BINS) -> float:
    """Expected calibration error: the mean over photos of |accuracy - confidence| of their bin, in 0..1.

    `confidence` is (N,) in 0..1, `correct` (N,) true or false. Naeini et al. 2015, "Obtaining Well Calibrated
    Probabilities Using Bayesian Binning", with the bins of `reliability`. DataError for no photos.
    """
    found = reliability(confidence, correct, bins)
    return sum(b.n * abs(b.accuracy - b.confidence) for b in found) / sum(b.n for b in found)


@dataclass(frozen=True)
class EceFloor:
    """What the ECE of a perfectly calibrated model looks like on this few photos: mean and 95th percentile."""

    mean: float
    p95: float


def ece_floor(confidence: Values, bins: int = BINS, repeats: int = 1000, seed: int = 0) -> EceFloor:
    """The ECE if every photo were right with exactly its confidence, drawn `repeats` times.

    The ECE of a finite sample is above 0 even for a perfect model; an ECE below `p95` is no sign of bad
    calibration. Consistency resampling of Broecker & Smith 2007, "Increasing the Reliability of Reliability
    Diagrams". DataError for no photos.
    """
    confidences = np.sort(_floats(confidence))
    starts = _starts(confidences, bins)
    generator = np.random.default_rng(seed)
    expected = np.add.reduceat(confidences, starts)
    errors = np.empty(repeats)
    for i in range(repeats):  # one row at a time: all at once would be `repeats` times N numbers
        right = np.add.reduceat((generator.random(len(confidences)) < confidences).astype(np.float64), starts)
        errors[i] = np.abs(right - expected).sum() / len(confidences)
    return EceFloor(float(errors.mean()), float(np.quantile(errors, 0.95)))


def auroc(positive_scores: Values, negative_scores: Values) -> float:
    """How often a positive scores above a negative, over all pairs, ties counted half; 0.5 is chance.

    The area under the ROC curve equals this: Hanley & McNeil 1982, "The meaning and use of the area under a
    receiver operating characteristic (ROC) curve". DataError unless there is one of each.
    """
    positive, negative = _floats(positive_scores), np.sort(_floats(negative_scores))
    below = np.searchsorted(negative, positive, "left")
    up_to = np.searchsorted(negative, positive, "right")
    return float((below + up_to).sum() / 2 / (len(positive) * len(negative)))


def _starts(sorted_confidences: Floats, bins: int) -> Ints:
    """Index of the first photo of each bin; a border inside a run of equal confidences moves to the run's start."""
    n = len(sorted_confidences)
    borders = np.arange(min(bins, n)) * n // min(bins, n)
    return np.unique(np.searchsorted(sorted_confidences, sorted_confidences[borders], "left"))


def _floats(values: Values) -> Floats:
    floats = array(values) if isinstance(values, torch.Tensor) else np.asarray(values, np.float64)
    if not len(floats):
        raise DataError("a score needs photos to be computed on; there are none")
    return floats
