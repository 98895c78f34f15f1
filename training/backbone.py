"""The pretrained backbone: where it starts from, what it is fed with, and the features it answers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from model_serving.classifier import Head, Preprocessing, network, pretrained, read_weights
from model_serving.classifier.passes import CHUNK
from model_serving.classifier.preprocess import normalise

from .config import TrainingConfig
from .errors import ConfigError

State = Mapping[str, torch.Tensor]

VERSION = 1
"""Counted up when preprocessing or networks change what features come of the same weights: they are cached."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """A network without its head. `state` holds its weights alone, by the names that the whole network gives them."""

    name: str
    state: State
    preprocessing: Preprocessing

    @cached_property
    def head_name(self) -> str:
        """Where the head belongs."""
        return network.head_name(self.name)

    @cached_property
    def features(self) -> int:
        """Width of the feature vectors."""
        head = network.skeleton(self.name, Head(), 1).get_submodule(self.head_name)
        width: int = head.in_features  # type: ignore[assignment]  # a linear layer's
        return width

    @cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits over weights and preprocessing: equal ones give equal features."""
        made_by = [VERSION, self.name, dataclasses.asdict(self.preprocessing)]
        digest = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode())
        for name in sorted(self.state):
            tensor = self.state[name].detach().cpu().contiguous()
            digest.update(name.encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def network(self, head: Head, classes: int, head_state: State) -> nn.Module:
        """The whole network with these weights of the head, by the head's own names; unoptimised, trainable."""
        whole = network.build(self.name, head, classes)
        network.load_weights(whole, self.whole_state(head_state))
        return whole

    def whole_state(self, head_state: State) -> dict[str, torch.Tensor]:
        """Weights of backbone and head by the names of the whole network."""
        return {**self.state, **{f"{self.head_name}.{name}": value for name, value in head_state.items()}}

    def split(self, whole: State) -> tuple[Backbone, dict[str, torch.Tensor]]:
        """The backbone and the head's weights of a state of the whole network."""
        prefix = self.head_name + "."
        head = {name.removeprefix(prefix): value for name, value in whole.items() if name.startswith(prefix)}
        body = {name: value for name, value in whole.items() if not name.startswith(prefix)}
        return dataclasses.replace(self, state=body), head


def load(config: TrainingConfig) -> Backbone:
    """The backbone that `config` names, with pretrained weights or those of a file.

    WeightsMissing where there are none to be had; WeightsError for a file that holds none; SpecError for an
    unknown backbone; ConfigError for no file, or a crop above the size.
    """
    preprocessing = _preprocessing(config)
    name = network.head_name(config.backbone)
    if config.weights and not Path(config.weights).is_file():
        raise ConfigError(f"weights: {config.weights} does not exist. Give a file that torch.save wrote.")
    state = read_weights(Path(config.weights)) if config.weights else pretrained.weights(config.backbone)
    own = {key: value for key, value in network.backbone_weights(state).items() if not key.startswith(name + ".")}
    return Backbone(config.backbone, own, preprocessing)


def _preprocessing(config: TrainingConfig) -> Preprocessing:
    own = pretrained.preprocessing(config.backbone)
    crop = config.crop or own.crop
    resize = config.resize or round(crop * own.resize / own.crop)
    if crop > resize:
        raise ConfigError(f"resize: {resize} is smaller than the crop of {crop}")
    return dataclasses.replace(own, resize=resize, crop=crop)


class Extractor:
    """The backbone as it is served (folded, channels last), from pixels to features; built when it is first needed."""

    def __init__(self, backbone: Backbone, device: torch.device) -> None:
        self._backbone = backbone
        self.preprocessing = backbone.preprocessing
        self.digest = backbone.digest
        self.device = device
        self.chunk = CHUNK.get(device.type, CHUNK["cpu"])
        """Most photos that one pass takes well."""

    @cached_property
    def _body(self) -> nn.Module:
        """WeightsError for weights of another network; ConfigError for a crop that it cannot take."""
        backbone, crop = self._backbone, self.preprocessing.crop
        head = nn.Linear(backbone.features, 1)
        whole = backbone.network(Head(), 1, head.state_dict())
        try:
            whole = network.optimise(whole, crop)
        except (RuntimeError, AssertionError) as error:  # as the network's first unfitting layer puts it
            raise ConfigError(f"crop: {backbone.name} cannot take {crop} pixels ({error})") from None
        network.detach_head(whole, backbone.head_name)
        return whole.to(self.device)

    def __call__(self, pixels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Photos as uint8 (crop, crop, 3) -> features (N, F), float32 on the CPU; errors as for `_body`, at first."""
        with torch.no_grad():
            batch = normalise(torch.stack(list(pixels)).to(self.device), self.preprocessing)
            features: torch.Tensor = self._body(batch).float().cpu()
            return features
