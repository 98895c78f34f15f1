"""What validation says of training: overfitting, going on for nothing, and classes left behind."""

from __future__ import annotations

import math

from ..finding import Finding
from ..recording import EVAL, FINETUNE, HEAD
from . import facts
from .facts import STAGE_NAMES, Run, clear, found, skipped
from .learning import LITTLE_LOSS, exploded

OVERFIT_EPOCHS = 5
SMOOTH = 3
"""Epochs over which a number is averaged."""
RISE = 0.1
"""Of the validation loss over its best, relative: SageMaker's ratio_threshold, which there compares it with the
training loss. That is no use here: a linear head on frozen features knows its training photos by heart and still is
the best there is (dog photos: 0.39 against 0.03), so SageMaker's ratio finds every run overfit."""
LEAST_RISE = 0.02
"""Of the same, as a share of ln(classes): what rises from 0.010 to 0.012 is still perfect."""
KEPT, KEPT_AT_HALF, HALF = 0.8, 0.5, 0.5
"""Share of what training takes off ln(classes) that validation must see too, once nothing is left of it, or half. Dog
photos: 90 % with all of them, 83 % with five a class, 72 % with two, 9 % with shuffled labels."""
ACCURACY_GAP = 0.15
SIGMAS = 2.0
"""By which accuracies must differ besides, so that a few unlucky photos of a small validation set are none."""

STALE_EPOCHS = 20
"""Twice SageMaker's patience_validation and our own default patience: early stopping comes first."""
LEAST_FALL = 0.01

IMBALANCE = 10.0
"""Photos of the largest class for one of the smallest; SageMaker's threshold_imbalance."""
RECALL_GAP = 0.2
"""Between common and rare classes: with some 25 photos of rare ones, two standard errors."""


def overfit(run: Run) -> Finding:
    """Training learns what does not hold for other photos."""
    return facts.by_stage(run, _overfit)


def overtraining(run: Run) -> Finding:
    """Training goes on long after the epoch that is kept."""
    return facts.by_stage(run, _overtraining)


def _overfit(run: Run, stage: str) -> Finding:
    if word := exploded(run, stage):
        return word
    name = STAGE_NAMES[stage]
    lines = [line for line, _ in facts.validation_losses(run, stage)]
    train = {line.epoch: loss for line, loss in facts.series(lines, "train_loss")}
    valid = {line.epoch: loss for line, loss in facts.validation_losses(run, stage)}
    if len(valid) < OVERFIT_EPOCHS or train.keys() != valid.keys():
        return skipped(f"Fewer than {OVERFIT_EPOCHS} validations of {name} are recorded.", stage)
    best = min(valid, key=valid.__getitem__)
    now, trained = (facts.mean(list(losses.values())[-SMOOTH:]) for losses in (valid, train))
    guess, line = facts.chance(run), lines[-1]
    numbers = {"train_loss": trained, "valid_loss": now, "best_valid_loss": valid[best]}
    rise = now - valid[best]
    if rise > RISE * valid[best] and rise > LEAST_RISE * (guess or 1.0) and trained < train[best]:
        evidence = (
            f"Since epoch {best} the validation loss of {name} rose from {valid[best]:.4g} to {now:.4g}, while the "
            f"training loss fell from {train[best]:.3g} to {trained:.3g}."
        )
        return found(evidence, _more(run, stage), numbers, line=line)
    right = facts.mean([accuracy for _, accuracy in facts.series(run.of(stage)[-SMOOTH:], "accuracy")])
    held = facts.mean([accuracy for _, accuracy in facts.series(lines[-SMOOTH:], "accuracy")])
    unlucky = max(ACCURACY_GAP, SIGMAS * _standard_error(held, facts.photos(run, "valid")))
    if guess and right - held > unlucky and guess - now < _least_kept(trained / guess) * (guess - trained):
        evidence = (
            f"Training took the loss of {name} to {trained:.3g} ({right:.0%} right), but for validation photos it is "
            f"{now:.3g} ({held:.0%} right)."
        )
        return found(evidence, _more(run, stage), {"accuracy_gap": right - held, **numbers}, line=line)
    return clear(f"The validation loss of {name} is {now:.4g}, its best was {valid[best]:.4g}.", stage)


