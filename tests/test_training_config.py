"""One list of hyperparameters: flags, SageMaker's texts and search ranges come from it, mistakes are named."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from training.config import TrainingConfig, search_space
from training.errors import ConfigError
from training.settings import Choices, Range


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "20", 20),
        ("epochs", '"20"', 20),
        ("epochs", '"\\"20\\""', 20),
        ("epochs", "2e1", 20),
        ("epochs", 20.0, 20),
        ("learning_rate", "1e-3", 0.001),
        ("learning_rate", '"0.001"', 0.001),
        ("backbone", '"resnet50"', "resnet50"),
        ("backbone", "resnet50", "resnet50"),
        ("hidden", "512", (512,)),
        ("hidden", "512,256", (512, 256)),
        ("hidden", "[512, 256]", (512, 256)),
        ("hidden", '"[512, 256]"', (512, 256)),
        ("hidden", "", ()),
        ("hidden", "0", ()),
        ("hidden", "none", ()),
        ("hidden", [64], (64,)),
        ("skip_unreadable", "True", True),
        ("skip_unreadable", '"false"', False),
        ("skip_unreadable", False, False),
        ("amp", "true", "true"),
        ("amp", True, "true"),
        ("amp", "True", "true"),
        ("weights", None, ""),
        ("weights", "null", ""),
        ("weights", "1e3", "1e3"),
        ("weights", '"a b.pt"', "a b.pt"),
        ("unfreeze", 2.0, "2"),
        ("unfreeze", "2", "2"),
        ("unfreeze", 2, "2"),
        ("unfreeze", "all", "all"),
    ],
)
def test_values_are_json_first(name: str, text: Any, value: Any) -> None:
    """SageMaker's tuner quotes its choices, the toolkit writes True, people write 512,256."""
    found = TrainingConfig.parse(name, text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epoch": "3"}, "epoch is no hyperparameter; there are backbone"),
        ({"epochs": "many"}, "epochs: 'many' is no whole number"),
        ({"epochs": "2.5"}, "epochs: '2.5' is no whole number"),
        ({"epochs": "true"}, "epochs"),
        ({"epochs": "0"}, "epochs: 0 is not from 1"),
        ({"learning-rate": "nan"}, "learning_rate"),
        ({"dropout": "1"}, "dropout: 1.0 is not from 0 to 0.95"),
        ({"hidden": "0,5"}, "hidden"),
        ({"hidden": "wide"}, "hidden: 'wide' is no list"),
        ({"skip_unreadable": "perhaps"}, "skip_unreadable"),
        ({"patience": "Infinity"}, "patience"),
        ({"epochs": "1e999"}, "epochs"),
        ({"resize": "-5"}, "resize: -5 is not from 0"),
        ({"augment": "wild"}, "augment: 'wild' is none of light, strong, none"),
        ({"unfreeze": "half"}, "unfreeze"),
        ({"crop": "224", "resize": "200"}, "resize: 200 is smaller"),
    ],
)
def test_mistakes_are_named(given: dict[str, str], said: str) -> None:
    """The message has the hyperparameter, what was found and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        TrainingConfig.from_texts(given)
    assert said in str(caught.value)


def test_a_configuration_survives_json() -> None:
    """What an archive says of its training can be trained again."""
    config = TrainingConfig(backbone="resnet18", hidden=(64, 32), unfreeze="all", skip_unreadable=True, ema=0.5)
    assert TrainingConfig.from_texts(json.loads(json.dumps(config.as_dict()))) == config


@pytest.mark.parametrize("name", TrainingConfig.options())
def test_every_default_is_read_back_as_text(name: str) -> None:
    """Each field can be a SageMaker hyperparameter."""
    default = getattr(TrainingConfig(), name)
    text = json.dumps(list(default) if isinstance(default, tuple) else default)
    assert TrainingConfig.from_texts({name: text}) == TrainingConfig()


def test_a_search_stays_within_what_is_allowed() -> None:
    """Each end of each range, and each choice, is a configuration; a logarithmic range does not begin at 0."""
    assert search_space().keys() == {"learning_rate", "batch_size", "hidden", "dropout"}
    spaces = {name: option.metadata["search"] for name, option in TrainingConfig.options().items()}
    for name, space in ((name, space) for name, space in spaces.items() if space):
        for value in space.values if isinstance(space, Choices) else (space.low, space.high):
            dataclasses.replace(TrainingConfig(), **{name: value})
        assert isinstance(space, Choices) or not space.log or space.low > 0
    assert search_space()["learning_rate"] == Range(1e-4, 0.02, log=True)


def test_options_that_do_nothing_are_known() -> None:
    """Those of the unfrozen stage, in a run that has none."""
    assert TrainingConfig(mixup=0.2, finetune_epochs=3, epochs=3).idle() == ["finetune_epochs", "mixup"]
    assert TrainingConfig(mixup=0.2, unfreeze="1").idle() == []
