"""What a recording says of its run beside what happens in it."""

from __future__ import annotations

import platform
from collections import Counter
from typing import Any

import torch
import torchvision

from training.config import TrainingConfig
from training.data.layout import SPLITS, Dataset
from training.distributed import World
from training.photos import cores


def describe(dataset: Dataset, config: TrainingConfig, name: str, world: World) -> dict[str, Any]:
    """Facts for `Recording.about`; photos as they lie in the folders, readable or not."""
    counts = Counter(example.label for example in dataset.split("train"))
    return {
        "name": name,
        "hyperparameters": config.as_dict(),
        "photos": {split: len(dataset.split(split)) for split in SPLITS},
        "train_counts": {info.class_id: counts[label] for label, info in enumerate(dataset.classes)},
        "device": _device(world.device),
        "cores": cores(),
        "processes": world.size,
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "torchvision": str(torchvision.__version__),
            "system": platform.platform(),
        },
        "process_started": _process_started(),
    }


def _device(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        return {"kind": device.type, "name": platform.processor() or platform.machine(), "memory": None}
    found = torch.cuda.get_device_properties(device)
    return {"kind": device.type, "name": found.name, "memory": found.total_memory}


def _process_started() -> float | None:
    try:
        import psutil
    except ImportError:
        return None
    return float(psutil.Process().create_time())
