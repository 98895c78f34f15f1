"""From folders to an archive by the command line, with a small random network; real weights where it matters."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from model_serving.archive import unpacked
from model_serving.classifier import ModelSpec
from model_serving.doctor import examine
from tests.conftest import ROOT
from tests.labelled import make_folders, random_weights
from tests.trainings import Done, run, run_here
from training.config import TrainingConfig
from training.data import layout
from training.distributed import World
from training.errors import DataError
from training.fit import Fit, Folders
from training.progress import METRICS, Progress

pytestmark = pytest.mark.slow


class Trainer:
    """`python -m training` on one folder of drawings, with a cache and weights of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = make_folders(folder / "shapes", {"train": 8, "valid": 4, "test": 4})
        self.weights = random_weights(folder / "weights.pt")
        self.cache = folder / "cache"

    def command(self, *options: str, data: Path | None = None, output: str = "run") -> list[str]:
        """The arguments of a `fit`."""
        base = ["--data", str(data or self.data), "--output", str(self.folder / output), "--cache", str(self.cache)]
        network = ["--backbone", "resnet18", "--weights", str(self.weights), "--crop", "64", "--resize", "72"]
        return ["-m", "training", "fit", *base, *network, *options]

    def fit(self, *options: str, data: Path | None = None, output: str = "run", processes: int = 0) -> Done:
        """Run it, in several processes if asked."""
        command = self.command(*options, data=data, output=output)
        if not processes:
            return run_here(*command[1:])
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        return run(sys.executable, *launcher, *command)

    def spec(self, output: str = "run") -> ModelSpec:
        """What the archive says of itself."""
        with unpacked(self.folder / output / "model.tar.gz") as folder:
            return ModelSpec.load(folder / "model.json")

    def evaluate(self, *options: str, output: str = "run") -> dict[str, Any]:
        """metrics.json of an archive on the test photos."""
        model = str(self.folder / output / "model.tar.gz")
        done = run_here("training", "evaluate", "--model", model, "--data", str(self.data), "--json", *options)
        assert done.code == 0, done.err
        found: dict[str, Any] = json.loads(done.out)
        return found


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """Folders, weights and a finished run in `run`."""
    trainer = Trainer(tmp_path_factory.mktemp("training"))
    done = trainer.fit("--epochs", "12")
    assert done.code == 0, done.err
    return trainer


def test_an_archive_comes_out_and_keeps_its_promises(trainer: Trainer) -> None:
    """It passes the doctor, and its description has all that people ask for later."""
    results = list(examine(trainer.folder / "run" / "model.tar.gz"))
    assert results
    assert [result for result in results if not result.ok] == []
    spec = trainer.spec()
    assert (spec.classes[0].class_id, spec.classes[0].label) == ("001.Red_square", "Red square")
    assert spec.metrics["test"]["top1"] > 0.9
    assert (spec.preprocessing.resize, spec.preprocessing.crop) == (72, 64)
    assert spec.calibration.known_by == "similarity"
    assert spec.hyperparameters["epochs"] == 12
    assert spec.data["photos"] == {"train": 24, "valid": 12, "test": 12}
    assert re.fullmatch("[0-9a-f]{12}", spec.data["fingerprint"])
    assert spec.libraries["torch"]


def test_evaluate_says_what_fit_said(trainer: Trainer) -> None:
    """Photos through the archive give the accuracy that training measured on features."""
    metrics, spec = trainer.evaluate(), trainer.spec()
    assert metrics["n"] == 12
    assert metrics["top1"] == pytest.approx(spec.metrics["test"]["top1"])
    assert metrics["ece"] == pytest.approx(spec.metrics["test"]["ece"], abs=1e-3)
    assert json.loads((trainer.folder / "run" / "metrics.json").read_text())["test"] == spec.metrics["test"]


def test_evaluate_writes_metrics_and_a_report(trainer: Trainer, tmp_path: Path) -> None:
    """Also for class folders directly, a subset of the classes, and strangers."""
    subset = tmp_path / "subset"
    shutil.copytree(trainer.data / "test" / "001.Red_square", subset / "001.Red_square")
    strangers = make_folders(tmp_path / "strangers", {"": 3}, {"white": "white"})
    model = str(trainer.folder / "run" / "model.tar.gz")
    options = ["--data", str(subset), "--output", str(tmp_path / "report"), "--unknown", str(strangers)]
    done = run_here("training", "evaluate", "--model", model, *options)
    assert done.code == 0, done.err
    assert "4 photos: top-1" in done.out
    assert "AUROC" in done.out
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert list(metrics["per_class"]) == ["001.Red_square"]
    assert metrics["unknown"]["n"] == 3
    assert "<html" in (tmp_path / "report" / "report.html").read_text()[:200]


