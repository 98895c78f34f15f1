"""Features -> head, then perhaps photos -> the whole network: what a run and a trial of a search have in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch

from model_serving.classifier import Head

from .backbone import Backbone
from .checkpoint import Checkpoint
from .config import TrainingConfig
from .distributed import World
from .finetune import FineTuning
from .head import Trained, train_head
from .monitor.monitor import Monitor
from .monitor.recording import FINETUNE, HEAD
from .photos import Photos
from .prepare import Prepared
from .progress import Epoch

Say = Callable[[str], None]


class Learning:
    """The stages of one training. Every process makes the same calls and gets the same results."""

    def __init__(
        self, prepared: Prepared, backbone: Backbone, config: TrainingConfig, classes: int, checkpoints: Path,
        world: World, monitor: Monitor,
    ) -> None:  # fmt: skip
        """`checkpoints` is the folder that an interrupted training goes on from."""
        self._prepared, self._backbone, self._config = prepared, backbone, config
        self._classes, self._checkpoints = classes, checkpoints
        self._world, self._monitor = world, monitor
        self._head = Head(config.hidden, config.dropout)
        self._checkpoint: Checkpoint | None = None

    def run(self, on_epoch: Callable[[Epoch], None], say: Say) -> list[tuple[str, Trained]]:
        """Each stage with what it brought; the state of the last one is that of the head, or of the whole network."""
        head = self._train_head(on_epoch)
        stages = [(HEAD, head)]
        if self._config.finetunes and not self._world.broadcast(self._monitor.stopped_by):
            stages.append((FINETUNE, self._fine_tune(head.state, on_epoch, say)))
        return stages

    def done(self) -> None:
        """The result is safe: what a restart would go on from may go."""
        if self._checkpoint is not None and self._world.leads:
            self._checkpoint.clear()

    def _train_head(self, on_epoch: Callable[[Epoch], None]) -> Trained:
        """The leader trains, since it takes a moment; all get the result."""
        if not self._world.leads:
            return self._world.broadcast(Trained({}, 0, ()))
        config, device = self._config, self._world.device
        train, valid = self._prepared.features("train", config.views), self._prepared.features("valid")
        watch = self._monitor.stage(HEAD, device, every_step=False, traced=not config.finetunes)
        with self._monitor.phase(HEAD):
            trained = train_head(train, valid, config, self._classes, device, on_epoch, watch)
        return self._world.broadcast(trained)

    def _fine_tune(self, head_state: dict[str, torch.Tensor], on_epoch: Callable[[Epoch], None], say: Say) -> Trained:
        whole = self._backbone.network(self._head, self._classes, head_state)
        self._checkpoint = Checkpoint(self._checkpoints, self._key())
        if others := self._checkpoint.others():
            say(f"note: checkpoints of other settings are left as they are: {', '.join(others)}")
        preprocessing, config, splits = self._backbone.preprocessing, self._config, self._prepared.splits
        train, valid = (
            Photos([p.path for p in split.photos], split.labels.tolist(), preprocessing, augmentation, config.seed)
            for split, augmentation in ((splits["train"], config.augment), (splits["valid"], "none"))
        )
        watch = self._monitor.stage(FINETUNE, self._world.device)
        head_name = self._backbone.head_name
        autotune = self._monitor.settings.autotune_loader
        stage = FineTuning(
            whole, head_name, train, valid, config, self._world, self._checkpoint, watch, autotune=autotune
        )
        if autotune and not stage.tried_workers:
            say("note: there are too few photos to try out how many processes should read them")
        for workers, seconds in stage.tried_workers.items():
            say(f"autotune: {seconds:.3f} s a step with --workers {workers}")
        with self._monitor.phase(FINETUNE):
            tuned = stage.run(on_epoch)
        if not tuned.best_epoch:
            say("note: nothing that was trained after the head is better; the network stays as it was")
        return tuned

    def _key(self) -> str:
        """What a checkpoint must have been made of to go on from it: all that changes the result."""
        settings = {k: v for k, v in self._config.as_dict().items() if k not in ("weights", "workers", "amp")}
        parts = [settings, self._prepared.fingerprint, self._backbone.digest]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
