"""Temperature, thresholds and class means: what a validation set makes of an answer."""

from __future__ import annotations

import pytest
import torch

from model_serving.classifier import network
from training.calibrate import calibrate, prototypes, summary


def test_prototypes_are_mean_directions() -> None:
    """Of length 1, and a long vector counts no more than a short one."""
    features = torch.tensor([[10.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    means = prototypes(features, torch.tensor([0, 0, 1]), 2)
    assert torch.allclose(means, torch.tensor([[0.7071, 0.7071], [0.0, 1.0]]), atol=1e-4)
    assert network.similarity(features[2:], means).item() == pytest.approx(1)


def sharp(right: list[bool], margins: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of two classes with these margins, and labels so that the answers are right or wrong."""
    logits = torch.tensor([[margin, 0.0] for margin in margins])
    return logits, torch.tensor([0 if ok else 1 for ok in right])


def test_confident_answers_are_right_19_times_of_20() -> None:
    """The threshold is the lowest score at and above which that holds."""
    margins = torch.linspace(6, 0.5, 100).tolist()
    right = [True] * 60 + [i % 2 == 0 for i in range(40)]
    logits, labels = sharp(right, margins)
    decided = calibrate(logits, labels, torch.ones(100))
    scores = (logits / decided.temperature).softmax(1).max(1).values
    confident = scores >= decided.confident - 1e-4
    accuracy = torch.tensor(right)[confident].double().mean()
    assert accuracy >= 0.949
    assert 60 <= confident.sum() <= 68


@pytest.mark.parametrize(("right", "threshold"), [([True] * 50, 0.5), ([False] * 50, 0.99)])
def test_the_threshold_stays_in_range(right: list[bool], threshold: float) -> None:
    """A model that is always right is still not confident below a half; one that never is has no threshold."""
    logits, labels = sharp(right, torch.linspace(0.01, 3, 50).tolist())
    decided = calibrate(logits, labels, torch.ones(50))
    assert decided.confident == pytest.approx(threshold, abs=0.02)


def test_few_validation_photos_are_called_unknown() -> None:
    """One in forty, of photos that are all known: the price of telling strangers."""
    logits, labels = sharp([True] * 200, [2.0] * 200)
    known = torch.linspace(0, 1, 200)
    decided = calibrate(logits, labels, known)
    assert decided.known_by == "similarity"
    assert (known < decided.known).sum() == 5


def test_summary_by_hand() -> None:
    """Top-1, top-5 with fewer classes than five, and the loss of three known answers."""
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    found = summary(logits, torch.tensor([0, 1, 1]), 1.0)
    assert (found["n"], found["top1"], found["top5"]) == (3, pytest.approx(2 / 3), 1.0)
    assert found["nll"] == pytest.approx((0.126928 * 2 + 2.126928) / 3, abs=1e-5)


def test_certain_mistakes_have_a_finite_loss() -> None:
    """A probability below the smallest number is no reason for Infinity in model.json."""
    assert summary(torch.tensor([[60.0, 0.0]]), torch.tensor([1]), 0.05)["nll"] == pytest.approx(1200)