def test_a_second_run_computes_no_features(trainer: Trainer) -> None:
    """Other hyperparameters of the head are a matter of the cache; epochs are those that were asked for."""
    done = trainer.fit("--epochs", "3", "--hidden", "16", "--dropout", "0.2", output="second")
    assert done.code == 0, done.err
    assert "features:" not in done.err
    assert len(done.metrics("valid:top1")) == 3
    assert trainer.spec("second").head.hidden == (16,)


def test_changed_photos_are_computed_anew(trainer: Trainer, tmp_path: Path) -> None:
    """The cache goes by content: a renamed photo is known, a changed one is not."""
    data = shutil.copytree(trainer.data, tmp_path / "data")
    (data / "train" / "001.Red_square" / "1.jpg").rename(data / "train" / "001.Red_square" / "renamed.jpg")
    changed = data / "train" / "002.Green_circle" / "9.jpg"
    changed.write_bytes(changed.read_bytes() + b"\0")
    done = trainer.fit("--epochs", "1", data=data, output="changed")
    assert "features: 1 in" in done.err
    assert trainer.spec("changed").data["fingerprint"] != trainer.spec().data["fingerprint"]


def test_sagemaker_metrics_are_read_from_the_log(trainer: Trainer) -> None:
    """Each definition finds its number in what a run prints."""
    done = trainer.fit("--epochs", "2", output="log")
    assert [len(done.metrics(name)) for name in METRICS] == [2, 2, 2, 2, 2, 1, 1]
    assert done.metrics("test:top1")[0] == pytest.approx(trainer.spec("log").metrics["test"]["top1"], abs=1e-4)


def test_one_folder_of_classes_is_split_and_the_split_written_down(trainer: Trainer, tmp_path: Path) -> None:
    """The same split can be trained on again, and its test part evaluated, which gives the same accuracy."""
    data = make_folders(tmp_path / "flat", {"": 12})
    done = trainer.fit("--epochs", "8", data=data, output="flat")
    assert done.code == 0, done.err
    assert "valid: 6 photos (split off here)" in done.out
    split = trainer.folder / "flat" / "split.json"
    metrics = trainer.evaluate("--data", str(data), "--split-file", str(split), output="flat")
    assert metrics["n"] == 6
    assert metrics["top1"] == pytest.approx(trainer.spec("flat").metrics["test"]["top1"])
    again = trainer.fit("--epochs", "8", "--split-file", str(split), "--split-seed", "7", data=data, output="flat2")
    assert again.code == 0, again.err
    assert trainer.spec("flat2").version == trainer.spec("flat").version


def spoil_text(data: Path) -> None:
    """A text file named .jpg."""
    (data / "train" / "001.Red_square" / "notes.jpg").write_text("call the vet")


def spoil_empty(data: Path) -> None:
    """A class without a photo."""
    (data / "train" / "004.Nothing").mkdir()


def spoil_single(data: Path) -> None:
    """One class only."""
    for split in ("train", "valid", "test"):
        shutil.rmtree(data / split / "002.Green_circle")
        shutil.rmtree(data / split / "003.Blue_bar")


def spoil_valid(data: Path) -> None:
    """A class that valid lacks."""
    shutil.rmtree(data / "valid" / "003.Blue_bar")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_text, ["train/001.Red_square/notes.jpg", "--skip-unreadable"]),
        (spoil_empty, ["004.Nothing"]),
        (spoil_single, ["001.Red_square"]),
        (spoil_valid, ["003.Blue_bar", "valid"]),
    ],
)
def test_broken_data_is_named_with_the_mend(trainer: Trainer, tmp_path: Path, spoil: Any, said: list[str]) -> None:
    """One message without a traceback, exit 1, and no archive."""
    data = shutil.copytree(trainer.data, tmp_path / "data")
    spoil(data)
    done = trainer.fit(data=data, output="broken")
    assert done.code == 1
    for part in ("error: ", *said):
        assert part in done.err
    assert "Traceback" not in done.err + done.out
    assert not (trainer.folder / "broken" / "model.tar.gz").exists()


