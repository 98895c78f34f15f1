"""Temperature, calibration error, its floor and AUROC against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.errors import DataError
from training.evaluation.calibration import auroc, ece, ece_floor, fit_temperature, reliability
from training.evaluation.intervals import wilson

# The first four are examples of Newcombe 1998, "Two-sided confidence intervals for the single proportion",
# table I, method 3; the last is the fourth one mirrored.
WILSON = [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0, 0.1611),
    (1, 29, 0.0061, 0.1718),
    (28, 29, 0.8282, 0.9939),
]


@pytest.mark.parametrize(("successes", "n", "low", "high"), WILSON)
def test_wilson_matches_the_literature(successes: int, n: int, low: float, high: float) -> None:
    """The interval is the published one, to its four digits."""
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_at_its_ends() -> None:
    """All right ends at exactly 1, all wrong starts at exactly 0, and no photos say nothing."""
    right, wrong = wilson(7, 7), wilson(0, 7)
    assert right is not None and right[1] == 1.0
    assert wrong is not None and wrong[0] == 0.0
    assert wilson(0, 0) is None


def test_temperature_of_one_margin() -> None:
    """With a margin of 2 and 3 of 4 right, sigmoid(2 / T) = 3/4, so T = 2 / ln 3."""
    logits, labels = torch.tensor([[2.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1])
    assert fit_temperature(logits, labels) == pytest.approx(2 / math.log(3), rel=1e-5)


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_temperature_is_recovered(true: float) -> None:
    """Labels drawn from softmax(z) and logits of z times T give that T back."""
    generator = torch.Generator().manual_seed(3)
    z = 2 * torch.randn(20_000, 7, generator=generator)
    labels = torch.multinomial(z.softmax(1), 1, generator=generator)[:, 0]
    assert fit_temperature(true * z, labels) == pytest.approx(true, rel=0.03)


@pytest.mark.parametrize(
    ("logits", "labels", "expected"),
    [
        ([[1.0, 0.0]], [0], 0.05),  # one photo, right: the sharper the better, up to the bound
        ([[3.0, 0.0], [0.0, 3.0]], [1, 0], 20.0),  # all wrong: the flatter the better
        ([[1.0, 1.0], [2.0, 2.0]], [0, 1], 1.0),  # no temperature changes anything
        ([[4000.0, 0.0]], [0], 1.0),  # nothing left to gain
        ([[5.0], [2.0]], [0, 0], 1.0),  # one class
    ],
)
def test_temperature_stays_in_bounds(logits: list[list[float]], labels: list[int], expected: float) -> None:
    """Few photos, or all of them right, give a bounded temperature instead of 0 or infinity."""
    assert fit_temperature(torch.tensor(logits), torch.tensor(labels)) == pytest.approx(expected)


def test_temperature_reads_trained_logits() -> None:
    """Logits that still hang on a graph, in half precision, are fitted all the same."""
    logits = torch.tensor([[2.0, 0.0]] * 4, dtype=torch.bfloat16, requires_grad=True)
    assert fit_temperature(logits, torch.tensor([0, 0, 0, 1])) == pytest.approx(1.8205, abs=1e-3)


@pytest.mark.parametrize("labels", [[], [-1, 0], [0, 2]])
def test_temperature_needs_labelled_photos(labels: list[int]) -> None:
    """No photos, photos of none of the classes and labels beyond them are refused."""
    with pytest.raises(DataError, match="temperature"):
        fit_temperature(torch.zeros(len(labels), 2), torch.tensor(labels, dtype=torch.int64))


def test_ece_by_hand() -> None:
    """Two bins: (0.5, 0.7) half right is off by 0.1, (0.8, 1.0) all right is off by 0.1."""
    assert ece([0.8, 0.5, 1.0, 0.7], [True, True, True, False], bins=2) == pytest.approx(0.1)


def test_ece_of_fewer_photos_than_bins() -> None:
    """Every photo is a bin of its own: |1 - 0.9| and |0 - 0.6|."""
    assert ece(torch.tensor([0.9, 0.6]), torch.tensor([True, False])) == pytest.approx((0.1 + 0.6) / 2)


def test_bins_hold_equally_many() -> None:
    """23 photos in 10 bins are 2 or 3 each, by rising confidence."""
    found = reliability(np.linspace(0.1, 0.9, 23), np.ones(23, bool))
    assert sorted(b.n for b in found) == [2] * 7 + [3] * 3
    assert [b.confidence for b in found] == sorted(b.confidence for b in found)


def test_equal_confidences_share_a_bin() -> None:
    """Photos that the model cannot tell apart are never split, so their order cannot change the error."""
    confidence, correct = [0.9] * 6 + [0.5] * 2, [True, True, True, False, False, False, True, False]
    assert [b.n for b in reliability(confidence, correct, bins=4)] == [2, 6]
    assert ece(confidence, correct, bins=4) == ece(confidence[::-1], correct[::-1], bins=4) == pytest.approx(0.3)


def test_floor_by_hand() -> None:
    """100 photos of confidence 0.5: the mean of |B - 50| / 100 for a binomial B is 0.0398, its 95 % quantile 0.1."""
    floor = ece_floor([0.5] * 100, repeats=4000)
    assert floor.mean == pytest.approx(0.0398, abs=0.002)
    assert floor.p95 == pytest.approx(0.1, abs=0.011)


def test_floor_covers_a_calibrated_model() -> None:
    """Of models that are right exactly as often as they say, 95 % stay below the floor's 95th percentile."""
    generator = np.random.default_rng(5)
    confidence = generator.uniform(0.3, 1.0, 300)
    floor = ece_floor(confidence)
    errors = np.array([ece(confidence, generator.random(300) < confidence) for _ in range(400)])
    assert 0.91 < (errors <= floor.p95).mean() < 0.985
    assert errors.mean() == pytest.approx(floor.mean, rel=0.05)


