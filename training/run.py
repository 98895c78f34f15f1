"""A run on one machine: several processes or one, a folder for the result, and what to do next."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .cache import default_folder
from .config import TrainingConfig
from .data import layout
from .distributed import world
from .errors import TrainingError
from .fit import Fit, Folders
from .progress import Progress, tensorboard


@dataclass(frozen=True)
class Place:
    """Where a run reads and writes: the result, kept features, checkpoints, TensorBoard's scalars."""

    output: Path
    cache: Path | None = None
    checkpoints: Path | None = None
    tensorboard: Path | None = None
    keep_features: bool = True

    def folders(self) -> Folders:
        """With defaults filled in."""
        features = (self.cache or default_folder()) if self.keep_features else None
        return Folders(features, self.checkpoints or self.output / "checkpoints")


def run(dataset: layout.Dataset, config: TrainingConfig, name: str, place: Place) -> None:
    """Train, and write `model.tar.gz`, `metrics.json` and, where a split was made, `split.json` to the output.

    Under torchrun every process calls this; the leader writes. TrainingError and ClassifierError as they come.
    """
    from model_serving import archive

    with world() as processes, tensorboard(_text(place.tensorboard) if processes.leads else None) as writer:
        progress = Progress(mute=not processes.leads, tensorboard=writer)
        if processes.leads:
            _prepare(place.output)
        for split, photos in ((s, len(dataset.split(s))) for s in layout.SPLITS):
            progress.say(f"{split}: {photos} photos{' (split off here)' if split in dataset.generated else ''}")
        model = Fit(dataset, config, place.folders(), processes, progress).run(name)
        if not processes.leads:
            return
        file = place.output / "model.tar.gz"
        spec = archive.pack(model.spec, model.state, file)
        write_metrics(spec.metrics, place.output)
        if dataset.generated:
            layout.write_split(dataset, place.output / "split.json")
        decided = spec.calibration
        progress.say(
            f"{file}: {spec.name} {spec.version}, {len(spec.classes)} classes, temperature {decided.temperature:.2f}, "
            f"confident from {decided.confident:.2f}, unknown below {decided.known:.2f}"
        )
        progress.say(
            f"next: python -m training evaluate --model {file} --data DIR --output {place.output / 'report'}\n"
            f"      python -m model_serving check {file}\n"
            f"      python -m local_stack up --model {file}"
        )


def write_metrics(metrics: dict[str, object], folder: Path) -> None:
    """What the run measured, epoch by epoch, as `metrics.json`."""
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")


def _prepare(output: Path) -> None:
    """Fail before the work, not after it, where the result could not be written."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TrainingError(f"{output} cannot be written ({error.strerror}). Choose another --output.") from None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
