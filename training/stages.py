"""Which parts of a backbone are its stages, for unfreezing the last ones and for smaller steps further down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)

DOMINANT = 0.8
"""A module with more than this share of all weights is no stage but what holds the stages (`encoder` of a ViT,
`blocks` of EfficientNet-Lite0), and is looked into."""

CONTAINER = "features"
"""So is one that torchvision gives this name, which in VGG and MobileNetV3 is not the largest part."""


@dataclass(frozen=True, eq=False)
class Unfrozen:
    """What is trained: modules for training mode, and weights by stage, the head's first."""

    modules: list[nn.Module]
    groups: list[list[nn.Parameter]]


def stages(network: nn.Module, head_name: str) -> list[list[nn.Module]]:
    """The backbone's stages from the photo to the head, as modules: layer4 of a ResNet, a block of a ViT.

    A norm by itself belongs to the stage before it: the first thing to unfreeze must be able to learn something.
    """
    head = network.get_submodule(head_name)
    inside_head = set(head.modules())
    total = sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in head.parameters())
    found: list[list[nn.Module]] = []
    for module in _stages(network, inside_head, total):
        if found and _only_norms(module):
            found[-1].append(module)
        else:
            found.append([module])
    return found


def _only_norms(module: nn.Module) -> bool:
    own = [part for part in module.modules() if list(part.parameters(recurse=False))]
    return all(isinstance(part, _NORMS) for part in own)


def _stages(module: nn.Module, skipped: set[nn.Module], total: int) -> Iterator[nn.Module]:
    for name, child in module.named_children():
        size = _size(child, skipped)
        if not size:
            continue
        holds_stages = name == CONTAINER or size > DOMINANT * total
        holds_stages = holds_stages and any(_size(part, skipped) for part in child.children())
        if holds_stages or any(part in skipped for part in child.modules()):
            yield from _stages(child, skipped, total)
        else:
            yield child


def _size(module: nn.Module, skipped: set[nn.Module]) -> int:
    """Weights of a module outside of the skipped ones."""
    own = sum(p.numel() for p in module.parameters(recurse=False))
    return 0 if module in skipped else own + sum(_size(child, skipped) for child in module.children())


def unfreeze(network: nn.Module, head_name: str, count: int | None) -> Unfrozen:
    """Let the head and the last `count` stages (None: everything) be trained.

    With None the last group also has what belongs to no stage (a ViT's class token). ValueError for more stages
    than there are, with their number.
    """
    found, head = stages(network, head_name), network.get_submodule(head_name)
    if count is not None and count > len(found):
        raise ValueError(len(found))
    network.requires_grad_(False)
    chosen = found if count is None else found[len(found) - count :]
    parts = [[head], *reversed(chosen)]
    groups = [[p for module in part for p in module.parameters()] for part in parts]
    if count is None:
        grouped = {id(parameter) for group in groups for parameter in group}
        groups[-1] += [parameter for parameter in network.parameters() if id(parameter) not in grouped]
    for group in groups:
        for parameter in group:
            parameter.requires_grad_(True)
    return Unfrozen([network] if count is None else [module for part in parts for module in part], groups)


def train_mode(network: nn.Module, trained: list[nn.Module]) -> None:
    """Training mode for the modules that are trained, evaluation mode for the rest and for every BatchNorm.

    BatchNorm keeps the statistics of the pretraining: those of small batches are noise, and several processes
    would each have their own. Its factors and offsets train.
    """
    network.eval()
    for module in trained:
        module.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
