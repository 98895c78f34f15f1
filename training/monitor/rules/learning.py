"""Whether training gets anywhere: the loss falls, gradients arrive, nothing explodes.

"SageMaker" below is its debugger's documented default (List of Debugger built-in rules).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from ..finding import FOUND, Finding
from ..recording import EVAL, Scalars
from . import facts
from .facts import STAGE_NAMES, Run, clear, found, series, skipped

LEAST_FALL = 0.01
"""Share of the first loss by which it must have fallen. SageMaker asks 0.1 % of every ten steps, which a run that has
converged fails by right; ours asks once, of the whole run."""
SIGMAS, SURE = 3.0, 0.1
"""A rise must be beyond this many times the noise between epochs (augmentation, dropout, few photos); and where the
loss stands still, noise must be small enough to be sure that it did not fall by a tenth."""
LEAST_EPOCHS = 5
WARMED_UP = 0.25
"""Share of the planned epochs before which a loss that stands still says nothing: steps grow in the first tenth."""
LEAST_RECORDS = 60
"""Of single batches, where epochs are too long to wait for: thirds of 20, whose means vary by a few hundredths."""

NO_GRADIENT = 1e-7
"""SageMaker's threshold, there of the mean absolute gradient; ours is of the norm, so only what is truly gone."""
NO_GRADIENT_RECORDS = 3
LITTLE_LOSS = 0.1
"""Share of ln(classes) below which there is little left to learn: small gradients and a still loss are success."""

EPOCH_GROWTH, BATCH_GROWTH = 2.0, 10.0
"""Times the loss of guessing, or the first one if that was higher, for the mean of an epoch and for single batches. No
epoch of a healthy run is worse than guessing; a batch may be, since photos of rare classes weigh several times more.
The linear head on dog photos is at 1.7 with a step size a hundred times the default, at 6 with twice that."""
GRADIENT_GROWTH = 1000.0
"""Times the first gradients, with a loss above guessing: single odd batches reach some tens."""


def loss_not_decreasing(run: Run) -> Finding:
    """The training loss is where it began, once the steps have had their full size."""
    return facts.by_stage(run, _loss_not_decreasing)


def vanishing_gradient(run: Run) -> Finding:
    """No gradient reaches some weights though there is much to learn."""
    return facts.by_stage(run, _vanishing_gradient)


def exploding_tensor(run: Run) -> Finding:
    """A number is none any more, or loss or gradient grow as a healthy run's never do."""
    return facts.by_stage(run, _explosion)


def exploded(run: Run, stage: str) -> Finding | None:
    """What other rules say of a stage that exploded: it has one cause, which is named already."""
    if _explosion(run, stage).status != FOUND:
        return None
    return skipped(f"The loss of {STAGE_NAMES[stage]} exploded, see ExplodingTensor; it tells nothing else.", stage)


def _explosion(run: Run, stage: str) -> Finding:
    if stage not in run.explosions:
        run.explosions[stage] = _exploding_tensor(run, stage)
    return run.explosions[stage]


def _loss_not_decreasing(run: Run, stage: str) -> Finding:
    if word := exploded(run, stage):
        return word
    name, guess = STAGE_NAMES[stage], facts.chance(run)
    ends = _epoch_ends(run, stage) or _batch_ends(run, stage)
    if ends is None:
        return skipped(f"Too little of {name} is recorded to tell whether its loss falls.", stage)
    first, late, line = ends.first, ends.late, ends.line
    if guess and first < LITTLE_LOSS * guess:
        return clear(f"The training loss of {name} began at {first:.3g}, where little is left to fall.", stage)
    fact = f"The training loss of {name} went from {first:.4g} to {late:.4g} in {ends.time}"
    rises, sure = late - first > SIGMAS * ends.noise, SIGMAS * ends.noise < SURE * first
    if late <= first * (1 - LEAST_FALL) or not (rises or sure):
        return clear(f"{fact}, give or take {ends.noise:.2g}.", stage)
    known = f" (guessing costs {guess:.4g})" if guess else ""
    larger = f"{facts.larger_step(run, stage)} If that does not help, check that the labels fit the photos."
    mend = facts.smaller_step(run, stage) if rises and late > first * (1 + LEAST_FALL) else larger
    return found(f"{fact}{known}.", mend, {"first_loss": first, "loss": late}, line=line)


@dataclass(frozen=True)
class _Ends:
    """The loss at the beginning and lately, how far both may be off by chance, and what lies between."""

    first: float
    late: float
    noise: float
    time: str
    line: Scalars


