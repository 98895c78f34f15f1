"""The model that works out of the box: EfficientNet-Lite0 with ImageNet weights that come as a pip package."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .classifier import ClassInfo, ModelSpec

NAME = "imagenet-efficientnet-lite0"
WNIDS = Path(__file__).with_name("imagenet_wnids.txt")


def imagenet_classes() -> tuple[ClassInfo, ...]:
    """The 1,000 ImageNet classes in network order: WordNet id, and torchvision's readable label."""
    from torchvision.models import ResNet50_Weights

    from .classifier import ClassInfo

    labels = ResNet50_Weights.DEFAULT.meta["categories"]
    return tuple(map(ClassInfo, WNIDS.read_text(encoding="ascii").split(), labels))


def default_spec() -> ModelSpec:
    """The default model's description; its version comes with packing."""
    from .classifier import ModelSpec, pretrained
    from .classifier.network import LITE0

    return ModelSpec(NAME, LITE0, imagenet_classes(), preprocessing=pretrained.preprocessing(LITE0))


def complete_spec(path: Path) -> ModelSpec:
    """A hand-written `model.json` may leave out preprocessing and, for ImageNet's 1,000, the classes.

    SpecError names what is wrong with the rest.
    """
    import json

    from .classifier import ModelSpec, SpecError, pretrained

    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"{path} is no readable JSON ({error})") from None
    if not isinstance(raw, dict):
        raise SpecError(f"{path}: an object is needed")
    if "preprocessing" not in raw and isinstance(raw.get("backbone"), str):
        raw["preprocessing"] = dataclasses.asdict(pretrained.preprocessing(raw["backbone"]))
    raw.setdefault("classes", [dataclasses.asdict(c) for c in imagenet_classes()])
    return ModelSpec.from_json(json.dumps(raw))
