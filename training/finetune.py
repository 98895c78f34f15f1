"""The slow stage: photos instead of features, with the last stages of the backbone, or all, unfrozen.

It starts from the head of the fast stage, since a random head would first tear the backbone apart (Kumar et al.
2022, "Fine-Tuning can Distort Pretrained Features").
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model_serving.classifier import memory
from model_serving.classifier.passes import CHUNK
from model_serving.classifier.preprocess import normalise

from .autotune import tried
from .checkpoint import Checkpoint
from .config import TrainingConfig
from .distributed import World
from .errors import ConfigError
from .head import Trained
from .monitor.monitor import silent
from .monitor.stage import Stage
from .optimise import Best, class_weights, loss_sum, optimiser, require_finite, validation
from .photos import Batches, Photos, loader, readers
from .progress import Epoch
from .stages import Unfrozen, train_mode, unfreeze

EVALUATION_BATCH = 64


class FineTuning:
    """One run of the slow stage, resumable after every epoch."""

    def __init__(
        self,
        network: nn.Module,
        head_name: str,
        train: Photos,
        valid: Photos,
        config: TrainingConfig,
        world: World,
        checkpoint: Checkpoint,
        watch: Stage | None = None,
        *,
        autotune: bool = False,
    ) -> None:
        """ConfigError for more stages than the backbone has. `autotune` tries how many processes read photos best."""
        self._watch = watch or silent()
        memory.keep_activations()
        self._config, self._world, self._checkpoint = config, world, checkpoint
        self._preprocessing = train.preprocessing
        self._network = network.to(world.device).to(memory_format=torch.channels_last)
        unfrozen = self._unfrozen(head_name)
        self._trained = unfrozen.modules
        groups = self._groups(unfrozen.groups)
        self._watch.watch_module(network.get_submodule(head_name), head_name)
        for depth, stage in enumerate(unfrozen.groups[1:], 1):
            self._watch.watch_parameters(f"stage-{depth}", stage)
        self._model: nn.Module = self._network
        if world.size > 1:
            self._model = _parallel(self._network)
        self._train_labels = torch.tensor(train.labels)
        self._weights = class_weights(self._train_labels, _outputs(network, head_name), config.balance).to(world.device)
        self._batches = Batches(len(train), config.finetune_batch_size, world, config.seed, shuffle=True)
        self._valid_labels = torch.tensor(valid.labels)
        self._valid_batches = Batches(len(valid), EVALUATION_BATCH, world, config.seed, shuffle=False)
        self._sgd, self._schedule = optimiser(groups, config.weight_decay, config.finetune_epochs * len(self._batches))
        average = get_ema_multi_avg_fn(config.ema)  # type: ignore[no-untyped-call]
        self._averaged = AveragedModel(self._network, multi_avg_fn=average) if config.ema else None
        self._best, self._history = Best(), list[Epoch]()
        self._bfloat16 = _wants_bfloat16(config.amp, world.device)
        self.tried_workers: dict[int, float] = {}
        """Seconds a step by how many processes read photos, where that was tried."""
        workers = self._fastest_workers(train) if autotune else readers(config.workers, world)
        self._watch.note(workers=workers)
        self._train = loader(train, self._batches, workers, world)
        self._valid = loader(valid, self._valid_batches, workers, world)

    def _fastest_workers(self, photos: Photos) -> int:
        """By steps that leave the weights as they are."""
        train_mode(self._network, self._trained)
        self.tried_workers = dict(tried(photos, self._batches, self._world, self._gradients))
        self._sgd.zero_grad(set_to_none=True)
        times = self.tried_workers
        return min(times, key=lambda workers: times[workers]) if times else readers(self._config.workers, self._world)

    def _unfrozen(self, head_name: str) -> Unfrozen:
        try:
            return unfreeze(self._network, head_name, self._config.unfrozen_stages)
        except ValueError as error:
            raise ConfigError(f"unfreeze: {self._config.backbone} has {error} stages; take fewer, or all") from None

    def _groups(self, groups: list[list[nn.Parameter]]) -> list[dict[str, Any]]:
        """Weights with their step sizes: each stage's smaller than that of the one above it."""
        rate, decay = self._config.finetune_learning_rate, self._config.layer_decay
        return [{"params": group, "lr": rate * decay**depth} for depth, group in enumerate(groups)]

    def run(self, on_epoch: Callable[[Epoch], None] = lambda _: None) -> Trained:
        """Train from where a killed run of the same kind left off; every process returns the same.

        Best epoch 0 is the network as it came: nothing that training did was better. DivergedError if it diverges.
        """
        self._resume()
        for number in range(len(self._history) + 1, self._config.finetune_epochs + 1):
            if self._world.broadcast(self._watch.stopped) or self._best.stale(number - 1, self._config.patience):
                break
            on_epoch(self._epoch(number))
            self._save()
        self._watch.close()
        return Trained(self._best.state, self._best.epoch, tuple(self._history))

    def _epoch(self, number: int) -> Epoch:
        started, rate = time.perf_counter(), float(self._schedule.get_last_lr()[0])
        train_loss = self._steps(number)
        logits = self._logits()
        valid_loss, valid_top1 = validation(logits, self._valid_labels)
        seconds = time.perf_counter() - started
        total = self._config.finetune_epochs
        epoch = Epoch("finetune", number, total, train_loss, valid_loss, valid_top1, rate, seconds)
        self._watch.validated(epoch, logits, self._valid_labels, self._train_labels)
        require_finite(epoch, "finetune_learning_rate", self._config.finetune_learning_rate)
        self._best.offer(number, valid_loss, self._evaluated)
        self._history.append(epoch)
        return epoch

    def _steps(self, number: int) -> float:
        """One pass over the training photos; returns the mean loss."""
        torch.manual_seed(self._config.seed * 1_000_003 + number * 1009 + self._world.rank)
        self._batches.epoch = number
        train_mode(self._network, self._trained)
        total, photos = 0.0, 0
        first = (number - 1) * len(self._batches) + 1
        for pixels, labels in self._watch.steps(number, self._train, first, whole=self._world.size > 1):
            total += self._step(pixels, labels)
            photos += len(pixels)
            self._watch.end_step(len(pixels))
            self._schedule.step()
            if self._averaged is not None:
                self._averaged.update_parameters(self._network)
        sums = self._world.gather((total, photos))
        return sum(part[0] for part in sums) / sum(part[1] for part in sums)

    def _step(self, pixels: torch.Tensor, labels: torch.Tensor) -> float:
        """One step by a batch, returns its summed loss."""
        total = self._gradients(pixels, labels)
        self._sgd.step()
        self._watch.lap("optimizer")
        return total

    def _gradients(self, pixels: torch.Tensor, labels: torch.Tensor) -> float:
        """Put the batch's gradients in place; returns its summed loss.

        On a CPU the gradient is put together from passes of a few photos, whose activations stay in memory that is
        kept (see `classifier.memory`); with still BatchNorms the sum is that of one pass.
        """
        batch, targets = self._batch(pixels), labels.to(self._world.device)
        self._watch.lap("copy")
        if self._config.mixup:
            from torchvision.transforms import v2

            batch, targets = v2.MixUp(alpha=self._config.mixup, num_classes=len(self._weights))(batch, targets)
        self._sgd.zero_grad(set_to_none=True)
        size = CHUNK["cpu"] if self._world.device.type == "cpu" else len(batch)
        parts = list(zip(torch.split(batch, size), torch.split(targets, size), strict=True))
        total, hits = 0.0, 0
        for number, (part, part_targets) in enumerate(parts, 1):
            with self._alone() if number < len(parts) else nullcontext():
                with self._autocast():
                    logits = self._model(part)
                loss = loss_sum(logits.float(), part_targets, self._weights, self._config.label_smoothing)
                self._watch.lap("forward")
                # Of this process's part; DistributedDataParallel takes the mean over the processes' gradients.
                torch.autograd.backward(loss / len(batch))
                total += loss.item()
                self._watch.lap("backward")
                if self._watch.saving:
                    hits += self._watch.right(logits, part_targets)
        if self._watch.saving:
            rate = float(self._schedule.get_last_lr()[0])
            self._watch.save(loss=total / len(batch), accuracy=hits / len(batch), learning_rate=rate)
        return total

    def _alone(self) -> Any:
        """Gradients of a pass that is not the batch's last are not exchanged yet."""
        parallel = isinstance(self._model, DistributedDataParallel)
        return self._model.no_sync() if parallel else nullcontext()  # type: ignore[operator]

    def _batch(self, pixels: torch.Tensor) -> torch.Tensor:
        return normalise(pixels.to(self._world.device, non_blocking=True), self._preprocessing)

    def _autocast(self) -> Any:
        return torch.autocast(self._world.device.type, torch.bfloat16) if self._bfloat16 else nullcontext()

    @property
    def _evaluated(self) -> nn.Module:
        return self._network if self._averaged is None else self._averaged.module

    def _logits(self) -> torch.Tensor:
        """(N, classes) of the validation photos, each process a part, on the CPU of all."""
        module = self._evaluated.eval()
        keys = [index for batch in self._valid_batches for _, index in batch]
        with torch.no_grad(), self._autocast():
            rows = [module(self._batch(pixels)).float().cpu() for pixels, _ in self._valid]
        logits = torch.empty(len(self._valid_labels), len(self._weights))
        for indices, part in self._world.gather((keys, torch.cat(rows))):
            logits[indices] = part
        return logits

    def _save(self) -> None:
        if self._world.leads:
            averaged = self._averaged.state_dict() if self._averaged is not None else {}
            best = {"loss": self._best.loss, "epoch": self._best.epoch, "state": self._best.state}
            self._checkpoint.save(
                {
                    "network": self._network.state_dict(),
                    "averaged": averaged,
                    "sgd": self._sgd.state_dict(),
                    "schedule": self._schedule.state_dict(),
                    "best": best,
                    "history": [epoch.as_dict() for epoch in self._history],
                }
            )

    def _resume(self) -> None:
        state = self._world.broadcast(self._checkpoint.load() if self._world.leads else None)
        if state is None:
            self._best.offer(0, validation(self._logits(), self._valid_labels)[0], self._network)
            return
        self._network.load_state_dict(state["network"])
        if self._averaged is not None:
            self._averaged.load_state_dict(state["averaged"])
        self._sgd.load_state_dict(state["sgd"])
        self._schedule.load_state_dict(state["schedule"])
        self._best.loss, self._best.epoch = state["best"]["loss"], state["best"]["epoch"]
        self._best.state = state["best"]["state"]
        self._history = [Epoch(**epoch) for epoch in state["history"]]


def _outputs(network: nn.Module, head_name: str) -> int:
    head = network.get_submodule(head_name)
    last = [module for module in head.modules() if isinstance(module, nn.Linear)][-1]
    return last.out_features


def _parallel(network: nn.Module) -> nn.Module:
    """The network over all processes. Its buffers are BatchNorm's statistics, which stay still: none is sent."""
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # newer, older torch
    still: Any = {name: False}
    return DistributedDataParallel(network, **still)


def _wants_bfloat16(amp: str, device: torch.device) -> bool:
    """On CPUs without its instructions bfloat16 is many times slower, so `auto` never takes it there."""
    if amp == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return amp == "true"
