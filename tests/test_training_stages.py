"""Which part of a network is trained: stages by family, still BatchNorms, frozen weights that stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from model_serving.classifier import Head, Preprocessing, network
from tests.labelled import drawing
from training.checkpoint import Checkpoint
from training.config import TrainingConfig
from training.distributed import World
from training.errors import ConfigError
from training.finetune import FineTuning
from training.photos import Batches, Photos
from training.stages import stages, train_mode, unfreeze

ALONE = World(0, 1, torch.device("cpu"))


@pytest.mark.parametrize(
    ("backbone", "count"),
    [
        ("resnet18", 5),
        ("resnet152", 5),
        ("efficientnet_lite0", 18),
        ("efficientnet_b0", 9),
        ("convnext_tiny", 8),
        ("vit_b_16", 13),
        ("swin_t", 8),
        ("mobilenet_v3_large", 18),
        ("vgg11", 10),
        ("vgg11_bn", 10),
        ("densenet121", 8),
        ("regnet_y_400mf", 5),
    ],
)
def test_stages_by_family(backbone: str, count: int) -> None:
    """Together they hold every weight that is in a module, but the head's, once, from the photo to the head."""
    net = network.skeleton(backbone, Head(), 3)
    name = network.head_name(backbone)
    found = stages(net, name)
    assert len(found) == count
    held = [id(parameter) for stage in found for module in stage for parameter in module.parameters()]
    head = {id(parameter) for parameter in net.get_submodule(name).parameters()}
    assert len(held) == len(set(held))
    assert not head & set(held)
    total = sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in net.get_submodule(name).parameters())
    assert sum(p.numel() for stage in found for module in stage for p in module.parameters()) > 0.98 * total
    last = sum(p.numel() for module in found[-1] for p in module.parameters())
    assert last > 0.02 * total, "the last stage can hardly learn anything"


def test_the_last_stages_are_those_before_the_head() -> None:
    """Of a ResNet, layer4 first."""
    net = network.build("resnet18", Head(), 3)
    groups = unfreeze(net, "fc", 2).groups
    trained = {name.partition(".")[0] for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert trained == {"fc", "layer4", "layer3"}
    sizes = [len(list(net.get_submodule(name).parameters())) for name in ("fc", "layer4", "layer3")]
    assert [len(group) for group in groups] == sizes


def test_all_means_every_weight_once() -> None:
    """Also those that belong to no stage, as a ViT's class token."""
    net = network.build("vit_b_32", Head(), 3)
    groups = unfreeze(net, "heads.head", None).groups
    assert sorted(id(p) for group in groups for p in group) == sorted(id(p) for p in net.parameters())
    assert all(p.requires_grad for p in net.parameters())


def test_batchnorms_stay_still() -> None:
    """Training mode for dropout of what is trained, not for any BatchNorm, nor for what is frozen."""
    net = network.build("efficientnet_b0", Head((8,), 0.5), 3)
    train_mode(net, unfreeze(net, "classifier.1", 2).modules)
    assert not any(m.training for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    assert all(m.training for m in net.get_submodule("classifier.1").modules() if isinstance(m, nn.Dropout))
    assert net.get_submodule("features.7").training
    frozen = [net.get_submodule(f"features.{index}") for index in range(7)]
    assert not any(module.training for stage in frozen for module in stage.modules()), "noise in what is frozen"


def photos(folder: Path, n: int) -> Photos:
    """Red squares and blue bars, in turns."""
    paths, labels = [], []
    for number in range(n):
        path = folder / f"{number}.jpg"
        path.write_bytes(drawing(("001.Red_square", "003.Blue_bar")[number % 2], number))
        paths.append(path)
        labels.append(number % 2)
    return Photos(paths, labels, Preprocessing(64, 64))


def tuning(tmp_path: Path, net: nn.Module, key: str = "key", **settings: object) -> FineTuning:
    """A small run."""
    defaults = {"finetune_epochs": 2, "finetune_batch_size": 8, "unfreeze": "1", "patience": 0}
    config = TrainingConfig(backbone="resnet18", **{**defaults, **settings})  # type: ignore[arg-type]
    data = photos(tmp_path, 12)
    return FineTuning(net, "fc", data, data, config, ALONE, Checkpoint(tmp_path / "checkpoints", key))


def test_frozen_weights_and_statistics_do_not_move(tmp_path: Path) -> None:
    """What was not unfrozen is bit for bit what it was; what was, moves."""
    torch.manual_seed(0)
    net = network.build("resnet18", Head(), 2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    after = tuning(tmp_path, net).run().state
    changed = {name.partition(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"fc", "layer4"}
    assert not [name for name in after if "running" in name and not torch.equal(after[name], before[name])]


def test_the_gradient_of_small_passes_is_that_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes of four on a CPU are a matter of memory, not of the result."""
    weights = []
    for size in (4, 8):
        monkeypatch.setitem(__import__("training.finetune").finetune.CHUNK, "cpu", size)
        torch.manual_seed(0)
        net = network.build("resnet18", Head(), 2)
        folder = tmp_path / str(size)
        folder.mkdir()
        weights.append(tuning(folder, net, finetune_epochs=1).run().state["fc.weight"])
    assert torch.allclose(weights[0], weights[1], atol=1e-6)


def test_a_checkpoint_of_another_run_is_not_gone_on_from(tmp_path: Path) -> None:
    """Other hyperparameters or photos have another key; a torn file is as good as none."""
    checkpoint = Checkpoint(tmp_path, "mine")
    checkpoint.save({"history": [1]})
    assert checkpoint.load() == {"key": "mine", "history": [1]}
    assert Checkpoint(tmp_path, "other").load() is None
    (file,) = tmp_path.glob("*.pt")
    Checkpoint(tmp_path, "other").save({"history": []})
    assert [name[:15] for name in checkpoint.others()] == ["finetune-other."]
    file.write_bytes(file.read_bytes()[:-50])
    assert checkpoint.load() is None
    checkpoint.clear()
    assert not file.exists()


def test_too_many_stages_are_refused(tmp_path: Path) -> None:
    """With how many there are."""
    with pytest.raises(ConfigError, match="resnet18 has 5 stages"):
        tuning(tmp_path, network.build("resnet18", Head(), 2), unfreeze="7")


def test_processes_share_every_batch() -> None:
    """Together the parts are the batch of one process, filled up to equal sizes from its own start."""
    alone = list(Batches(10, 4, ALONE, 3, shuffle=True))
    parts = [list(Batches(10, 4, World(rank, 3, torch.device("cpu")), 3, shuffle=True)) for rank in range(3)]
    assert [len(batch) for batch in alone] == [4, 4, 2]
    for number, batch in enumerate(alone):
        together = [key for part in parts for key in part[number]]
        assert {len(part[number]) for part in parts} == {-(-len(batch) // 3)}
        assert set(together) == set(batch)


def test_epochs_are_shuffled_differently_and_repeatably() -> None:
    """By seed and epoch alone, so that a restart goes on with the same batches."""
    batches = Batches(50, 50, ALONE, 3, shuffle=True)
    first = next(iter(batches))
    batches.epoch = 1
    second = next(iter(batches))
    assert [i for _, i in first] != [i for _, i in second]
    batches.epoch = 0
    assert next(iter(batches)) == first
