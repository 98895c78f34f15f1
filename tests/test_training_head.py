"""The head: what it learns on features is what the archive says of photos."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from model_serving.classifier import Head, network
from training.config import TrainingConfig
from training.errors import TrainingError
from training.head import Features, Trained, apply_head, train_head
from training.optimise import Best, class_weights, loss_sum, step_size, validation

CPU = torch.device("cpu")
CONFIG = TrainingConfig(backbone="none", epochs=8, batch_size=16)


def blobs(n: int, seed: int = 0, classes: int = 3, width: int = 20) -> Features:
    """Points around one centre a class, far from zero and of a large scale, as pooled features may be."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(n) % classes
    points = centres[labels] + 0.5 * torch.randn(n, width, generator=generator)
    return Features((100 + 30 * points)[None], labels)


@pytest.mark.parametrize("head", [Head(), Head((32,), 0.3), Head((32, 16))])
def test_learns_and_takes_features_as_they_are(head: Head) -> None:
    """The scaling during training is gone from the weights: they fit raw features, and do so well."""
    train, valid = blobs(120), blobs(60, seed=1)
    config = dataclasses.replace(CONFIG, hidden=head.hidden, dropout=head.dropout, learning_rate=0.02)
    trained = train_head(train, valid, config, 3, CPU)
    logits = apply_head(trained.state, valid.plain, head, 3)
    assert (logits.argmax(1) == valid.labels).double().mean() > 0.95
    best = trained.history[trained.best_epoch - 1]
    assert validation(logits, valid.labels) == pytest.approx((best.valid_loss, best.valid_top1), abs=1e-4)
    network.make_head(20, head, 3).load_state_dict(trained.state)


def test_the_best_epoch_by_validation_is_kept() -> None:
    """Not the last one: training goes on to overfit, the archive does not."""
    train, valid = blobs(30), blobs(60, seed=1)
    noisy = Features(train.views, train.labels[torch.randperm(30, generator=torch.Generator().manual_seed(3))])
    config = dataclasses.replace(CONFIG, epochs=30, learning_rate=0.5, patience=0)
    trained = train_head(noisy, valid, config, 3, CPU)
    losses = [epoch.valid_loss for epoch in trained.history]
    assert len(losses) == 30
    assert losses[trained.best_epoch - 1] == min(losses) < losses[-1]


def test_stops_early_when_nothing_improves() -> None:
    """`patience` epochs after the best one; the history ends there."""
    trained = train_head(blobs(30), blobs(30, seed=1), dataclasses.replace(CONFIG, epochs=500, patience=3), 3, CPU)
    assert len(trained.history) == trained.best_epoch + 3 < 500


