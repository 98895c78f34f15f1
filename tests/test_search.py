"""A search on cached features: what it draws, what it keeps, and that a killed one goes on."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tests.conftest import ROOT
from tests.labelled import make_folders, random_weights
from tests.trainings import run_here
from training.config import TrainingConfig, search_space
from training.errors import ConfigError, DataError
from training.search.best import read
from training.search.space import space
from training.search.study import baseline, best, needs_baseline
from training.settings import Choices, Range


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes; the test photos cannot be read, which a search must not notice."""
    root = make_folders(tmp_path_factory.mktemp("photos"), {"train": 8, "valid": 5, "test": 2})
    for path in (root / "test").rglob("*.jpg"):
        path.write_bytes(b"no photo")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a ResNet18 that nobody trained."""
    return random_weights(tmp_path_factory.mktemp("weights") / "resnet18.pt")


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features are shared between the tests."""
    return tmp_path_factory.mktemp("features")


class Tuner:
    """`python -m training tune` over the photos."""

    def __init__(self, photos: Path, weights: Path, features: Path) -> None:
        self._fixed = ["--data", str(photos), "--backbone", "resnet18", "--weights", str(weights)]
        self._fixed += ["--crop", "64", "--resize", "72", "--cache", str(features)]

    def command(self, output: Path, *options: str) -> list[str]:
        """To be run as a process, which may be killed."""
        return [sys.executable, "-m", "training", "tune", *self._fixed, "--output", str(output), *options]

    def __call__(self, output: Path, *options: str, command: str = "tune", code: int = 0) -> str:
        """What it printed; it must end with the code and without a traceback."""
        done = run_here("training", command, *self._fixed, "--output", str(output), *options)
        assert done.code == code, done.out + done.err
        return done.out if code == 0 else done.err


@pytest.fixture(scope="module")
def tune(photos: Path, weights: Path, features: Path) -> Tuner:
    """The command."""
    return Tuner(photos, weights, features)


