"""What the head's layers put out: a sound start, and ReLUs that live."""

from __future__ import annotations

import math

from ..finding import Finding
from ..recording import HEAD
from . import facts
from .facts import STAGE_NAMES, Run, clear, found, skipped

FIRST_LOSS = 3.0
"""Times ln(classes). Our linear heads begin at exactly that, being zero, and hidden ones a tenth above; three times it
takes weights far too large."""
SPREAD = 100.0
"""Between the standard deviations of layers' outputs. SageMaker allows 10 between variances of layers; PyTorch's own
start loses a factor of two to three a layer, so that two hidden layers would break that."""
SIGMAS = 3.0

DEAD = 0.5
"""Share of a layer's units; SageMaker's threshold_layer."""
DEAD_RECORDS = 3
INACTIVE = 0.99
"""A layer with more zeros than this is inactive by SageMaker's threshold_inactivity, 1 % of activity."""


def poor_weight_initialization(run: Run) -> Finding:
    """The head's very first step, before training has changed anything, is already off."""
    first = next((line for line in run.of(HEAD) if line.step == 1), None)
    if first is None:
        return skipped("The first step of the head is not recorded.", HEAD)
    loss, guess = first.values.get("loss", math.nan), facts.chance(run)
    if guess and loss > FIRST_LOSS * guess * _uneven(run):
        evidence = f"The head's first loss is {loss:.4g}, where guessing costs {guess:.4g}."
        return found(evidence, _MEND, {"loss": loss}, line=first)
    dead = {key: share for key, share in first.values.items() if key.startswith("dead_units/")}
    for key, share in dead.items():
        if share - _by_chance(run, HEAD, first.values, key) > DEAD:
            evidence = f"{share:.0%} of the units of {_layer(key)} are zero for the whole first batch."
            return found(evidence, _MEND, {"dead_units": share}, line=first)
    spreads = {key: value for key, value in first.values.items() if key.startswith("activation_std/")}
    # The one layer of a linear head is at zero on purpose: all classes alike.
    if len(spreads) > 1 and all(map(math.isfinite, spreads.values())):
        least, most = min(spreads, key=spreads.__getitem__), max(spreads, key=spreads.__getitem__)
        if spreads[most] > SPREAD * spreads[least]:
            evidence = (
                f"At the first step outputs spread by {spreads[most]:.3g} in {_layer(most)} and by "
                f"{spreads[least]:.3g} in {_layer(least)}."
            )
            return found(evidence, _MEND, {"most": spreads[most], "least": spreads[least]}, line=first)
    return clear(f"The head's first loss is {loss:.4g}, and its layers' outputs spread alike.", HEAD)


_MEND = "Take another --seed, fewer or wider --hidden layers; if the loss stays so, check --weights and the labels."


def dead_relu(run: Run) -> Finding:
    """Most units of a ReLU put out zero whatever comes in, and so get no gradient any more."""
    return facts.by_stage(run, _dead_relu)


def _dead_relu(run: Run, stage: str) -> Finding:
    last = [line for line in run.of(stage) if any(key.startswith("dead_units/") for key in line.values)]
    last = last[-DEAD_RECORDS:]
    if len(last) < DEAD_RECORDS:
        known = any("loss" in line.values for line in run.of(stage))
        why = "has no ReLU, or too few steps to tell" if known else "is not recorded"
        return skipped(f"{STAGE_NAMES[stage].capitalize()} {why}.", stage)
    worst, where = 0.0, ""
    for key in (key for key in last[-1].values if key.startswith("dead_units/")):
        sure = [line.values.get(key, 0.0) - _by_chance(run, stage, line.values, key) for line in last]
        if min(sure) >= worst:
            worst, where = min(sure), key
    if worst <= DEAD:
        return clear(f"At most {max(worst, 0):.0%} of the units of a ReLU of {STAGE_NAMES[stage]} are dead.", stage)
    evidence = (
        f"{last[-1].values[where]:.0%} of the units of {_layer(where)} put out zero for every photo of the batches at "
        f"steps {last[0].step} to {last[-1].step}."
    )
    mend = f"They do not come back, so start anew. {facts.smaller_step(run, stage)}"
    return found(evidence, mend, {"dead_units": last[-1].values[where]}, line=last[0])


def _by_chance(run: Run, stage: str, values: dict[str, float], key: str) -> float:
    """The share of living units that happen to be zero for all photos of a batch, if all are active equally often."""
    zeros = values.get(key.replace("dead_units/", "zeros/"), 0.0)
    living = math.isfinite(zeros) and 0 <= zeros < INACTIVE
    return float(zeros ** max(1.0, facts.batch_size(run, stage))) if living else 0.0


def _uneven(run: Run) -> float:
    """How much more than the mean the photos of a batch may weigh, at three sigmas, since rare classes weigh more.

    Weights are (mean count / count)^balance over their mean w, so that their variance is sum(n w^2) / sum(n) - 1.
    """
    counts, balance = list(facts.train_counts(run).values()), facts.setting(run, "balance")
    if not counts:
        return 1.0
    raw = [(facts.mean(counts) / n) ** balance for n in counts]
    scale = sum(n * w for n, w in zip(counts, raw, strict=True)) / sum(counts)
    variance = sum(n * (w / scale) ** 2 for n, w in zip(counts, raw, strict=True)) / sum(counts) - 1
    return 1 + SIGMAS * math.sqrt(max(variance, 0.0) / max(1.0, facts.batch_size(run, HEAD)))


def _layer(key: str) -> str:
    return f"layer {key.partition('/')[2]}"