def test_the_same_seed_gives_the_same_head() -> None:
    """And another one another."""
    config = dataclasses.replace(CONFIG, hidden=(8,), dropout=0.5)

    def weights(seed: int) -> torch.Tensor:
        trained: Trained = train_head(blobs(60), blobs(30, 1), dataclasses.replace(config, seed=seed), 3, CPU)
        return torch.cat([value.flatten() for value in trained.state.values()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_augmented_views_are_all_used() -> None:
    """With a second view that says the contrary, the head learns neither."""
    train, valid = blobs(120), blobs(60, seed=1)
    contrary = Features(torch.stack([train.plain, train.plain.roll(1, 0)]), train.labels)
    assert train_head(train, valid, CONFIG, 3, CPU).history[-1].train_loss < 0.2
    assert train_head(contrary, valid, CONFIG, 3, CPU).history[-1].train_loss > 0.5


def test_rare_classes_count_as_much_as_common_ones() -> None:
    """(mean count / count)^balance, with mean 1 over the photos, so that the step size keeps its meaning."""
    labels = torch.tensor([0] * 90 + [1] * 10)
    assert torch.allclose(class_weights(labels, 2, 0.0), torch.tensor([1.0, 1.0]))
    balanced = class_weights(labels, 2, 1.0)
    assert balanced[1] / balanced[0] == pytest.approx(9)
    assert (90 * balanced[0] + 10 * balanced[1]).item() == pytest.approx(100)


def test_the_loss_is_weighted_cross_entropy() -> None:
    """Checked against PyTorch's own, with smoothing, and for soft labels as mixup makes them."""
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    weights = torch.tensor([0.5, 1.0, 2.0])
    expected = nn.functional.cross_entropy(logits, labels, weights, reduction="sum")
    assert torch.allclose(loss_sum(logits, labels, weights, 0.0), expected)
    even = torch.ones(3)
    smooth = nn.functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=0.1)
    assert torch.allclose(loss_sum(logits, labels, even, 0.1), smooth)
    soft = torch.rand(6, 3).softmax(1)
    assert torch.allclose(loss_sum(logits, soft, even, 0.0), nn.functional.cross_entropy(logits, soft, reduction="sum"))


def test_an_epoch_that_is_only_sharper_is_no_better() -> None:
    """Losses are compared at their best temperature: scaled logits have the same one."""
    logits, labels = torch.randn(400, 4), torch.arange(400) % 4
    logits[torch.arange(400), labels] += 1
    assert validation(logits, labels)[0] == pytest.approx(validation(5 * logits, labels)[0], abs=0.02)


def test_best_keeps_a_copy() -> None:
    """Weights that go on training do not change what was kept."""
    layer, best = nn.Linear(2, 2), Best()
    before = layer.weight.detach().clone()
    best.offer(1, 0.5, layer)
    with torch.no_grad():
        layer.weight.zero_()
    best.offer(2, 0.6, layer)
    assert torch.equal(best.state["weight"], before)
    assert (best.epoch, best.stale(3, 2), best.stale(3, 3), best.stale(99, 0)) == (1, True, False, False)


@pytest.mark.parametrize("steps", [*range(1, 31), 1000])
def test_the_step_size_rises_then_falls(steps: int) -> None:
    """For any number of steps: never 0 nor above the largest, which it reaches, but for a single step."""
    sizes = [step_size(step, steps) for step in range(steps)]
    assert all(0 < size <= 1 for size in sizes)
    peak = sizes.index(max(sizes))
    assert sizes[:peak] == sorted(sizes[:peak])
    assert sizes[peak:] == sorted(sizes[peak:], reverse=True)
    assert steps < 10 or (sizes[0] < 1 and max(sizes) == 1 and sizes[-1] < 0.3)


@pytest.mark.parametrize("epochs", [1, 2, 10])
def test_ten_steps_are_no_special_number(epochs: int) -> None:
    """As many epochs as steps, where one batch holds all photos."""
    config = dataclasses.replace(CONFIG, epochs=epochs, batch_size=64, patience=0)
    assert len(train_head(blobs(30), blobs(30, seed=1), config, 3, CPU).history) == epochs


def test_mixed_labels_keep_the_balance_of_classes() -> None:
    """Half a rare and half a common label pull as much as the two photos by themselves, halved."""
    logits = torch.zeros(1, 2, requires_grad=True)
    weights = torch.tensor([0.5, 5.0])
    (gradient,) = torch.autograd.grad(loss_sum(logits, torch.tensor([[0.5, 0.5]]), weights, 0.0), logits)
    parts = [torch.autograd.grad(loss_sum(logits, torch.tensor([label]), weights, 0.0), logits)[0] for label in (0, 1)]
    assert torch.allclose(gradient, torch.stack(parts).mean(dim=0))
    assert gradient.abs().max() > 1


def test_divergence_is_a_message() -> None:
    """With the epoch and the option to make smaller, instead of an archive of NaN."""
    config = dataclasses.replace(CONFIG, batch_size=1, learning_rate=100.0, hidden=(64, 64))
    with pytest.raises(TrainingError, match=r"diverged in epoch \d+ of the head.*smaller learning_rate than 100"):
        train_head(blobs(60), blobs(30, seed=1), config, 3, CPU)
