"""What a run records of itself: steps, norms, times, the machine; and that recording never harms a run."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from training.config import TrainingConfig
from training.errors import ConfigError, DataError
from training.head import Features, Trained, train_head
from training.monitor import rules
from training.monitor.clock import Clock
from training.monitor.finding import FOUND, Finding
from training.monitor.monitor import Monitor
from training.monitor.recorder import Recorder
from training.monitor.recording import EVAL, FEATURES, TRAIN, Gpu, Recording, Scalars, Step, SystemSample, as_line
from training.monitor.settings import DEBUG_RULES, Monitoring
from training.monitor.stage import Stage
from training.monitor.system import Sampler

CPU = torch.device("cpu")
SETTINGS = {"hyperparameters": TrainingConfig().as_dict(), "photos": {"train": 60}}


def easy(photos: int = 60) -> Features:
    """Features whose sign of the first tells two classes."""
    x = torch.randn(photos, 8, generator=torch.Generator().manual_seed(0))
    return Features(x[None], (x[:, 0] > 0).long())


def trained(monitor: Monitor, **settings: Any) -> Trained:
    """A head trained under the monitor: 6 steps an epoch."""
    config = TrainingConfig(**{"epochs": 4, "batch_size": 10, "patience": 0, "hidden": (4,), **settings})
    stage = monitor.stage("head", CPU, every_step=False)
    return train_head(easy(), easy(), config, 2, CPU, watch=stage)


@pytest.fixture
def record(tmp_path: Path) -> Recording:
    """Of four epochs, with the machine looked at often."""
    with Monitor(tmp_path, Monitoring(system_interval=20), SETTINGS) as monitor:
        trained(monitor)
        time.sleep(0.1)
    return Recording.read(tmp_path)


def test_saved_steps_and_validations_are_recorded(record: Recording) -> None:
    """The first and every tenth step, and each epoch's validation, with their numbers."""
    steps = record.of("head")
    assert [line.step for line in steps] == [1, 10, 20]
    assert [line.epoch for line in steps] == [1, 2, 4]
    names = {"loss", "accuracy", "learning_rate", "gradient_norm", "weight_norm", "gradient_norm/head.0.weight"}
    names |= {"weight_norm/head.2.bias", "activation_std/head.0", "zeros/head.1", "dead_units/head.1"}
    assert names <= steps[0].values.keys()
    assert 0 <= steps[0].values["accuracy"] <= 1
    validations = record.of("head", EVAL)
    assert [(line.epoch, line.step) for line in validations] == [(1, 6), (2, 12), (3, 18), (4, 24)]
    assert {"loss", "loss_scaled", "accuracy", "train_loss"} <= validations[0].values.keys()
    assert validations[-1].values["train_loss"] < validations[0].values["train_loss"]
    assert record.about["status"] == "done"
    assert record.about["ended"] >= record.about["started"]


def test_recorded_numbers_are_those_of_the_step() -> None:
    """Norms, activations and dead units of a layer whose weights are known, over two passes of one step."""
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, -1.0]]))
        linear.bias.zero_()
    head = nn.Sequential(linear, nn.ReLU())
    found: list[Scalars] = []
    recorder = Recorder("head", 1, found.append)
    recorder.register_module(head, "h")
    recorder.begin_step(1)
    for row in ([1.0, 1.0], [0.0, 1.0]):  # the second unit stays below zero in both passes
        head(torch.tensor([row])).sum().backward()
    recorder.save_scalar("loss", torch.tensor(0.5))
    recorder.record_tensor_value("input", torch.tensor([1.0, 3.0]))
    assert recorder.end_step()
    values = found[0].values
    assert values["loss"] == 0.5
    assert values["weight_norm/h.0.weight"] == pytest.approx(math.sqrt(10))
    assert values["gradient_norm/h.0.weight"] == pytest.approx(math.sqrt(2))
    assert values["gradient_norm"] == pytest.approx(math.sqrt(2 + 1))
    assert values["dead_units/h.1"] == 0.5
    assert values["zeros/h.1"] == 0.75
    assert values["activation_mean/h.1"] == pytest.approx(3 / 4)
    assert (values["activation_mean/input"], values["activation_std/input"]) == (2, 1)


def test_the_interface_is_that_of_a_smdebug_hook() -> None:
    """A loss module's output is saved as `loss`, validation has a mode of its own, unsaved steps cost nothing."""
    found: list[Scalars] = []
    recorder = Recorder("head", 2, found.append)
    loss = nn.MSELoss()
    recorder.register_loss(loss)
    for number in range(1, 5):
        recorder.begin_step(1)
        loss(torch.tensor(float(number)), torch.tensor(0.0))
        recorder.end_step()
    recorder.set_mode(EVAL)
    recorder.begin_step(1)
    recorder.save_scalar("accuracy", 1)
    recorder.end_step()
    said = [(line.mode, line.step, line.values.get("loss")) for line in found]
    assert said == [(TRAIN, 1, 1.0), (TRAIN, 2, 4.0), (TRAIN, 4, 16.0), (EVAL, 4, None)]


def test_recording_changes_no_weight(tmp_path: Path) -> None:
    """The same head with and without."""
    with Monitor(tmp_path, Monitoring(record_interval=1, profile_steps=2), SETTINGS) as monitor:
        watched = trained(monitor, dropout=0.5)
    plain = trained(Monitor(None), dropout=0.5)
    assert plain.state.keys() == watched.state.keys()
    assert all(torch.equal(plain.state[name], watched.state[name]) for name in plain.state)


