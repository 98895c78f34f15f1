"""What recording costs: `python -m bench.recording [--rounds N] [--device cuda]`.

An unfrozen ResNet50 trains on a CPU by the smallest steps there are, four photos, where recording weighs most; on a GPU
by 32 in bfloat16, the defaults of fine-tuning there. The same network takes ten steps with the record of the default
interval and ten without, in turn. Since a noisy machine varies
by more than recording costs, the same is done with no record on either side, and the record's own calls are timed by
themselves. The window of torch.profiler is left out; see `--profile-steps`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from model_serving.classifier import Head, memory, network
from training.monitor.monitor import Monitor, silent
from training.monitor.settings import Monitoring
from training.monitor.stage import Stage
from training.monitor.system import Sampler
from training.optimise import loss_sum, optimiser
from training.stages import train_mode, unfreeze

CLASSES, BATCH = 35, {"cpu": 4, "cuda": 32}


class Training:
    """Steps as fine-tuning takes them: a pass, a step of SGD, and what the stage is told of it."""

    def __init__(self, watched: Stage, device: torch.device) -> None:
        torch.manual_seed(0)
        self._device, self._batch = device, BATCH[device.type]
        whole = network.build("resnet50", Head(), CLASSES)
        self._network = whole.to(device).to(memory_format=torch.channels_last)
        unfrozen = unfreeze(self._network, "fc", None)
        watched.watch_module(self._network.get_submodule("fc"), "fc")
        for depth, group in enumerate(unfrozen.groups[1:], 1):
            watched.watch_parameters(f"stage-{depth}", group)
        self._sgd, _ = optimiser([{"params": g, "lr": 1e-3} for g in unfrozen.groups], 0.01, 1000)
        train_mode(self._network, unfrozen.modules)
        self._pixels = torch.randn(self._batch, 3, 224, 224, device=device)
        self._labels = torch.arange(self._batch, device=device) % CLASSES
        self._weights = torch.ones(CLASSES, device=device)

    def seconds(self, stage: Stage, steps: int, *, compute: bool = True) -> float:
        """Of so many steps under the stage; without computing, of what it is told alone."""
        nothing = torch.zeros(self._batch, CLASSES, device=self._device), 0.0
        started = time.perf_counter()
        for _ in stage.steps(1, range(steps)):
            logits, loss = self._learn(stage) if compute else nothing
            for phase in ("forward", "backward", "optimizer"):
                stage.lap(phase)
            if stage.saving:
                right = stage.right(logits, self._labels)
                stage.save(loss=loss / self._batch, accuracy=right / self._batch, learning_rate=1e-3)
            stage.end_step(self._batch)
        return time.perf_counter() - started

    def _learn(self, stage: Stage) -> tuple[torch.Tensor, float]:
        self._sgd.zero_grad(set_to_none=True)
        stage.lap("copy")
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            logits = self._network(self._pixels)
        loss = loss_sum(logits.float(), self._labels, self._weights, 0.0)
        torch.autograd.backward(loss / self._batch)
        self._sgd.step()
        return logits, loss.item()


def pairs(training: Training, one: Stage, other: Stage, steps: int, rounds: int) -> list[float]:
    """How much longer as many steps take under the one stage than under the other; each goes first in turn."""
    found = []
    for number in range(rounds):
        order = (one, other) if number % 2 else (other, one)
        spent = {stage: training.seconds(stage, steps) for stage in order}
        found.append(spent[one] / spent[other] - 1)
    return sorted(found)


def looks() -> list[float]:
    """Seconds that each of some samples of the machine takes."""
    sampler = Sampler(60_000, lambda _: None)
    found = []
    for _ in range(20):
        started = time.perf_counter()
        sampler.sample()
        found.append(time.perf_counter() - started)
    sampler.close()
    return found


def line(what: str, shares: Sequence[float]) -> str:
    """Median and range in percent."""
    low, middle, high = (100 * share for share in (shares[0], statistics.median(shares), shares[-1]))
    return f"  {what:28} {middle:+6.2f} % (median of {len(shares)} pairs from {low:+.1f} to {high:+.1f})"


def main() -> None:
    """Print what a step takes, what the record's own calls take, and both compared."""
    parser = argparse.ArgumentParser(description="What recording costs an unfrozen ResNet50.")
    parser.add_argument("--rounds", type=int, default=8, help="Pairs of ten steps.")
    parser.add_argument("--device", choices=BATCH, default="cpu")
    options = parser.parse_args()
    memory.keep_activations()
    settings, device = Monitoring(), torch.device(options.device)
    with tempfile.TemporaryDirectory() as temporary, Monitor(Path(temporary), settings) as monitor:
        recorded, plain, steps = monitor.stage("finetune", device), silent(), settings.record_interval
        training = Training(recorded, device)
        training.seconds(plain, 2)
        step = training.seconds(plain, steps) / steps
        size = f"{BATCH[device.type]} photos a step of {step:.3f} s"
        print(f"unfrozen resnet50 on {device.type}, {size}, a record every {steps} steps", flush=True)
        own = statistics.median(training.seconds(recorded, steps, compute=False) for _ in range(5)) / steps
        print(f"  the record's own calls       {100 * own / step:+6.2f} % of a step, {1000 * own:.2f} ms", flush=True)
        look = statistics.median(looks())
        share = look / (settings.system_interval / 1000)
        print(f"  looking at the machine       {100 * share:+6.2f} % of one core, {1000 * look:.1f} ms", flush=True)
        print(line("with a record, by the clock", pairs(training, recorded, plain, steps, options.rounds)), flush=True)
        print(line("none on either side", pairs(training, silent(), plain, steps, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
