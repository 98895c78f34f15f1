"""Bytes -> pixels against plain Pillow, in time and in difference: `python -m bench.decode`."""

from __future__ import annotations

import io
from functools import partial

import torch
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode, v2

from bench.measure import interleaved, photo, table
from model_serving.classifier import Preprocessing
from model_serving.classifier.preprocess import to_image

SPEC = Preprocessing()


def plain(data: bytes) -> Image.Image:
    """Decode all, turn, resize, crop: what most services do."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    resized = v2.Resize(SPEC.resize, interpolation=InterpolationMode.BICUBIC)(image)
    cropped: Image.Image = v2.CenterCrop(SPEC.crop)(resized)
    return cropped


def ours(data: bytes) -> Image.Image:
    """Reduced decoding, one resize with the crop's box."""
    return to_image(data, SPEC)


def pixels(image: Image.Image) -> torch.Tensor:
    """All values as float32."""
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).float()


def main() -> None:
    """Print times, ratio and difference for a large and a small photo."""
    for width, height, rounds in ((4000, 3000, 3), (500, 375, 20)):
        data = photo(width, height)
        print(f"JPEG of {width} x {height}, {len(data) / 1000:.0f} kB, one thread")
        calls = {"plain Pillow": partial(plain, data), "ours": partial(ours, data)}
        medians = table(interleaved(calls, rounds))
        difference = (pixels(ours(data)) - pixels(plain(data))).abs()
        print(f"{medians['plain Pillow'] / medians['ours']:.2f} times faster, ", end="")
        print(f"difference {difference.mean():.2f}/255 on average, {difference.max():.0f}/255 at most\n")


if __name__ == "__main__":
    main()
