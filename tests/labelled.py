"""Small labelled folders whose classes a random network can tell apart, and weights for one."""

from __future__ import annotations

import io
import random
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from model_serving.classifier import Head, network

COLOURS = {"001.Red_square": "red", "002.Green_circle": "green", "003.Blue_bar": "blue"}


def drawing(class_id: str, number: int) -> bytes:
    """A JPEG of the class's shape in its colour, somewhere on a grey ground; the same for the same number."""
    chance = random.Random(f"{class_id}-{number}")
    image = Image.new("RGB", (chance.randrange(100, 140), chance.randrange(90, 120)), (chance.randrange(90, 160),) * 3)
    x, y, side = chance.randrange(20, 45), chance.randrange(15, 40), chance.randrange(30, 50)
    draw = ImageDraw.Draw(image)
    box = (x, y, x + side, y + side // (3 if "bar" in class_id else 1))
    (draw.ellipse if "circle" in class_id else draw.rectangle)(box, fill=COLOURS.get(class_id, "white"))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def make_folders(root: Path, counts: Mapping[str, int], classes: Mapping[str, str] = COLOURS) -> Path:
    """`root/SPLIT/CLASS/N.jpg` with so many photos a class in each split; "" is no folder for the split."""
    number = 0
    for split, count in counts.items():
        for class_id in classes:
            folder = root / split / class_id
            folder.mkdir(parents=True)
            for _ in range(count):
                number += 1
                (folder / f"{number}.jpg").write_bytes(drawing(class_id, number))
    return root


def random_weights(path: Path, backbone: str = "resnet18") -> Path:
    """A state_dict of the backbone that nobody trained, its BatchNorms settled on some noise."""
    torch.manual_seed(0)
    net = network.build(backbone, Head(), 10).train()
    with torch.no_grad():
        for _ in range(4):
            net(torch.randn(16, 3, 64, 64))
    torch.save(net.state_dict(), path)
    return path
