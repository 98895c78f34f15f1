"""Augmented views of a photo: another part of it, mirrored, and with other colours if wanted.

Every choice follows from a seed, so that a view is the same whichever process or restart computes it.
"""

from __future__ import annotations

import math
import random

import torch

from model_serving.classifier import Preprocessing
from model_serving.classifier.preprocess import Box, to_tensor

VERSION = 1
"""Counted up when views change, since features of views are cached."""

SCALE = (0.35, 1.0)
"""Smallest and largest share of the photo's area in a view. Torchvision's default of 0.08 suits training from
scratch; with a pretrained backbone and few photos so small a part often lacks the subject."""

RATIO = (3 / 4, 4 / 3)
"""Width to height of the part, as torchvision's RandomResizedCrop."""

_ATTEMPTS = 10


def view(data: bytes, preprocessing: Preprocessing, seed: int | str, *, strong: bool = False) -> torch.Tensor:
    """A random part of the photo as uint8 (crop, crop, 3), mirrored half of the time; errors as `to_tensor`.

    `strong` adds one random change of colour or shape (TrivialAugment, Müller & Hutter 2021).
    """
    chance = random.Random(seed)  # noqa: S311  # views are no secrets
    pixels = to_tensor(data, preprocessing, lambda width, height: part(width, height, chance))
    if chance.random() < 0.5:
        pixels = pixels.flip(1)
    return _recoloured(pixels, chance.getrandbits(32)) if strong else pixels


def part(width: int, height: int, chance: random.Random) -> Box:
    """A box inside a photo: area uniform in SCALE, ratio log-uniform in RATIO; the largest centre box if none fits.

    The rule of torchvision's RandomResizedCrop, in unrounded pixels.
    """
    for _ in range(_ATTEMPTS):
        area = width * height * chance.uniform(*SCALE)
        ratio = math.exp(chance.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            left, top = chance.uniform(0, width - w), chance.uniform(0, height - h)
            return left, top, left + w, top + h
    w, h = min(width, height * RATIO[1]), min(height, width / RATIO[0])
    left, top = (width - w) / 2, (height - h) / 2
    return left, top, left + w, top + h


def _recoloured(pixels: torch.Tensor, seed: int) -> torch.Tensor:
    from torchvision.transforms import v2

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # of the CPU alone
        changed: torch.Tensor = v2.TrivialAugmentWide()(pixels.permute(2, 0, 1))
    return changed.permute(1, 2, 0).contiguous()
