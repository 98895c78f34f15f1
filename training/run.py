"""A run on one machine: several processes or one, a folder for the result, and what to do next."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .cache import default_folder
from .config import TrainingConfig
from .data import layout
from .distributed import world
from .errors import TrainingError
from .fit import Fit, Folders, Model
from .golden import golden
from .monitor.about import describe
from .monitor.monitor import FOLDER, Monitor
from .monitor.settings import Monitoring
from .progress import Progress, tensorboard


@dataclass(frozen=True)
class Place:
    """Where a run reads and writes: the result, kept features, checkpoints, TensorBoard's scalars."""

    output: Path
    cache: Path | None = None
    checkpoints: Path | None = None
    tensorboard: Path | None = None
    model_dir: Path | None = None
    """A host's folder that it packs itself; without one `model.tar.gz` is made in the output."""
    keep_features: bool = True

    def folders(self) -> Folders:
        """With defaults filled in."""
        features = (self.cache or default_folder()) if self.keep_features else None
        return Folders(features, self.checkpoints or self.output / "checkpoints")


def run(
    dataset: layout.Dataset,
    config: TrainingConfig,
    name: str,
    place: Place,
    monitoring: Monitoring = Monitoring(),  # noqa: B008  # it is frozen
) -> None:
    """Train, and write the model, `metrics.json`, a record of the run and, where a split was made, `split.json`.

    Under torchrun every process calls this; the leader writes. TrainingError and ClassifierError as they come.
    """
    with world() as processes, tensorboard(_text(place.tensorboard) if processes.leads else None) as writer:
        progress = Progress(mute=not processes.leads, tensorboard=writer)
        if processes.leads:
            for folder in (place.output, place.model_dir, place.checkpoints if config.finetunes else None):
                prepare_folder(folder)
        for split, photos in ((s, len(dataset.split(s))) for s in layout.SPLITS):
            progress.say(f"{split}: {photos} photos{' (split off here)' if split in dataset.generated else ''}")
        record = place.output / FOLDER if processes.leads else None
        with Monitor(record, monitoring, describe(dataset, config, name, processes), progress.say) as monitor:
            fit = Fit(dataset, config, place.folders(), processes, progress, monitor)
            model = fit.run(name)
            if model is not None:
                with monitor.phase("packing"):
                    lines = list(_written(model, dataset, place, golden(model, dataset, config.golden)))
                for line in lines:
                    progress.say(line)
            fit.done()


def _written(model: Model, dataset: layout.Dataset, place: Place, extra: Mapping[str, bytes]) -> Iterator[str]:
    """Write the results; says what they are and what to do with them."""
    from model_serving import archive

    written = place.model_dir or place.output / "model.tar.gz"
    write = archive.stage if place.model_dir else archive.pack
    spec = write(model.spec, model.state, written, extra)
    write_metrics(spec.metrics, place.output)
    if dataset.generated:
        layout.write_split(dataset, place.output / "split.json")
    decided = spec.calibration
    yield (
        f"{written}: {spec.name} {spec.version}, {len(spec.classes)} classes, temperature {decided.temperature:.2f}, "
        f"confident from {decided.confident:.2f}, unknown below {decided.known:.2f}"
    )
    if photos := len(extra) - 1 if extra else 0:
        yield f"{photos} test photos are in it, shrunk, to prove deployments; --golden 0 keeps none"
    if not place.model_dir:
        yield f"next: python -m training evaluate --model {written} --data DIR --output {place.output / 'report'}"
        yield f"      python -m training report {place.output}"
        yield f"      python -m model_serving check {written}"
        yield f"      python -m local_stack up --model {written}"


def model_name(data: Path, config: TrainingConfig) -> str:
    """Of a folder and a backbone, as an archive may be called."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{data.resolve().name}-{config.backbone}").strip("-")


def write_metrics(metrics: dict[str, object], folder: Path) -> None:
    """What the run measured, epoch by epoch, as `metrics.json`."""
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def prepare_folder(folder: Path | None) -> None:
    """Make the folder. TrainingError before the work, not after it, where the result could not be written."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise TrainingError(f"{folder} cannot be written ({error.strerror}). Choose another folder.") from None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