@pytest.fixture(scope="module")
def searched(tune: Tuner, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A search of eight trials, and what it printed."""
    output = tmp_path_factory.mktemp("search")
    return output, tune(output, "--trials", "8", "--epochs", "12")


def trials(output: Path) -> list[dict[str, str]]:
    """The rows of trials.csv."""
    with (output / "trials.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_search_leaves_best_trials_curves_and_report(searched: tuple[Path, str]) -> None:
    """Eight trials, the defaults first, each with its curve; the best is one of them and not below the defaults."""
    output, said = searched
    rows = trials(output)
    assert [row["trial"] for row in rows] == [str(n) for n in range(8)]
    assert [row["defaults"] for row in rows] == ["True"] + ["False"] * 7
    assert (rows[0]["learning_rate"], rows[0]["batch_size"], rows[0]["hidden"]) == ("0.005", "64", "none")
    found = json.loads((output / "best.json").read_text())
    row = rows[found["trial"]]
    assert float(row["valid_loss"]) == found["valid_loss"]
    assert found["valid_top1"] >= found["defaults"]["valid_top1"] == float(rows[0]["valid_top1"])
    finished = [float(r["valid_loss"]) for r in rows if r["state"] == "finished"]
    better = [r for r in rows if r["state"] == "finished" and float(r["valid_top1"]) >= float(rows[0]["valid_top1"])]
    assert found["valid_loss"] == min(float(r["valid_loss"]) for r in better) <= max(finished)
    with (output / "curves.csv").open(newline="", encoding="utf-8") as file:
        curves = list(csv.DictReader(file))
    for row in rows:
        losses = [float(line["valid_loss"]) for line in curves if line["trial"] == row["trial"]]
        assert len(losses) == int(row["epochs"]) > 0
        assert min(losses) == float(row["valid_loss"])
    assert "<title>" in (output / "report.html").read_text(encoding="utf-8")
    assert said.count("trial=") == 8 and "(the defaults)" in said


def test_what_is_drawn_is_within_the_ranges(searched: tuple[Path, str]) -> None:
    """The ranges that TrainingConfig declares."""
    for row in trials(searched[0]):
        TrainingConfig.from_texts({name: row[name] for name in search_space()})
        assert 1e-4 <= float(row["learning_rate"]) <= 0.02
        assert row["batch_size"] in ("32", "64", "128")
        assert row["hidden"] in ("none", "128", "256")
        assert 0 <= float(row["dropout"]) <= 0.5


def test_fit_takes_the_winner(searched: tuple[Path, str], tune: Tuner, photos: Path, tmp_path: Path) -> None:
    """The same hyperparameters give the same validation loss; a flag goes before the file."""
    best_file = searched[0] / "best.json"
    found = json.loads(best_file.read_text())
    tune(tmp_path, "--hyperparameters", str(best_file), "--skip-unreadable", command="fit")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    losses = [epoch["valid_loss"] for epoch in metrics["history"]]
    assert min(losses) == pytest.approx(found["valid_loss"], rel=1e-4)
    assert read(best_file).keys() >= search_space().keys()


def test_a_search_goes_on(searched: tuple[Path, str], tune: Tuner, tmp_path: Path) -> None:
    """With more trials those there are count; with as many nothing is done; with other settings it is refused."""
    output = tmp_path / "search"
    output.mkdir()
    (output / "study.db").write_bytes((searched[0] / "study.db").read_bytes())
    assert tune(output, "--trials", "8", "--epochs", "12").count("trial=") == 0
    assert tune(output, "--trials", "10", "--epochs", "12").count("trial=") == 2
    rows, before = trials(output), trials(searched[0])
    assert len(rows) == 10 and rows[:8] == before
    refused = tune(output, "--trials", "12", "--epochs", "13", code=1)
    assert "holds a search with other settings" in refused
    refused = tune(output, "--trials", "12", "--epochs", "12", "--search", "weight_decay", code=1)
    assert "ranges" in refused


def test_a_killed_search_loses_no_finished_trial(tune: Tuner, tmp_path: Path) -> None:
    """kill -9 in the middle; best.json is there already; the same command goes on with the trials that had ended."""
    options = ("--trials", "40", "--epochs", "60", "--patience", "0")
    process = subprocess.Popen(tune.command(tmp_path, *options), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said: list[str] = []
    while sum(line.startswith("trial=") for line in said) < 3:
        said.append(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    kept = json.loads((tmp_path / "best.json").read_text())
    more = tune(tmp_path, *("--trials", "6", *options[2:]))
    assert "trials are there already" in more
    rows = {row["trial"]: row for row in trials(tmp_path)}
    for line in said:
        if line.startswith("trial="):
            number = line.split()[0].removeprefix("trial=")
            assert rows[number]["state"] in ("finished", "stopped early")
    assert sum(row["state"] in ("finished", "stopped early") for row in rows.values()) >= 6
    assert json.loads((tmp_path / "best.json").read_text())["valid_loss"] <= kept["valid_loss"]


def test_processes_may_begin_a_search_together(tmp_path: Path) -> None:
    """Whoever comes first makes the tables of its file, and the others wait for them."""
    script = (
        "import sys\n"
        "from optuna.study import StudyDirection\n"
        "from training.search.study import open_study\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
        "open_study(sys.argv[1], StudyDirection.MINIMIZE, {'data': 1}, {})\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "study.db")]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    running = [subprocess.Popen(command, cwd=ROOT, text=True, **pipes) for _ in range(4)]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    for process in running:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None  # communicate() would flush it
    assert [process.communicate(timeout=60)[1] for process in running] == [""] * 4


def test_processes_share_a_search(tune: Tuner, tmp_path: Path) -> None:
    """Two processes on one storage: together the trials that were asked for, no two alike."""
    options = ("--storage", str(tmp_path / "study.db"), "--trials", "10", "--epochs", "12")
    commands = [tune.command(tmp_path / name, *options) for name in ("a", "b")]
    running = [subprocess.Popen(c, cwd=ROOT, stdout=subprocess.PIPE, text=True) for c in commands]
    said = [process.communicate(timeout=240)[0] for process in running]
    assert all(process.returncode == 0 for process in running), said
    tune(tmp_path / "c", *options)
    rows = trials(tmp_path / "c")
    ended = [row for row in rows if row["state"] in ("finished", "stopped early")]
    assert 10 <= len(ended) <= 11
    drawn = {tuple(row[name] for name in search_space()) for row in rows if row["defaults"] == "False"}
    assert len(drawn) >= len(rows) - 2


def test_refit_packs_the_winner(tune: Tuner, tmp_path: Path) -> None:
    """`tune --refit` leaves an archive of the best hyperparameters; a journal is a storage too."""
    storage = str(tmp_path / "study.journal")
    tune(tmp_path, "--trials", "2", "--epochs", "4", "--refit", "--skip-unreadable", "--storage", storage)
    found = json.loads((tmp_path / "best.json").read_text())
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (tmp_path / "model.tar.gz").stat().st_size > 1_000_000
    assert min(e["valid_loss"] for e in metrics["history"]) == pytest.approx(found["valid_loss"], rel=1e-4)
    assert Path(storage).read_text()


def test_a_diverging_trial_is_no_end(tune: Tuner, tmp_path: Path) -> None:
    """A learning rate beyond reason: trials are written down as diverged, the search goes on."""
    wish = "learning_rate=0.001:100:log hidden=none|128"
    tune(tmp_path, "--trials", "6", "--epochs", "60", "--patience", "0", "--weight-decay", "10", "--search", wish)
    rows = trials(tmp_path)
    assert len(rows) == 6
    diverged = [row for row in rows if row["why"] == "diverged"]
    assert diverged and all(row["state"] == "stopped early" for row in diverged)


def test_the_stage_of_photos_is_searched_as_well(tune: Tuner, tmp_path: Path) -> None:
    """Unfrozen trials have both curves, and several backbones features of their own."""
    tune(
        tmp_path, "--trials", "2", "--epochs", "3", "--unfreeze", "1", "--finetune-epochs", "1",
        "--finetune-batch-size", "12", "--search", "finetune_learning_rate", "--skip-unreadable",
    )  # fmt: skip
    with (tmp_path / "curves.csv").open(newline="", encoding="utf-8") as file:
        stages = {(row["trial"], row["stage"]) for row in csv.DictReader(file)}
    assert stages >= {("0", "head"), ("0", "finetune"), ("1", "head")}


@pytest.mark.parametrize(
    ("given", "wishes", "found"),
    [
        ((), "", {"learning_rate", "batch_size", "hidden", "dropout"}),
        (("dropout", "hidden"), "", {"learning_rate", "batch_size"}),
        ((), "weight_decay; balance", {"learning_rate", "batch_size", "hidden", "dropout", "weight_decay", "balance"}),
        (("dropout",), "dropout", {"learning_rate", "batch_size", "hidden", "dropout"}),
    ],
)
def test_dimensions(given: Sequence[str], wishes: str, found: set[str]) -> None:
    """What is given is not searched, what is wished for is."""
    assert space(given, wishes, TrainingConfig()).keys() == found


def test_ranges_can_be_changed() -> None:
    """Each kind of range as it is typed."""
    wishes = "learning-rate=0.001:0.1:log epochs=20:80 backbone=resnet50|resnet152 hidden=none|256|512,256"
    found = space((), wishes, TrainingConfig())
    assert found["learning_rate"] == Range(0.001, 0.1, log=True)
    assert found["epochs"] == Range(20, 80)
    assert found["backbone"] == Choices(("resnet50", "resnet152"))
    assert found["hidden"] == Choices(((), (256,), (512, 256)))


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ("speed", "speed is no hyperparameter; there are backbone"),
        ("crop", "crop has no range of its own"),
        ("seed=0:9", "seed makes no better model"),
        ("finetune_learning_rate", "does nothing without --unfreeze"),
        ("learning_rate=0:0.1:log", "begins at 0 on a logarithmic scale"),
        ("learning_rate=0.1:0.01", "is empty"),
        ("learning_rate=a:b", "learning_rate: 'a' is no number"),
        ("backbone=a:b", "is no range"),
        ("dropout=0:2", "dropout: 2.0 is not from 0 to 0.95"),
        ("augment=none|wild", "augment"),
    ],
)
def test_mistakes_in_ranges_are_named(wishes: str, said: str) -> None:
    """Before any work, with what is allowed."""
    with pytest.raises(ConfigError) as caught:
        space((), wishes, TrainingConfig())
    assert said in str(caught.value)


def finished(value: float, top1: float, **attrs: Any) -> optuna.trial.FrozenTrial:
    """A trial as a search leaves it."""
    known = {"valid_loss": value, "valid_top1": top1, **attrs}
    return optuna.trial.create_trial(value=value, user_attrs=known)


def test_the_winner_is_never_less_accurate_than_the_defaults() -> None:
    """The lowest loss among those that are right at least as often; the defaults themselves if none is better."""
    study = optuna.create_study()
    study.add_trial(finished(0.5, 0.8, baseline=True))
    study.add_trial(finished(0.3, 0.7))
    found = best(study)
    assert found is not None and found.number == 0
    study.add_trial(finished(0.4, 0.8))
    study.add_trial(finished(0.45, 0.9))
    found = best(study)
    assert found is not None and found.number == 2


def test_defaults_that_diverge_are_no_measure() -> None:
    """Trials are compared among themselves then; a start that was killed leaves them to be tried again."""
    study = optuna.create_study()
    assert needs_baseline(study)
    study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={"baseline": True}))
    study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL, user_attrs={"baseline": True}))
    assert needs_baseline(study)
    study.add_trial(
        optuna.trial.create_trial(state=TrialState.PRUNED, user_attrs={"baseline": True, "why": "diverged"})
    )
    assert not needs_baseline(study)
    study.add_trial(finished(0.5, 0.8))
    found = best(study)
    assert baseline(study) is None and found is not None and found.number == 3


@pytest.mark.parametrize("content", ["", "[1]", '"text"'])
def test_a_file_of_hyperparameters_that_is_none(content: str, tmp_path: Path) -> None:
    """One message with the mend."""
    (tmp_path / "best.json").write_text(content)
    with pytest.raises(ConfigError, match=r"best\.json"):
        read(tmp_path / "best.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path / "none.json")


def test_unreadable_photos_end_a_search_before_it_begins(tune: Tuner, photos: Path, tmp_path: Path) -> None:
    """Those of train and valid are named; those of test are not looked at."""
    broken = photos / "valid" / "001.Red_square" / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff")
    try:
        said = tune(tmp_path, "--trials", "1", code=1)
    finally:
        broken.unlink()
    assert "valid/001.Red_square/broken.jpg" in said and "test/" not in said
    assert issubclass(DataError, Exception) and not (tmp_path / "best.json").exists()


def test_time_ends_a_search(tune: Tuner, tmp_path: Path) -> None:
    """No trial begins after --max-minutes; what there is, is written."""
    started = time.monotonic()
    tune(tmp_path, "--trials", "1000", "--max-minutes", "0.05", "--epochs", "40", "--patience", "0")
    assert time.monotonic() - started < 120
    assert 0 < len(trials(tmp_path)) < 1000