def test_the_time_of_a_step_is_told_apart(tmp_path: Path) -> None:
    """Waiting for a batch is waiting, computing is computing, and their sum is the step's time."""
    with Monitor(tmp_path, Monitoring(system_interval=0), SETTINGS) as monitor:
        stage = monitor.stage("finetune", CPU)
        for _ in stage.steps(1, slow([0.03, 0.0, 0.0])):
            time.sleep(0.01)
            stage.lap("forward")
            stage.end_step(8)
    steps = Recording.read(tmp_path).timed("finetune")
    assert [step.step for step in steps] == [1, 2, 3]
    assert steps[0].wait >= 0.03 > steps[1].wait
    for step in steps:
        assert 0.01 <= step.forward <= step.total
        assert step.wait + step.copy + step.forward + step.backward + step.optimizer <= step.total + 1e-6


def slow(seconds: list[float]) -> Any:
    """Items that take so long each."""
    for item in seconds:
        time.sleep(item)
        yield item


def test_features_are_timed_in_blocks(tmp_path: Path) -> None:
    """One line for so many photos, and one for the rest."""
    with Monitor(tmp_path, Monitoring(system_interval=0), SETTINGS) as monitor:
        stage = monitor.stage(FEATURES, CPU, records=False, block=8)
        for _ in stage.steps(0, range(5)):
            stage.lap("forward")
            stage.end_step(4)
    assert [step.photos for step in Recording.read(tmp_path).timed(FEATURES)] == [8, 8, 4]


def test_a_clock_gives_out_each_step_once() -> None:
    """Laps of one phase add up; nothing is left afterwards."""
    clock = Clock(CPU)
    clock.start()
    for phase in ("forward", "backward", "forward"):
        time.sleep(0.002)
        clock.lap(phase)
    (step,) = clock.stop(stage="head", epoch=1, step=1, photos=4)
    assert step.forward >= 0.004 > step.backward >= 0.002
    assert clock.flush() == []


def test_the_machine_is_looked_at(record: Recording) -> None:
    """Processor, memory and this process, several times, with sane values."""
    assert len(record.system) >= 3
    for sample in record.system:
        assert 0 <= sample.cpu <= sample.busiest <= 1
        assert 0 < sample.process_memory < sample.memory_total
        assert sample.read >= 0 <= sample.written
    assert record.system[-1].memory_total == psutil.virtual_memory().total


class Nvml:
    """The part of pynvml that is used, of a machine with one GPU: none is at hand where tests run."""

    NVMLError = RuntimeError

    class Memory:
        """Bytes."""

        used, total = 3, 8

    class Rates:
        """Percent."""

        gpu = 25

    def nvmlInit(self) -> None:
        """Nothing to do."""

    def nvmlDeviceGetCount(self) -> int:
        """One GPU."""
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        """Its number."""
        return index

    def nvmlDeviceGetMemoryInfo(self, _: int) -> Nvml.Memory:
        """Its memory."""
        return self.Memory()

    def nvmlDeviceGetUtilizationRates(self, _: int) -> Nvml.Rates:
        """How busy it is."""
        return self.Rates()


def test_gpus_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """By NVML, in shares and bytes."""
    monkeypatch.setitem(__import__("sys").modules, "pynvml", Nvml())
    samples: list[SystemSample] = []
    sampler = Sampler(10, samples.append)
    time.sleep(0.1)
    sampler.close()
    assert samples[0].gpus == (Gpu(0.25, 3, 8),)


def test_steps_are_traced(tmp_path: Path) -> None:
    """A window of steps: a Chrome trace, and operators by their time."""
    with Monitor(tmp_path, Monitoring(profile_steps=2, profile_after=3), SETTINGS) as monitor:
        trained(monitor)
    record = Recording.read(tmp_path)
    assert record.about["traced"] == ["head", 4, 2]
    assert (tmp_path / "trace.json.gz").read_bytes()[:2] == b"\x1f\x8b"
    names = [operator.name for operator in record.operators]
    assert "aten::addmm" in names
    times = [operator.self_seconds for operator in record.operators]
    assert times == sorted(times, reverse=True)
    linear = next(operator for operator in record.operators if operator.name == "aten::addmm")
    assert linear.calls == 2 * 2  # two layers, two steps


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


def test_options_that_need_a_record() -> None:
    """Named with the mend."""
    for options in ({"stop_on": ("Overfit",)}, {"profile_steps": 3}):
        with pytest.raises(ConfigError, match="record_interval"):
            Monitoring(record_interval=0, **options)
    with pytest.raises(ConfigError, match="is none of LossNotDecreasing"):
        Monitoring.from_texts({"stop-on": "Slow"})


def test_a_folder_without_a_record(tmp_path: Path) -> None:
    """Named with the mend, as is one of another format."""
    with pytest.raises(DataError, match="no record of a run"):
        Recording.read(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 99}')
    with pytest.raises(DataError, match="format 99"):
        Recording.read(tmp_path)


def test_lines_survive_as_objects() -> None:
    """Steps and samples, GPUs included."""
    step = Step(1.0, "head", 1, 2, 8, 0.1, 0.0, 0.2, 0.3, 0.1, 0.7)
    assert Step(**json.loads(as_line(step))) == step
    sample = SystemSample(1.0, 0.5, 0.9, 0.0, 10, 20, 5, 0.0, 1.0, (Gpu(0.5, 1, 2),))
    assert json.loads(as_line(sample))["gpus"] == [{"utilization": 0.5, "memory": 1, "memory_total": 2}]


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