def test_unreadable_photos_can_be_skipped(trainer: Trainer, tmp_path: Path) -> None:
    """They are named, and counted out."""
    data = shutil.copytree(trainer.data, tmp_path / "data")
    spoil_text(data)
    done = trainer.fit("--skip-unreadable", "--epochs", "1", data=data, output="skipped")
    assert done.code == 0, done.err
    assert "left out train/001.Red_square/notes.jpg" in done.out
    assert trainer.spec("skipped").data["photos"]["train"] == 24


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--epochs", "0"], "epochs"),
        (["--backbone", "resnet19"], "resnet19"),
        (["--weights", "nowhere.pt"], "nowhere.pt"),
        (["--backbone", "resnet34"], "do not fit"),
        (["--unfreeze", "40", "--epochs", "1"], "resnet18 has 5 stages"),
        (["--crop", "64", "--resize", "32"], "resize"),
    ],
)
def test_wrong_options_are_one_message(trainer: Trainer, options: list[str], said: str) -> None:
    """The option and what is wrong with it, before or after typer's own checks, never a traceback."""
    done = trainer.fit(*options, output="wrong")
    assert done.code == 1
    assert said in done.err
    assert "Traceback" not in done.err


def test_without_network_the_message_says_both_ways(trainer: Trainer) -> None:
    """The pip package's backbone, or a local file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("https_proxy", "http://127.0.0.1:9")
        patch.setattr("torch.hub._hub_dir", str(trainer.folder / "no-hub"))
        done = run_here("training", "fit", "--data", str(trainer.data), "--output", str(trainer.folder / "hub"))
    assert done.code == 1
    for part in ("resnet152", "--backbone efficientnet_lite0", "--weights FILE"):
        assert part in done.err
    assert "Traceback" not in done.err


def test_two_processes_make_the_same_head(trainer: Trainer) -> None:
    """Features are shared out under torchrun; the archive is that of one process."""
    shutil.rmtree(trainer.cache)
    done = trainer.fit("--epochs", "12", output="two", processes=2)
    assert done.code == 0, done.err
    assert len(done.metrics("valid:top1")) == 12  # one process speaks
    one, two = trainer.spec(), trainer.spec("two")
    assert two.metrics["test"]["top1"] == pytest.approx(one.metrics["test"]["top1"], abs=0.09)
    losses = [[epoch["valid_loss"] for epoch in spec.metrics["history"]] for spec in (one, two)]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)


class Disagreeing(World):
    """Two processes, of which the other one sees other photos."""

    def gather(self, value: Any) -> list[Any]:
        """This one's, and what the other says."""
        return [value, ("0123456789ab", 12)]


def test_processes_that_see_different_photos_do_not_wait_for_each_other(trainer: Trainer) -> None:
    """As with a channel that is shared out between machines: a message instead of a hang."""
    config = TrainingConfig(backbone="resnet18", weights=str(trainer.weights), crop=64, resize=72)
    folders = Folders(None, trainer.folder / "never")
    world = Disagreeing(0, 2, torch.device("cpu"))
    with pytest.raises(DataError, match="process 0 has 48, process 1 has 12"):
        Fit(layout.load(trainer.data), config, folders, world, Progress(mute=True)).run("x")


FINE = ["--epochs", "3", "--unfreeze", "2", "--finetune-epochs", "4", "--patience", "0", "--augment", "none"]


@pytest.fixture(scope="module")
def tuned(trainer: Trainer) -> ModelSpec:
    """A run that goes on to train the last two stages."""
    done = trainer.fit(*FINE, output="tuned")
    assert done.code == 0, done.err
    assert not list((trainer.folder / "tuned" / "checkpoints").glob("*.pt"))
    return trainer.spec("tuned")


def stage(spec: ModelSpec, name: str) -> list[dict[str, Any]]:
    """The epochs of one stage."""
    return [epoch for epoch in spec.metrics["history"] if epoch["stage"] == name]


def test_fine_tuning_goes_on_from_the_head(trainer: Trainer, tuned: ModelSpec) -> None:
    """Its archive holds other features, works, and says what `evaluate` says."""
    epochs = stage(tuned, "finetune")
    assert len(epochs) == 4
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"] < 1.0
    assert trainer.evaluate(output="tuned")["top1"] == pytest.approx(tuned.metrics["test"]["top1"])
    assert [r for r in examine(trainer.folder / "tuned" / "model.tar.gz") if not r.ok] == []


