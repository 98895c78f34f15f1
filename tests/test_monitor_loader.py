"""A loader that is slowed on purpose: the rule says so by the right figure, and what it proposes shortens the step."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest
import torch

from model_serving.classifier import Preprocessing
from tests.labelled import make_folders
from training.autotune import tried
from training.config import TrainingConfig
from training.data import layout
from training.distributed import World
from training.monitor.finding import FOUND, Finding
from training.monitor.monitor import Monitor
from training.monitor.recording import FINETUNE, Recording
from training.monitor.rules import check
from training.monitor.settings import Monitoring
from training.photos import Batches, Photos, cores, loader

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(cores() < 2, reason="more processes than one core are no faster"),
]

DELAY, COMPUTE, BATCH = 0.02, 0.06, 4
"""Seconds that each photo takes to read, as from a slow network drive, and seconds that a step computes."""

ALONE = World(0, 1, torch.device("cpu"))


class SlowPhotos(Photos):
    """Reads as slowly as told; its time goes by waiting, as for a disk, so that processes can share it."""

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int]:
        """One photo, late."""
        time.sleep(DELAY)
        return super().__getitem__(key)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> SlowPhotos:
    """Drawings on a slow drive: 24 steps an epoch."""
    data = layout.load(make_folders(tmp_path_factory.mktemp("photos"), {"train": 32, "valid": 1}))
    examples = data.split("train")
    preprocessing = Preprocessing(resize=36, crop=32)
    return SlowPhotos([e.path for e in examples], [e.label for e in examples], preprocessing)


def step(pixels: torch.Tensor, _: torch.Tensor) -> None:
    """As long as a step computes; the processor is left to the readers."""
    time.sleep(COMPUTE)
    assert len(pixels) == BATCH


def recorded(photos: Photos, workers: int, folder: Path) -> Recording:
    """An epoch under the record, with so many processes that read."""
    about = {"hyperparameters": TrainingConfig(unfreeze="1").as_dict(), "cores": cores(), "processes": 1}
    about |= {"device": {"kind": "cpu", "name": "", "memory": None}, "workers": workers}
    with Monitor(folder, Monitoring(system_interval=100), about) as monitor:
        stage = monitor.stage(FINETUNE, ALONE.device)
        batches = Batches(len(photos), BATCH, ALONE, 0, shuffle=True)
        for pixels, labels in stage.steps(1, loader(photos, batches, workers, ALONE)):
            step(pixels, labels)
            stage.lap("forward")
            stage.end_step(len(pixels))
    return Recording.read(folder)


def seconds(record: Recording) -> float:
    """Of a step, in the middle."""
    return statistics.median(step.total for step in record.timed(FINETUNE)[4:])


def dataloader(record: Recording) -> Finding:
    """What the rule says."""
    (found,) = check(record, ["Dataloader"])
    return found


def test_a_slow_loader_is_found_and_mended(photos: SlowPhotos, tmp_path: Path) -> None:
    """80 of 140 ms are waiting; with the workers that are proposed a step is shorter, about as much as was said."""
    slow = recorded(photos, 0, tmp_path / "slow")
    found = dataloader(slow)
    assert found.status == FOUND
    share = DELAY * BATCH / (DELAY * BATCH + COMPUTE)
    assert found.values["wait_share"] == pytest.approx(share, abs=0.12)
    workers = int(found.values["workers"])
    assert f"--workers {workers}" in found.mend and 0 < workers <= cores()
    mended = recorded(photos, workers, tmp_path / "mended")
    gain = seconds(slow) / seconds(mended)
    assert gain > 1.25
    assert found.values["expected_step"] == pytest.approx(seconds(mended), rel=0.5)


def test_a_loader_that_keeps_up_is_not_blamed(photos: SlowPhotos, tmp_path: Path) -> None:
    """The same photos from a fast drive."""
    quick = Photos(photos.paths, photos.labels, photos.preprocessing)
    assert dataloader(recorded(quick, 0, tmp_path)).status != FOUND


def test_the_number_of_processes_is_tried_out(photos: SlowPhotos) -> None:
    """The times that are found tell the same story; nothing is tried twice."""
    times = dict(tried(photos, Batches(len(photos), BATCH, ALONE, 0, shuffle=True), ALONE, step))
    assert list(times)[:2] == [0, 2]
    assert times[0] == pytest.approx(DELAY * BATCH + COMPUTE, rel=0.5)
    assert times[2] < 0.8 * times[0]


def test_a_smaller_last_batch_is_not_timed(photos: SlowPhotos) -> None:
    """A GPU would compile for its size while the clock runs, as it does in training only once."""
    few = SlowPhotos(photos.paths[:37], photos.labels[:37], photos.preprocessing)
    batches = Batches(len(few), BATCH, ALONE, 0, shuffle=True)
    assert (len(batches), batches.full) == (10, 9)
    assert list(dict(tried(few, batches, ALONE, step))) == [0, 2]
