"""What a run says: one line an epoch, and a progress bar where somebody watches.

The metric lines and the expressions that read them live here side by side; SageMaker's metric definitions are
made of them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

_NUMBER = r"([0-9.eE+-]+)"

METRICS = {
    "train:loss": rf"\btrain_loss={_NUMBER}",
    "valid:loss": rf"\bvalid_loss={_NUMBER}",
    "valid:top1": rf"\bvalid_top1={_NUMBER}",
    "best:loss": rf"\bbest_valid_loss={_NUMBER}",
    "best:top1": rf"\bbest_valid_top1={_NUMBER}",
    "test:top1": rf"\btest_top1={_NUMBER}",
    "test:ece": rf"\btest_ece={_NUMBER}",
}
"""Regular expressions by metric name, for the lines below. A tuner takes a job's last value, hence `best`."""


@dataclass(frozen=True)
class Epoch:
    """One pass over the photos: losses in nats, accuracy from 0 to 1, wall seconds.

    `valid_loss` is taken at the temperature that suits it best, since sharpness is set after training anyway: it
    tells the better model, not the better calibrated one.
    """

    stage: str
    epoch: int
    epochs: int
    train_loss: float
    valid_loss: float
    valid_top1: float
    learning_rate: float
    seconds: float

    def line(self) -> str:
        """`stage=head epoch=3/40 train_loss=0.4321 …`."""
        return (
            f"stage={self.stage} epoch={self.epoch}/{self.epochs} train_loss={self.train_loss:.4f} "
            f"valid_loss={self.valid_loss:.4f} valid_top1={self.valid_top1:.4f} "
            f"learning_rate={self.learning_rate:.3g} seconds={self.seconds:.2f}"
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def test_line(metrics: dict[str, Any]) -> str:
    """`test_top1=0.9123 test_top5=0.9895 test_ece=0.0244 photos=285`."""
    return (
        f"test_top1={metrics['top1']:.4f} test_top5={metrics['top5']:.4f} test_ece={metrics['ece']:.4f} "
        f"photos={metrics['n']}"
    )


class Progress:
    """Speaks for a run: lines to standard output, a bar to standard error on a terminal. Mute where not leading."""

    def __init__(self, *, mute: bool = False, tensorboard: Any = None) -> None:
        self._mute = mute
        # Asked here and not of rich, which a training container need not have.
        self._watched = sys.stderr.isatty()
        self._tensorboard = tensorboard
        self._best: Epoch | None = None

    def say(self, line: str) -> None:
        """One line, at once: a log is read while it grows."""
        if not self._mute:
            print(line, flush=True)

    def epoch(self, epoch: Epoch) -> None:
        """The line of an epoch with the best so far, and its scalars for TensorBoard where that is wanted."""
        if self._best is None or epoch.valid_loss < self._best.valid_loss:
            self._best = epoch
        self.say(
            f"{epoch.line()} best_valid_loss={self._best.valid_loss:.4f} best_valid_top1={self._best.valid_top1:.4f}"
        )
        if self._tensorboard is not None:
            for name in ("train_loss", "valid_loss", "valid_top1", "learning_rate"):
                self._tensorboard.add_scalar(f"{epoch.stage}/{name}", getattr(epoch, name), epoch.epoch)

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A function that is told how many more are done; without a terminal one line when all are."""
        started = time.perf_counter()
        if self._mute or not total:
            yield lambda _: None
        elif self._watched:
            with self._shown() as bar:
                task = bar.add_task(what, total=total)
                yield lambda more: bar.advance(task, more)
        else:
            yield lambda _: None
            seconds = time.perf_counter() - started
            print(f"{what}: {total} in {seconds:.1f} s, {total / max(seconds, 1e-9):.1f} a second", file=sys.stderr)

    @staticmethod
    def _shown() -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        return Bars(*columns, console=Console(stderr=True), transient=True)


@contextmanager
def tensorboard(folder: str | None) -> Iterator[Any]:
    """A writer of scalars to the folder, None without one; TrainingError where TensorBoard is not installed."""
    if not folder:
        yield None
        return
    from .errors import TrainingError

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise TrainingError("TensorBoard is not installed. Run: pip install 'whippet[tensorboard]'") from None
    with SummaryWriter(folder) as writer:
        yield writer