def test_floor_is_repeatable_and_shrinks() -> None:
    """The same photos give the same floor, and more photos a lower one."""
    few = np.linspace(0.2, 0.9, 50)
    assert ece_floor(few) == ece_floor(few)
    assert ece_floor(np.repeat(few, 16)).mean < ece_floor(few).mean / 3


def test_sure_models_have_no_floor() -> None:
    """A model that is always right and says so is measured without error."""
    assert ece_floor([1.0] * 20).p95 == 0.0


def test_auroc_by_hand() -> None:
    """Of the 6 pairs of (3, 2, 1) and (2, 0) four are won and one is tied: 4.5 / 6."""
    assert auroc([3.0, 2.0, 1.0], [2.0, 0.0]) == 0.75


@pytest.mark.parametrize(
    ("positive", "negative", "expected"), [([2.0, 3.0], [0.0, 1.0], 1.0), ([0.0], [1.0], 0.0), ([5.0] * 3, [5.0], 0.5)]
)
def test_auroc_at_its_ends(positive: list[float], negative: list[float], expected: float) -> None:
    """Apart is 1, swapped is 0, and a score that never changes is chance."""
    assert auroc(torch.tensor(positive), torch.tensor(negative)) == expected


def test_auroc_of_two_normals() -> None:
    """Unit normals one apart: the area is the normal distribution's share below 1 / sqrt 2, 0.7602."""
    generator = np.random.default_rng(0)
    assert auroc(generator.normal(1, 1, 40_000), generator.normal(0, 1, 30_000)) == pytest.approx(0.7602, abs=0.005)


def test_scores_need_photos() -> None:
    """Nothing can be computed on nothing, and the message says so instead of a division by zero."""
    for call in (lambda: auroc([], [1.0]), lambda: auroc([1.0], []), lambda: ece([], []), lambda: ece_floor([])):
        with pytest.raises(DataError, match="there are none"):
            call()


def test_a_prior_keeps_a_dozen_right_answers_from_certainty() -> None:
    """All right on few photos says little of sharpness; on many the prior no longer counts."""
    few = fit_temperature(torch.tensor([[2.0, 0.0]] * 12), torch.zeros(12, dtype=torch.int64), 0.5)
    assert 0.4 < few < 1
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(20_000, 3, generator=generator)
    labels = torch.multinomial(z.softmax(1), 1, generator=generator)[:, 0]
    assert fit_temperature(3 * z, labels, 0.5) == pytest.approx(3, rel=0.05)
