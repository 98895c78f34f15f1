"""Heads that are trained under a record: 60 easy photos, 6 steps an epoch."""

from __future__ import annotations

from typing import Any

import torch

from training.config import TrainingConfig
from training.head import Features, Trained, train_head
from training.monitor.monitor import Monitor

CPU = torch.device("cpu")
SETTINGS = {"hyperparameters": TrainingConfig().as_dict(), "photos": {"train": 60}}


def easy(photos: int = 60) -> Features:
    """Features whose sign of the first tells two classes."""
    x = torch.randn(photos, 8, generator=torch.Generator().manual_seed(0))
    return Features(x[None], (x[:, 0] > 0).long())


def trained(monitor: Monitor, **settings: Any) -> Trained:
    """A head trained under the monitor: 6 steps an epoch."""
    config = TrainingConfig(**{"epochs": 4, "batch_size": 10, "patience": 0, "hidden": (4,), **settings})
    stage = monitor.stage("head", CPU, every_step=False)
    return train_head(easy(), easy(), config, 2, CPU, watch=stage)
