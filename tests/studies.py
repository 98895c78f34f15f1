"""Searches that never were, for what reads them."""

from __future__ import annotations

import math
import random
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

SPACE = {
    "learning_rate": FloatDistribution(1e-4, 0.02, log=True),
    "batch_size": CategoricalDistribution([32, 64, 128]),
    "hidden": CategoricalDistribution(["none", "128", "256"]),
    "dropout": FloatDistribution(0, 0.5),
}
DEFAULT = {"learning_rate": 0.005, "batch_size": 64, "hidden": "none", "dropout": 0.0}


def trial(
    params: dict[str, Any], loss: float, epochs: int = 12, state: TrialState = TrialState.COMPLETE, **more: Any
) -> FrozenTrial:
    """One that falls to `loss` and whose accuracy is 1 - loss / 4; its value is the loss."""
    falling = [loss * (1 + 2 * math.exp(-n / 3)) for n in range(1, epochs + 1)]
    history = {
        "stage": ["head"] * epochs,
        "epoch": list(range(1, epochs + 1)),
        "train_loss": [0.8 * each for each in falling],
        "valid_loss": falling,
        "valid_top1": [1 - each / 4 for each in falling],
        "learning_rate": [0.01] * epochs,
    }
    attrs = {"valid_loss": loss, "valid_top1": 1 - loss / 4, "best_epoch": epochs, "seconds": 10.0 + epochs}
    return create_trial(
        state=state,
        params=params,
        distributions={name: SPACE[name] for name in params},
        value=loss if state == TrialState.COMPLETE else None,
        user_attrs=attrs | {"history": history} | more,
    )


def study(*trials: FrozenTrial, objective: str = "loss") -> optuna.Study:
    """A study in memory with these trials."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = optuna.create_study(direction="maximize" if objective == "accuracy" else "minimize")
    facts = {"objective": objective, "data": "dogs", "photos": {"train": 978, "valid": 167}}
    for name, value in facts.items():
        found.set_user_attr(name, value)
    for each in trials:
        found.add_trial(each)
    return found


def searched(trials: int = 20) -> optuna.Study:
    """A whole search: the default first, most others finished, some stopped early, one diverged, one unfinished."""
    generator = random.Random(3)
    found = [trial(DEFAULT, 0.385)]
    for number in range(1, trials):
        params: dict[str, Any] = {
            "learning_rate": math.exp(generator.uniform(math.log(1e-4), math.log(0.02))),
            "batch_size": generator.choice([32, 64, 128]),
            "hidden": generator.choice(["none", "128", "256"]),
            "dropout": generator.uniform(0, 0.5),
        }
        loss = 0.33 + 0.05 * abs(math.log(params["learning_rate"] / 0.006)) + 0.1 * params["dropout"]
        loss += 0.03 * (params["hidden"] == "none") + 0.01 * generator.random()
        if number % 5 == 3:
            why = "behind others after epoch 6 of the head"
            found.append(trial(params, 2 * loss, 6, TrialState.PRUNED, why=why))
        elif number == 7:
            found.append(trial(params, math.nan, 2, TrialState.PRUNED, why="diverged"))
        elif number == trials - 1:
            found.append(trial(params, loss, 3, TrialState.RUNNING))
        else:
            found.append(trial(params, loss))
    return study(*found)
