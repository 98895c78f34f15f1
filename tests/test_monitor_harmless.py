"""Recording never harms a run, and what was recorded survives kills, stops and full disks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.recorded import CPU, SETTINGS, trained
from training.errors import DataError
from training.monitor import rules
from training.monitor.finding import FOUND, Finding
from training.monitor.monitor import Monitor
from training.monitor.recording import TRAIN, Recording, Scalars, as_line
from training.monitor.settings import DEBUG_RULES, Monitoring
from training.monitor.stage import Stage


def test_numbers_that_are_none_survive(tmp_path: Path) -> None:
    """A diverged loss is read back as it was."""
    line = as_line(Scalars(1.0, "head", TRAIN, 1, 1, {"loss": math.nan, "gradient_norm": math.inf}))
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    with Monitor(tmp_path, Monitoring(), SETTINGS) as monitor:
        monitor.write("scalars", Scalars(1.0, "head", TRAIN, 1, 1, {"loss": math.nan, "gradient_norm": math.inf}))
    (found,) = Recording.read(tmp_path).of("head")
    assert math.isnan(found.values["loss"]) and found.values["gradient_norm"] == math.inf


def test_half_a_line_spoils_no_other(tmp_path: Path) -> None:
    """A kill in the middle of a line: the lines before count, and those of the run that goes on."""
    first = Monitor(tmp_path, Monitoring(system_interval=0), SETTINGS)
    trained(first)
    first._let_go()
    with (tmp_path / "scalars.jsonl").open("a") as file:
        file.write('{"t": 17, "stage": "he')
    before = Recording.read(tmp_path)
    assert [line.step for line in before.of("head")] == [1, 10, 20]
    assert before.about["status"] == "running"
    with Monitor(tmp_path, Monitoring(system_interval=0), SETTINGS) as again:
        trained(again)
    after = Recording.read(tmp_path)
    assert [line.step for line in after.of("head")] == [1, 10, 20]
    assert after.of("head")[0].t > before.of("head")[0].t
    assert after.about["started"] == before.about["started"]


def test_another_run_begins_anew(tmp_path: Path) -> None:
    """What ended, or had other settings, is replaced; files of others stay."""
    (tmp_path / "notes.txt").write_text("mine")
    with Monitor(tmp_path, Monitoring(system_interval=0, profile_steps=1), SETTINGS) as first:
        trained(first)
    with Monitor(tmp_path, Monitoring(system_interval=0), {**SETTINGS, "photos": {"train": 3}}) as second:
        trained(second, epochs=1)
    record = Recording.read(tmp_path)
    assert [line.step for line in record.of("head")] == [1]
    assert record.operators == [] and record.about["traced"] is None
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_nothing_is_recorded_without_a_folder_or_an_interval(tmp_path: Path) -> None:
    """And training goes on as ever."""
    with Monitor(tmp_path / "none", Monitoring(record_interval=0), SETTINGS) as monitor:
        assert trained(monitor).best_epoch
    assert not (tmp_path / "none").exists()


class Full:
    """A file on a full disk."""

    def write(self, _: str) -> None:
        """No space left."""
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        """Nothing to do."""


def test_a_full_disk_ends_the_record_and_not_the_run(tmp_path: Path) -> None:
    """Said once."""
    said: list[str] = []
    with Monitor(tmp_path, Monitoring(system_interval=0), SETTINGS, said.append) as monitor:
        monitor._files["scalars"].close()
        monitor._files["scalars"] = Full()  # type: ignore[assignment]
        assert trained(monitor).best_epoch
    assert len(said) == 1 and "No space left" in said[0] and "the run goes on" in said[0]


def test_how_a_run_ended_is_recorded(tmp_path: Path) -> None:
    """An error with its message, an interruption, a rule."""
    for error, status, message in (
        (DataError("no photos"), "failed", "no photos"),
        (KeyboardInterrupt(), "stopped", "interrupted"),
    ):
        with pytest.raises(type(error)), Monitor(tmp_path, Monitoring(), SETTINGS):
            raise error
        about = Recording.read(tmp_path).about
        assert (about["status"], about["message"]) == (status, message)


def found_at(step: int, rule: str) -> Any:
    """Rules that find something from a step on."""

    def check(recording: Recording, names: Any = DEBUG_RULES) -> list[Finding]:
        late = bool(recording.scalars) and recording.scalars[-1].step >= step
        return [Finding(rule, FOUND if late else "clear", "It is so.", "Do this.")] if rule in names else []

    return check


def test_a_finding_is_said_once_and_ends_training_where_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule is told while training goes on; with stop_on the stage ends, and the best epoch is kept."""
    monkeypatch.setattr(rules, "check", found_at(12, "Overfit"))
    for stop, epochs in (((), 4), (("Overfit",), 2)):
        said: list[str] = []
        settings = Monitoring(stop_on=stop, system_interval=0)
        with Monitor(tmp_path / str(epochs), settings, SETTINGS, said.append) as monitor:
            result = trained(monitor)
        assert len(result.history) == epochs and result.best_epoch
        assert said.count("warning: Overfit: It is so. Do this.") == 1
        about = Recording.read(tmp_path / str(epochs)).about
        assert about["status"] == ("stopped" if stop else "done")