def test_two_processes_fine_tune_alike(trainer: Trainer, tuned: ModelSpec) -> None:
    """DistributedDataParallel over parts of the same batches: the losses of one process, within rounding."""
    done = trainer.fit(*FINE, output="tuned2", processes=2)
    assert done.code == 0, done.err
    one, two = (stage(spec, "finetune") for spec in (tuned, trainer.spec("tuned2")))
    for a, b in zip(one, two, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=0.02, abs=1e-3)
        assert a["valid_loss"] == pytest.approx(b["valid_loss"], rel=0.02, abs=5e-3)


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    """What it prints, as it does."""
    assert process.stdout is not None
    yield from process.stdout


def test_a_killed_run_goes_on_and_ends_alike(trainer: Trainer, tuned: ModelSpec) -> None:
    """kill -9 after the second of four epochs; the same command then trains two more and reports all four."""
    command = [sys.executable, *trainer.command(*FINE, output="killed")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in lines_of(process):
            if "stage=finetune epoch=2/4" in line:
                break
        process.send_signal(signal.SIGKILL)
    assert not (trainer.folder / "killed" / "model.tar.gz").exists()
    done = trainer.fit(*FINE, output="killed")
    assert done.code == 0, done.err
    resumed = stage(trainer.spec("killed"), "finetune")
    assert [epoch["epoch"] for epoch in resumed] == [1, 2, 3, 4]
    for a, b in zip(stage(tuned, "finetune"), resumed, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-3)


def test_fine_tuning_is_safe_until_the_archive_is_written(trainer: Trainer, tuned: ModelSpec) -> None:
    """kill -9 after the last epoch: the next run trains none and packs the same model."""
    command = [sys.executable, *trainer.command(*FINE, output="late")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    streams: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **streams) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "features of the tuned backbone" in line:
                process.send_signal(signal.SIGKILL)
                break
    assert not (trainer.folder / "late" / "model.tar.gz").exists()
    done = trainer.fit(*FINE, output="late")
    assert "stage=finetune" not in done.out
    assert trainer.spec("late").metrics["test"] == pytest.approx(tuned.metrics["test"], abs=1e-5)


def test_fine_tuning_never_ends_worse_than_it_began(trainer: Trainer) -> None:
    """Steps that are far too large: the head's own network is kept, and that is said."""
    options = ["--epochs", "12", "--unfreeze", "1", "--finetune-epochs", "1", "--finetune-learning-rate", "0.3"]
    done = trainer.fit(*options, output="worse")
    assert done.code == 0, done.err
    assert "network stays as it was" in done.out
    spec = trainer.spec("worse")
    assert spec.metrics["best_epoch"]["finetune"] == 0
    assert spec.metrics["test"]["top1"] == trainer.spec().metrics["test"]["top1"]


def test_broken_copies_are_all_named(trainer: Trainer, tmp_path: Path) -> None:
    """Three empty files are three to be mended, though their content is one."""
    data = shutil.copytree(trainer.data, tmp_path / "data")
    for number in range(3):
        (data / "train" / "001.Red_square" / f"empty{number}.jpg").write_bytes(b"")
    done = trainer.fit(data=data, output="broken")
    assert "3 photos cannot be read" in done.err
    assert all(f"empty{number}.jpg" in done.err for number in range(3))


def test_options_without_effect_are_told(trainer: Trainer) -> None:
    """The slow stage's, where there is none."""
    done = trainer.fit("--epochs", "1", "--mixup", "0.2", output="idle")
    assert "note: mixup do nothing without --unfreeze" in done.out


def test_every_option_of_the_slow_stage_runs(trainer: Trainer) -> None:
    """Strong augmentation, mixup, averaged weights, smoothing, workers, all stages, TensorBoard's scalars."""
    board = trainer.folder / "board"
    options = ["--augment", "strong", "--mixup", "0.2", "--ema", "0.9", "--label-smoothing", "0.1", "--workers", "1"]
    options += [
        "--unfreeze",
        "all",
        "--finetune-epochs",
        "1",
        "--epochs",
        "1",
        "--views",
        "2",
        "--tensorboard",
        str(board),
    ]
    done = trainer.fit(*options, output="options")
    assert done.code == 0, done.err
    assert "features of view 2: 24" in done.err
    assert list(board.glob("events*"))


def test_an_output_that_cannot_be_written_is_told_before_the_work(trainer: Trainer) -> None:
    """A file where the folder should be."""
    (trainer.folder / "file").write_text("")
    done = trainer.fit(output="file")
    assert done.code == 1
    assert "Choose another folder" in done.err
    assert "features" not in done.err
