"""One stage of a run: steps, laps of each, and what they brought.

for epoch in ...:
    for batch in stage.steps(epoch, batches):
        ...
        stage.lap("forward")
        ...
        if stage.saving:
            stage.save(loss=…, accuracy=…, learning_rate=…)
        stage.end_step(len(batch))
    stage.validated(epoch, logits, labels, train_labels)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn
from torch.nn import functional

from training.progress import Epoch

from .clock import Clock
from .recorder import Recorder
from .recording import EVAL, TRAIN
from .trace import Trace

if TYPE_CHECKING:
    from .monitor import Monitor

T = TypeVar("T")

RARE = 0.5
"""A class with fewer training photos than this share of the mean is rare."""


class Stage:
    """What a stage of training tells while it goes on; made by `Monitor.stage`."""

    def __init__(
        self, monitor: Monitor, name: str, device: torch.device, recorder: Recorder, trace: Trace | None, *,
        every_step: bool, block: int,
    ) -> None:  # fmt: skip
        self._monitor, self._name, self._device = monitor, name, device
        self._recorder, self._trace, self._every_step = recorder, trace, every_step
        self._clock, self._block = Clock(device), block
        self._epoch, self._photos = 0, 0

    @property
    def saving(self) -> bool:
        """Whether this step's numbers are wanted: those that cost something may be left out otherwise."""
        return self._recorder.saving

    @property
    def stopped(self) -> bool:
        """Whether a rule has ended training."""
        return self._monitor.stopped_by is not None

    def note(self, **facts: object) -> None:
        """Put facts into the description of the run."""
        self._monitor.note(**facts)

    def watch_module(self, head: nn.Module, prefix: str = "") -> None:
        """Record norms of each weight of the head and its layers' outputs."""
        self._recorder.register_module(head, prefix)

    def watch_parameters(self, name: str, parameters: Iterable[nn.Parameter]) -> None:
        """Record the norm of these weights together."""
        self._recorder.register_parameters(name, parameters)

    def steps(self, epoch: int, batches: Iterable[T], first: int | None = None, *, whole: bool = False) -> Iterator[T]:
        """The batches, each a step whose time begins with waiting for it; `end_step` ends it.

        `first` is the number of the first step where earlier ones were taken before a restart. Ends early if a rule
        ends training, unless all are to be given out as a `whole`, since other processes wait for each.
        """
        self._epoch, number = epoch, first
        iterator: Iterator[T] | None = None
        while whole or not self.stopped:
            if not self._photos:
                self._clock.start()
            iterator = iter(batches) if iterator is None else iterator
            try:
                batch = next(iterator)
            except StopIteration:
                break
            self._recorder.begin_step(epoch, number)
            number = None if number is None else number + 1
            if self._trace and self._trace.begin_step(self._device):
                self._monitor.traces(self._name, self._recorder.step)
            self.lap("wait")
            yield batch
        self._time(self._photos)
        for step in self._clock.flush():
            self._monitor.write("steps", step)

    def lap(self, phase: str) -> None:
        """What passed since the last lap was spent on `phase`, one of `clock.PHASES`."""
        self._clock.lap(phase)

    def right(self, logits: torch.Tensor, targets: torch.Tensor) -> int:
        """How many answers of a pass are right; of mixed targets (N, classes) the larger part counts."""
        labels = targets if targets.ndim == 1 else targets.argmax(dim=1)
        predictions = logits.argmax(dim=1)
        self._recorder.keep("labels", labels)
        self._recorder.keep("predictions", predictions)
        return int((predictions == labels).sum())

    def save(self, **values: float) -> None:
        """Numbers of this step: `loss`, `accuracy`, `learning_rate`."""
        for name, value in values.items():
            self._recorder.save_scalar(name, value)

    def end_step(self, photos: int) -> None:
        """The step is over; its gradients are still there."""
        self._photos += photos
        if self._photos >= self._block:
            self._time(self._photos if self._every_step or self._recorder.saving else 0)
        self._recorder.end_step()
        if self._trace:
            self._trace.end_step()

    def _time(self, photos: int) -> None:
        """Write where the time went since the clock was started, for so many photos, if any."""
        self._photos = 0
        if photos:
            known = {"stage": self._name, "epoch": self._epoch, "step": self._recorder.step, "photos": photos}
            for step in self._clock.stop(**known):
                self._monitor.write("steps", step)

    def validated(self, epoch: Epoch, logits: torch.Tensor, labels: torch.Tensor, train_labels: torch.Tensor) -> None:
        """The epoch's validation is over: its logits (N, classes) and labels (N,), and those that were trained on."""
        self._recorder.set_mode(EVAL)
        self._recorder.begin_step(epoch.epoch)
        if self.saving:
            values = {"loss": functional.cross_entropy(logits, labels).item(), "loss_scaled": epoch.valid_loss}
            self.save(**values, accuracy=epoch.valid_top1, train_loss=epoch.train_loss)
            self.save(**_recalls(logits, labels, train_labels))
        self._recorder.end_step()
        self._recorder.set_mode(TRAIN)

    def close(self) -> None:
        """The stage is over."""
        self._monitor.look()
        if self._trace:
            self._trace.end_stage()


def _recalls(logits: torch.Tensor, labels: torch.Tensor, train_labels: torch.Tensor) -> dict[str, float]:
    """Mean recall of the rare classes and of the others, where there are both."""
    counts = torch.bincount(train_labels, minlength=logits.shape[1]).double()
    right = (logits.argmax(dim=1) == labels).double()
    present = torch.bincount(labels, minlength=len(counts))
    recall = torch.bincount(labels, right, minlength=len(counts)) / present
    rare = counts < RARE * counts.mean()
    groups = {"recall_rare": recall[rare & (present > 0)], "recall_common": recall[~rare & (present > 0)]}
    return {name: part.mean().item() for name, part in groups.items()} if all(map(len, groups.values())) else {}