def test_several_processes_end_no_epoch_early(tmp_path: Path) -> None:
    """The others would wait for the steps that are left: whole epochs are given out."""
    with Monitor(tmp_path, Monitoring(system_interval=0), SETTINGS) as monitor:
        stage: Stage = monitor.stage("finetune", CPU)
        monitor.stopped_by = "Overfit"
        assert len(list(stage.steps(1, range(3), whole=True))) == 3
        assert list(stage.steps(1, range(3))) == []


def test_a_folder_without_a_record(tmp_path: Path) -> None:
    """Named with the mend, as is one of another format."""
    with pytest.raises(DataError, match="no record of a run"):
        Recording.read(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 99}')
    with pytest.raises(DataError, match="format 99"):
        Recording.read(tmp_path)


def test_a_polite_stop_keeps_the_record_for_the_next_start(tmp_path: Path) -> None:
    """Ctrl-C, then the same run: it goes on in the same files."""

    def stopped() -> None:
        with Monitor(tmp_path, Monitoring(system_interval=0), SETTINGS) as first:
            trained(first, epochs=3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    with Monitor(tmp_path, Monitoring(system_interval=0), SETTINGS) as again:
        trained(again, epochs=1)
    assert [line.step for line in Recording.read(tmp_path).of("head")] == [1, 10]


def test_a_rule_that_stumbles_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it could not judge."""

    def stumble(_: Any) -> Finding:
        return Finding("Overfit", "clear", str(1 / 0))

    monkeypatch.setitem(rules.RULES, "Overfit", stumble)
    with Monitor(tmp_path, Monitoring(system_interval=0), SETTINGS) as monitor:
        assert trained(monitor).best_epoch
    found = {row["rule"]: row for row in json.loads((tmp_path / "findings.json").read_text())}
    assert found["Overfit"]["status"] == "skipped" and "ZeroDivisionError" in found["Overfit"]["evidence"]


def test_a_disk_that_cannot_be_written_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the description nor by a trace: each is said once."""
    said: list[str] = []

    def full(*_: Any) -> Path:
        raise OSError(28, "No space left on device")

    with Monitor(tmp_path, Monitoring(system_interval=0, profile_steps=1), SETTINGS, said.append) as monitor:
        monkeypatch.setattr("training.monitor.monitor.write_whole", full)
        monkeypatch.setattr("training.monitor.trace.Trace._write", full)
        assert trained(monitor).best_epoch
        monitor.note(workers=2)
    assert len(said) == 2 and all("the run goes on" in line for line in said)
