"""What recording costs: `python -m bench.recording [--rounds N]`.

An unfrozen ResNet50 trains on a CPU, each step once with the record of the default interval and once without, in turn:
steps of one pair share the machine's mood. Printed are the medians over the pairs, and what the parts cost alone.
The window of torch.profiler is left out, which is what it is for; see `--profile-steps`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from model_serving.classifier import Head, memory, network
from training.monitor.monitor import Monitor
from training.monitor.settings import Monitoring
from training.monitor.stage import Stage
from training.optimise import loss_sum, optimiser
from training.stages import train_mode, unfreeze

CLASSES, BATCH, CHUNK = 35, 4, 4


class Training:
    """Steps as fine-tuning takes them on a CPU, the smallest there are: one pass of four photos, one step of SGD."""

    def __init__(self, stage: Stage) -> None:
        torch.manual_seed(0)
        self.stage = stage
        self._network = network.build("resnet50", Head(), CLASSES).to(memory_format=torch.channels_last)
        unfrozen = unfreeze(self._network, "fc", None)
        stage.watch_module(self._network.get_submodule("fc"), "fc")
        for depth, group in enumerate(unfrozen.groups[1:], 1):
            stage.watch_parameters(f"stage-{depth}", group)
        self._sgd, _ = optimiser([{"params": g, "lr": 1e-3} for g in unfrozen.groups], 0.01, 1000)
        train_mode(self._network, unfrozen.modules)
        self._pixels, self._labels = torch.randn(BATCH, 3, 224, 224), torch.arange(BATCH) % CLASSES
        self._weights = torch.ones(CLASSES)

    def steps(self, count: int) -> list[float]:
        """Seconds of each of so many steps."""
        spent, started = [], time.perf_counter()
        for _ in self.stage.steps(1, range(count), first=1):
            self._step()
            ended = time.perf_counter()
            spent.append(ended - started)
            started = ended
        return spent

    def _step(self) -> None:
        self._sgd.zero_grad(set_to_none=True)
        self.stage.lap("copy")
        total, hits = 0.0, 0
        for part, labels in zip(torch.split(self._pixels, CHUNK), torch.split(self._labels, CHUNK), strict=True):
            logits = self._network(part)
            loss = loss_sum(logits, labels, self._weights, 0.0)
            self.stage.lap("forward")
            torch.autograd.backward(loss / BATCH)
            total += loss.item()
            self.stage.lap("backward")
            if self.stage.saving:
                hits += self.stage.right(logits, labels)
        self._sgd.step()
        self.stage.lap("optimizer")
        if self.stage.saving:
            self.stage.save(loss=total / BATCH, accuracy=hits / BATCH, learning_rate=1e-3)
        self.stage.end_step(BATCH)


def measured(recorded: Training, plain: Training, count: int, *, first: int) -> tuple[float, float]:
    """Seconds of as many steps with and without a record; either may go first."""
    if first:
        without = sum(plain.steps(count))
        return sum(recorded.steps(count)), without
    return sum(recorded.steps(count)), sum(plain.steps(count))


def main() -> None:
    """Print the step's time with and without, and the share that recording adds."""
    parser = argparse.ArgumentParser(description="What recording costs an unfrozen ResNet50.")
    parser.add_argument("--rounds", type=int, default=6, help="Pairs of ten steps.")
    options = parser.parse_args()
    memory.keep_activations()
    settings = Monitoring()
    with tempfile.TemporaryDirectory() as temporary, Monitor(Path(temporary), settings) as monitor:
        recorded = Training(monitor.stage("finetune", torch.device("cpu")))
        plain = Training(Monitor(None).stage("", torch.device("cpu")))
        count = settings.record_interval
        for training in (recorded, plain):
            training.steps(2)
        pairs = [measured(recorded, plain, count, first=number % 2) for number in range(options.rounds)]
    shares = sorted(with_ / without - 1 for with_, without in pairs)
    mean = statistics.median(without for _, without in pairs) / count
    print(f"unfrozen resnet50, {BATCH} photos a step, record every {count} steps, {len(pairs)} pairs of {count} steps")
    print(f"  a step without a record   {mean:6.3f} s (median)")
    print(f"  recording adds            {100 * statistics.median(shares):+6.2f} % (median of the pairs)")
    print(f"  pairs from {100 * shares[0]:+.2f} to {100 * shares[-1]:+.2f} %")


if __name__ == "__main__":
    main()