def _epoch_ends(run: Run, stage: str) -> _Ends | None:
    """Mean loss of the first epoch and of the last third of them."""
    epochs = series(run.of(stage, EVAL), "train_loss")
    warm = math.ceil(WARMED_UP * facts.planned_epochs(run, stage))
    if len(epochs) < (3 if facts.ended(run) else max(LEAST_EPOCHS, warm)):
        return None
    losses = [loss for _, loss in epochs]
    late = facts.mean(losses[-(len(losses) // 3) :])
    return _Ends(losses[0], late, _noise(losses[len(losses) // 2 - 1 :]), f"{len(losses)} epochs", epochs[-1][0])


def _batch_ends(run: Run, stage: str) -> _Ends | None:
    """Mean loss of the first and of the last third of the records."""
    records = series(run.of(stage), "loss")
    steps = facts.planned_epochs(run, stage) * facts.photos(run, "train")
    warm = WARMED_UP * steps / facts.batch_size(run, stage)
    if len(records) < LEAST_RECORDS or records[-1][0].step < warm:
        return None
    third = len(records) // 3
    losses = [loss for _, loss in records]
    noise = _noise(losses[-third:]) / math.sqrt(third)
    last = records[-1][0]
    return _Ends(facts.mean(losses[:third]), facts.mean(losses[-third:]), noise, f"{last.step} steps", last)


def _noise(losses: list[float]) -> float:
    """Mean change from one to the next: what is left of it once nothing is learned is chance."""
    return facts.mean([abs(after - before) for before, after in pairwise(losses)])


def _vanishing_gradient(run: Run, stage: str) -> Finding:
    if word := exploded(run, stage):
        return word
    name, guess = STAGE_NAMES[stage], facts.chance(run)
    last = [line for line in run.of(stage) if "gradient_norm" in line.values][-NO_GRADIENT_RECORDS:]
    losses = [loss for _, loss in series(last, "loss")]
    if len(last) < NO_GRADIENT_RECORDS or not losses:
        return skipped(f"Fewer than {NO_GRADIENT_RECORDS} gradients of {name} are recorded.", stage)
    norm, loss = last[-1].values["gradient_norm"], facts.mean(losses)
    if guess and loss < LITTLE_LOSS * guess:
        return clear(f"The loss of {name} is down to {loss:.3g}; its gradients may be small.", stage)
    # A bias has none where a batch holds as many photos of each class as guessing expects.
    norms = [key for key in last[-1].values if key.startswith("gradient_norm") and not key.endswith(".bias")]
    gone = [key for key in norms if _stays_gone(last, key)]
    if not gone:
        return clear(f"Gradients of {name} arrive everywhere, with a norm of {norm:.3g} at the end.", stage)
    whole = "gradient_norm" in gone
    which = "all weights" if whole else ", ".join(key.partition("/")[2] for key in gone)
    evidence = f"No gradient reaches {which} of {name} at steps {last[0].step} to {last[-1].step}, with a loss of "
    mend = (
        "Check that the weights are meant to be trained and that photos give different features (--weights)."
        if whole
        else f"{facts.smaller_step(run, stage)} Another --seed may help too, or a head without --hidden layers."
    )
    return found(f"{evidence}{loss:.4g}.", mend, {"gradient_norm": norm, "loss": loss}, line=last[0])


def _stays_gone(lines: list[Scalars], key: str) -> bool:
    return all(line.values.get(key, math.inf) < NO_GRADIENT for line in lines)


def _exploding_tensor(run: Run, stage: str) -> Finding:
    lines = [line for line in run.scalars if line.stage == stage]
    if not lines:
        return skipped(f"Nothing of {STAGE_NAMES[stage]} is recorded.", stage)
    mend = facts.smaller_step(run, stage)
    for line in lines:
        if math.isfinite(sum(line.values.values())):
            continue
        if broken := [name for name, value in line.values.items() if not math.isfinite(value)]:
            evidence = f"{broken[0]} of {STAGE_NAMES[stage]} is {line.values[broken[0]]} at step {line.step}."
            return found(evidence, mend, {}, line=line)
    return _grown(run, stage, lines, mend)


def _grown(run: Run, stage: str, lines: list[Scalars], mend: str) -> Finding:
    records = [line for line in lines if line.mode != EVAL and "loss" in line.values]
    guess = max(facts.chance(run) or 1.0, records[0].values["loss"] if records else 0.0)
    gradients = [line.values["gradient_norm"] for line in records[:3] if "gradient_norm" in line.values]
    steep = GRADIENT_GROWTH * facts.quantile(gradients, 0.5)

    def beyond(line: Scalars) -> bool:
        loss, gradient = line.values["loss"], line.values.get("gradient_norm", 0.0)
        return loss > BATCH_GROWTH * guess or (loss > guess and gradient > steep > 0)

    # The next record is of another batch, without the same rare photos.
    batches = [after for before, after in pairwise(records) if beyond(before) and beyond(after)]
    epochs = [line for line, loss in series(run.of(stage, EVAL), "train_loss") if loss > EPOCH_GROWTH * guess]
    first = min((*batches, *epochs), key=lambda line: line.step, default=None)
    if first is None:
        return clear(f"All numbers of {STAGE_NAMES[stage]} are finite, and none grows beyond reason.", stage)
    loss = first.values["train_loss" if first.mode == EVAL else "loss"]
    gradient = first.values.get("gradient_norm", 0.0)
    evidence = (
        f"The training loss of {STAGE_NAMES[stage]} is {loss:.4g} at step {first.step}, {loss / guess:.1f} times that "
        f"of guessing or of the first step."
        if loss > EPOCH_GROWTH * guess
        else f"The gradient of {STAGE_NAMES[stage]} has a norm of {gradient:.3g} at step {first.step}, "
        f"{gradient / steep * GRADIENT_GROWTH:.0f} times that of the beginning."
    )
    return found(evidence, mend, {"loss": loss}, line=first)
