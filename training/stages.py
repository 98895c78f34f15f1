"""Which parts of a backbone are its stages, for unfreezing the last ones and for smaller steps further down."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

DOMINANT = 0.8
"""A module with more than this share of all weights is no stage but what holds the stages (`encoder` of a ViT,
`blocks` of EfficientNet-Lite0), and is looked into."""

CONTAINER = "features"
"""So is one that torchvision gives this name, which in VGG and MobileNetV3 is not the largest part."""


def stages(network: nn.Module, head_name: str) -> list[nn.Module]:
    """The backbone's stages from the photo to the head: conv1 … layer4 of a ResNet, the blocks of a ViT."""
    head = network.get_submodule(head_name)
    inside_head = set(head.modules())
    total = sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in head.parameters())
    return list(_stages(network, inside_head, total))


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


def unfreeze(network: nn.Module, head_name: str, count: int | None) -> list[list[nn.Parameter]]:
    """Let the head and the last `count` stages (None: everything) be trained; returns their weights, head first.

    With None the last group also has what belongs to no stage (a ViT's class token). ValueError for more stages
    than there are.
    """
    found = stages(network, head_name)
    if count is not None and count > len(found):
        raise ValueError(len(found))
    network.requires_grad_(False)
    chosen = found if count is None else found[len(found) - count :]
    groups = [list(module.parameters()) for module in (network.get_submodule(head_name), *reversed(chosen))]
    if count is None:
        grouped = {id(parameter) for group in groups for parameter in group}
        groups[-1] += [parameter for parameter in network.parameters() if id(parameter) not in grouped]
    for group in groups:
        for parameter in group:
            parameter.requires_grad_(True)
    return groups


def train_mode(network: nn.Module) -> None:
    """Training mode for what is trained, evaluation mode for the rest and for every BatchNorm.

    BatchNorm keeps the statistics of the pretraining: those of small batches are noise, and several processes
    would each have their own. Its factors and offsets train.
    """
    network.eval()
    for module in network.modules():
        own = list(module.parameters())
        if (not own or any(p.requires_grad for p in own)) and not isinstance(module, _BatchNorm):
            module.training = True
