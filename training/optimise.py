"""What both stages of training share: loss, optimiser, schedule, and which epoch is kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .errors import DivergedError
from .evaluation.calibration import TEMPERATURE_SPREAD, fit_temperature
from .progress import Epoch

MOMENTUM = 0.9
WARM_UP = 0.1
"""Share of all steps in which the step size rises; then it falls along a cosine to nearly zero."""


def class_weights(labels: torch.Tensor, classes: int, balance: float) -> torch.Tensor:
    """(classes,) factors of the loss, (mean count / count)^balance, scaled so that the mean over photos is 1.

    `balance` 0 counts every photo alike, 1 every class. Every class needs a photo.
    """
    counts = torch.bincount(labels, minlength=classes).double()
    weights = (counts.mean() / counts) ** balance
    return (weights / weights[labels].mean()).float()


def loss_sum(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, label_smoothing: float
) -> torch.Tensor:
    """Weighted cross-entropy, summed over the batch. `targets` are indices (N,) or probabilities (N, classes)."""
    if targets.ndim == 1:
        targets = functional.one_hot(targets, len(weights)).to(logits.dtype)
    weighted = targets * weights
    spread = weighted.sum(dim=1, keepdim=True) / len(weights)
    return -((weighted * (1 - label_smoothing) + spread * label_smoothing) * logits.log_softmax(dim=1)).sum()


def optimiser(
    groups: Iterable[Mapping[str, Any]], weight_decay: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """SGD with Nesterov momentum over groups of `params` and `lr`, and its schedule of that many steps.

    Compared with AdamW on cached features SGD was 1.5 points better: Adam scales every feature alike, which
    amplifies those that carry little.
    """
    chosen = [dict(group) for group in groups]
    sgd = torch.optim.SGD(chosen, lr=0.0, momentum=MOMENTUM, nesterov=True, weight_decay=weight_decay)
    return sgd, torch.optim.lr_scheduler.LambdaLR(sgd, lambda step: step_size(step, steps))


def step_size(step: int, steps: int) -> float:
    """Share of the largest step size at a step from 0: rising linearly, then along a cosine to nearly 0.

    Torch's own OneCycleLR divides by zero where there are ten steps, and does not warm up where there are fewer.
    """
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def require_finite(epoch: Epoch, option: str, value: float) -> None:
    """DivergedError where training has diverged: its weights are good for nothing, and those to come as well."""
    if not (math.isfinite(epoch.train_loss) and math.isfinite(epoch.valid_loss)):
        raise DivergedError(
            f"training diverged in epoch {epoch.epoch} of the {epoch.stage}: the loss is no number any more. "
            f"Take a smaller {option} than {value:g}."
        )


def validation(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Loss at the temperature that suits the logits best, and the share of right answers."""
    temperature = fit_temperature(logits, labels, TEMPERATURE_SPREAD)
    loss = functional.cross_entropy(logits / temperature, labels).item()
    return loss, (logits.argmax(dim=1) == labels).double().mean().item()


class Best:
    """The weights of the epoch with the lowest validation loss, and how long ago that was."""

    def __init__(self) -> None:
        self.loss = float("inf")
        self.epoch = 0
        self.state: dict[str, torch.Tensor] = {}

    def offer(self, epoch: int, loss: float, module: nn.Module) -> None:
        """Keep a copy of the weights if they are better."""
        if loss < self.loss:
            self.loss, self.epoch = loss, epoch
            self.state = copy.deepcopy({name: value.detach().cpu() for name, value in module.state_dict().items()})

    def stale(self, epoch: int, patience: int) -> bool:
        """Whether `patience` epochs brought nothing better; never for 0."""
        return bool(patience) and epoch - self.epoch >= patience
