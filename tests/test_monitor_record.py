"""What a run records of itself: steps, norms, times, the machine."""

from __future__ import annotations

import json
import math
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from tests.recorded import CPU, SETTINGS, trained
from training.errors import ConfigError
from training.monitor.clock import Clock
from training.monitor.monitor import Monitor
from training.monitor.recorder import Recorder
from training.monitor.recording import (
    EVAL,
    FEATURES,
    TRAIN,
    Gpu,
    Operator,
    Recording,
    Scalars,
    Step,
    SystemSample,
    as_line,
)
from training.monitor.settings import Monitoring
from training.monitor.system import Sampler
from training.monitor.trace import operators


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
    recorder.end_step()
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


def test_a_gpu_s_kernels_count_for_their_operators() -> None:
    """The profiler lists both, with the same time."""
    Row = namedtuple("Row", "key count self_cpu_time_total self_device_time_total device_type")
    cpu, cuda = (SimpleNamespace(name=name) for name in ("CPU", "CUDA"))
    rows = [
        Row("aten::copy_", 2, 10.0, 3e6, cpu),
        Row("void at::native::elementwise_kernel<128, 4>", 2, 0.0, 3e6, cuda),
        Row("aten::mm", 1, 20.0, 4e6, cpu),
    ]
    assert operators(rows) == [Operator("aten::mm", 1, 2e-5, 4.0), Operator("aten::copy_", 2, 1e-5, 3.0)]


def test_options_that_need_a_record() -> None:
    """Named with the mend."""
    for options in ({"stop_on": ("Overfit",)}, {"profile_steps": 3}):
        with pytest.raises(ConfigError, match="record_interval"):
            Monitoring(record_interval=0, **options)
    with pytest.raises(ConfigError, match="is none of LossNotDecreasing"):
        Monitoring.from_texts({"stop-on": "Slow"})


def test_lines_survive_as_objects() -> None:
    """Steps and samples, GPUs included."""
    step = Step(1.0, "head", 1, 2, 8, 0.1, 0.0, 0.2, 0.3, 0.1, 0.7)
    assert Step(**json.loads(as_line(step))) == step
    sample = SystemSample(1.0, 0.5, 0.9, 0.0, 10, 20, 5, 0.0, 1.0, (Gpu(0.5, 1, 2),))
    assert json.loads(as_line(sample))["gpus"] == [{"utilization": 0.5, "memory": 1, "memory_total": 2}]
