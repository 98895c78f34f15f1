"""The fast stage: a head on features that are known, where an epoch takes milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from model_serving.classifier import Head, network

from .config import TrainingConfig
from .monitor.monitor import silent
from .monitor.stage import Stage
from .optimise import Best, class_weights, loss_sum, optimiser, require_finite, validation
from .progress import Epoch


@dataclass(frozen=True, eq=False)
class Features:
    """What the backbone says of the photos of one split: (views, N, F) float32, and labels (N,) int64."""

    views: torch.Tensor
    labels: torch.Tensor

    @property
    def plain(self) -> torch.Tensor:
        """(N, F) of the photos as serving sees them."""
        return self.views[0]


@dataclass(frozen=True)
class Trained:
    """Weights of the best epoch, which one that was, and all epochs."""

    state: dict[str, torch.Tensor]
    best_epoch: int
    history: tuple[Epoch, ...]


def train_head(
    train: Features,
    valid: Features,
    config: TrainingConfig,
    classes: int,
    device: torch.device,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    watch: Stage | None = None,
) -> Trained:
    """Train a head for `classes` outputs; its weights take features as they are. DivergedError if it diverges.

    Features are centred and divided by one number meanwhile, so that the same step size suits every backbone;
    the first layer takes that up afterwards. Not by one number a feature: that would amplify those that hardly vary.
    """
    torch.manual_seed(config.seed)
    watch = watch or silent()
    centre = train.views.mean(dim=(0, 1))
    views = train.views - centre
    scale = torch.stack([view.square().mean() for view in views]).mean().sqrt().clamp_min(1e-12)
    views, labels = views.div_(scale).to(device), train.labels.to(device)
    held_out = ((valid.plain - centre) / scale).to(device)

    head = network.make_head(views.shape[2], Head(config.hidden, config.dropout), classes)
    if not config.hidden:
        _start_at_zero(head)
    head.to(device)
    watch.watch_module(head, "head")
    weights = class_weights(train.labels, classes, config.balance).to(device)
    steps = config.epochs * -(-len(labels) // config.batch_size)
    sgd, schedule = optimiser([{"params": head.parameters(), "lr": config.learning_rate}], config.weight_decay, steps)

    best, history = Best(), []
    for number in range(1, config.epochs + 1):
        started = time.perf_counter()
        total, seen, rate = 0.0, 0, float(schedule.get_last_lr()[0])
        head.train()
        batches = torch.split(torch.randperm(len(labels)).to(device), config.batch_size)
        for batch in watch.steps(number, batches):
            chosen = torch.randint(len(views), (len(batch),)).to(device)
            logits = head(views[chosen, batch])
            loss = loss_sum(logits, labels[batch], weights, config.label_smoothing)
            watch.lap("forward")
            sgd.zero_grad()
            torch.autograd.backward(loss / len(batch))
            watch.lap("backward")
            sgd.step()
            watch.lap("optimizer")
            total, seen = total + loss.item(), seen + len(batch)
            if watch.saving:
                hits = watch.right(logits, labels[batch]) / len(batch)
                watch.save(loss=loss.item() / len(batch), accuracy=hits, learning_rate=float(schedule.get_last_lr()[0]))
            watch.end_step(len(batch))
            schedule.step()
        with torch.no_grad():
            logits = head.eval()(held_out).cpu()
        valid_loss, valid_top1 = validation(logits, valid.labels)
        seconds = time.perf_counter() - started
        epoch = Epoch("head", number, config.epochs, total / seen, valid_loss, valid_top1, rate, seconds)
        watch.validated(epoch, logits, valid.labels, train.labels)
        require_finite(epoch, "learning_rate", config.learning_rate)
        best.offer(number, valid_loss, head)
        history.append(epoch)
        on_epoch(epoch)
        if watch.stopped or best.stale(number, config.patience):
            break
    watch.close()
    return Trained(_unscaled(best.state, centre, scale), best.epoch, tuple(history))


def _start_at_zero(head: nn.Module) -> None:
    """All classes alike at first: the random weights of a linear head are noise that few photos hardly remove."""
    for parameter in head.parameters():
        nn.init.zeros_(parameter)


def _unscaled(state: dict[str, torch.Tensor], centre: torch.Tensor, scale: torch.Tensor) -> dict[str, torch.Tensor]:
    """The head for features as they are: W (x - c) / s + b = (W / s) x + (b - (W / s) c)."""
    first = next(name for name in state if name.endswith("weight"))
    bias = first.removesuffix("weight") + "bias"
    weight = state[first].double() / scale.double()
    shifted = state[bias].double() - weight @ centre.double()
    return {**state, first: weight.float(), bias: shifted.float()}


def apply_head(state: dict[str, torch.Tensor], features: torch.Tensor, head: Head, classes: int) -> torch.Tensor:
    """Logits (N, classes) of features (N, F) by the head's weights, on the CPU."""
    module = network.make_head(features.shape[1], head, classes)
    module.load_state_dict(state)
    with torch.no_grad():
        logits: torch.Tensor = module.eval()(features)
        return logits