def _least_kept(left: float) -> float:
    """By the share of the loss of guessing that is left in training."""
    return KEPT if left < LITTLE_LOSS else KEPT_AT_HALF if left < HALF else 0.0


def _standard_error(share: float, number: float) -> float:
    return math.sqrt(share * (1 - share) / number) if number else 0.0


def _more(run: Run, stage: str) -> str:
    """What helps, without what the run has already."""
    if stage != HEAD:
        return "Add photos, or take --augment strong, --mixup 0.2, or a smaller --unfreeze."
    views = facts.setting(run, "views")
    dropout = facts.setting(run, "dropout")
    hints = [
        "" if views > 1 else "--views 4",
        "" if dropout else "--dropout 0.3",
        f"--weight-decay {3 * facts.setting(run, 'weight_decay') or facts.default('weight_decay'):g}",
        "no --hidden layers" if facts.hidden(run) else "",
    ]
    return f"Add photos; else take {', '.join(filter(None, hints))}."


def _overtraining(run: Run, stage: str) -> Finding:
    if word := exploded(run, stage):
        return word
    name = STAGE_NAMES[stage]
    losses = facts.validation_losses(run, stage)
    trained = [loss for _, loss in facts.series((line for line, _ in losses), "train_loss")]
    if not trained:
        return skipped(f"No validation of {name} is recorded.", stage)
    best, loss = min(losses, key=lambda pair: pair[1])
    last = losses[-1][0]
    since, patience = last.epoch - best.epoch, facts.setting(run, "patience")
    evidence = f"The best epoch of {name} was {best.epoch} of {last.epoch}, with a validation loss of {loss:.4g}"
    if since < max(STALE_EPOCHS, patience + 1) or trained[-1] > trained[0] * (1 - LEAST_FALL):
        return clear(f"{evidence}.", stage)
    flag = "epochs" if stage == HEAD else "finetune-epochs"
    mend = f"The best epoch is kept; to save the time take --patience 10, or --{flag} {max(best.epoch + 5, 1)}."
    return found(f"{evidence}; the {since} after it brought nothing.", mend, {"best_epoch": best.epoch}, line=last)


def class_imbalance(run: Run) -> Finding:
    """Some classes have many times the photos of others, and training does not make up for it."""
    counts = facts.train_counts(run)
    if len(counts) < 2:
        return skipped("The number of training photos a class is not recorded.")
    least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    ratio = counts[most] / counts[least]
    evidence = f"{most} has {counts[most]:.0f} training photos and {least} has {counts[least]:.0f}"
    if ratio < IMBALANCE:
        return clear(f"Classes have {counts[least]:.0f} to {counts[most]:.0f} training photos.")
    balance = facts.setting(run, "balance")
    if balance == 0:
        return found(f"{evidence}, and each photo counts alike.", "Take --balance 1.", {"ratio": ratio})
    recalls = [_recalls(run, stage) for stage in (FINETUNE, HEAD)]
    known = next((pair for pair in recalls if pair), None)
    if known is None:
        return skipped(f"{evidence}, and too few validations of rare classes are recorded to tell what comes of it.")
    rare, common = known
    evidence += f"; validation finds {rare:.0%} of rare classes' photos and {common:.0%} of the others'"
    if common - rare < RECALL_GAP:
        return clear(f"{evidence}.")
    least_photos = math.ceil(counts[most] / IMBALANCE)
    mend = f"Add photos to classes with fewer than {max(least_photos, 2)}, or take --views 4."
    mend = mend if balance >= 1 else f"Take --balance 1. {mend}"
    return found(f"{evidence}.", mend, {"ratio": ratio, "recall_rare": rare, "recall_common": common})


def _recalls(run: Run, stage: str) -> tuple[float, float] | None:
    """Of rare and of common classes around the epoch that is kept."""
    losses = facts.validation_losses(run, stage)
    if len(losses) < OVERFIT_EPOCHS and not facts.ended(run):
        return None
    best = min(losses, key=lambda pair: pair[1])[0].epoch if losses else 0
    lines = [line for line in run.of(stage, EVAL) if abs(line.epoch - best) < SMOOTH]
    rare, common = ([value for _, value in facts.series(lines, name)] for name in ("recall_rare", "recall_common"))
    return (facts.mean(rare), facts.mean(common)) if rare and common else None
