"""Training on a frozen backbone against one pass of it over the photos: `python -m bench.training [--data DIR]`.

Three figures a backbone, by processes of their own as a user would start them:
cold     `fit` with nothing cached, start-up of Python and PyTorch included
second   `fit` again with another head, start-up aside
pass     the folded network over photos that are decoded already, which is the least that training can take
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from PIL import Image, ImageEnhance

from local_stack import models
from model_serving.classifier import Head, memory, network
from model_serving.classifier.preprocess import to_tensor
from training.backbone import Backbone, Extractor, load
from training.config import TrainingConfig
from training.data import layout

ROOT = Path(__file__).parents[1]
PHOTOS = {"train": 100, "valid": 20, "test": 30}
"""Photos a class of each split, where no folder is given."""

BACKBONES = ("efficientnet_lite0", "resnet152")


def sample_folders(root: Path) -> Path:
    """Parts of three sample photos, 500 x 375 pixels, lighter and darker: three classes in three splits."""
    sources = [path for path in models.samples() if path.name in ("coffee.png", "chelsea.png", "rocket.jpg")]
    for source in sources:
        image = Image.open(source).convert("RGB").resize((640, 480))
        number = 0
        for split, count in PHOTOS.items():
            folder = root / split / source.stem
            folder.mkdir(parents=True)
            for _ in range(count):
                left, top = number * 7 % 140, number * 11 % 105
                part = image.crop((left, top, left + 500, top + 375))
                ImageEnhance.Brightness(part).enhance(0.7 + number % 60 / 100).save(
                    folder / f"{number}.jpg", quality=90
                )
                number += 1
    return root


def weights_for(backbone: str, folder: Path) -> list[str]:
    """Random weights where the real ones would have to be downloaded: time does not depend on them."""
    if backbone == network.LITE0:
        return []
    file = folder / f"{backbone}.pt"
    torch.save(network.build(backbone, Head(), 1000).state_dict(), file)
    return ["--weights", str(file)]


def backbone_pass(backbone: Backbone, photos: Iterable[layout.Example]) -> tuple[float, int]:
    """Seconds of one pass over these photos, decoded before, and how many there are."""
    memory.keep_activations()
    pixels = [to_tensor(photo.path.read_bytes(), backbone.preprocessing) for photo in photos]
    extractor = Extractor(backbone, torch.device("cpu"))
    batches = [pixels[i : i + extractor.chunk] for i in range(0, len(pixels), extractor.chunk)]
    extractor(batches[0])
    started = time.perf_counter()
    for batch in batches:
        extractor(batch)
    return time.perf_counter() - started, len(pixels)


def seconds(*command: str) -> float:
    """Wall time of a command; it must succeed."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=ROOT, env=os.environ, check=True, capture_output=True)
    return time.perf_counter() - started


def report(backbone: str, data: Path, folder: Path) -> Iterator[str]:
    """The lines of one backbone."""
    weights = weights_for(backbone, folder)
    once, photos = backbone_pass(
        load(TrainingConfig(backbone=backbone, weights="".join(weights[1:]))), layout.load(data)
    )
    fit = ["-m", "training", "fit", "--data", str(data), "--backbone", backbone, *weights]
    fit += ["--cache", str(folder / f"cache-{backbone}"), "--output", str(folder / "run")]
    cold = seconds(*fit)
    second = seconds(*fit, "--hidden", "256", "--dropout", "0.3")
    idle = seconds("-c", "import torchvision, typer, training.fit, training.run, model_serving.archive")
    yield f"{backbone}, {photos} photos: one pass of the backbone {once:.1f} s"
    yield f"  cold run             {cold:6.1f} s   {cold / once:5.2f} passes, start-up of {idle:.1f} s included"
    yield f"  second, other head   {second:6.1f} s   {max(second - idle, 0) / once:5.2f} passes, start-up aside"


def main() -> None:
    """Print pass, cold and second run for each backbone."""
    parser = argparse.ArgumentParser(description="Training on a frozen backbone against one pass of it.")
    parser.add_argument("--data", type=Path, help="Labelled folders; parts of sample photos without it.")
    parser.add_argument("--backbone", action="append", help="Repeatable; efficientnet_lite0 and resnet152 without it.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = options.data or sample_folders(folder / "photos")
        for backbone in options.backbone or BACKBONES:
            for line in report(backbone, data, folder):
                print(line, flush=True)


if __name__ == "__main__":
    main()
