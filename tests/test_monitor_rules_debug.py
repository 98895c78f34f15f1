"""Rules of training itself on recordings made up for it: what trips each one, and what just does not."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from training.config import TrainingConfig
from training.monitor.finding import CLEAR, FOUND, SKIPPED, Finding
from training.monitor.recording import EVAL, FINETUNE, HEAD, TRAIN, Recording, Scalars
from training.monitor.rules import RULES, check
from training.monitor.settings import DEBUG_RULES, PROFILE_RULES

EVEN = {f"class-{number}": 20 for number in range(10)}
GUESS = math.log(10)


def about(settings: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """What a run of ten classes says of itself while it goes on."""
    config = TrainingConfig(**(settings or {}))
    known = {"status": "running", "hyperparameters": config.as_dict(), "train_counts": EVEN}
    return {**known, "photos": {"train": 200, "valid": 100}, **more}


def saved(step: int, values: Mapping[str, float] | None = None, **more: float) -> Scalars:
    """A saved step of the head."""
    return Scalars(0.0, HEAD, TRAIN, 1, step, {**(values or {}), **more})


def epochs(train: Sequence[float], valid: Sequence[float] | None = None, stage: str = HEAD, **more: float) -> Recording:
    """A run with these losses after each epoch, of one step each."""
    pairs = zip(train, valid or train, strict=True)
    values: list[dict[str, float]] = [{"train_loss": t, "loss": v, "loss_scaled": v, **more} for t, v in pairs]
    return Recording(about(), [Scalars(0.0, stage, EVAL, n, n, value) for n, value in enumerate(values, 1)])


def one(rule: str, recording: Recording) -> Finding:
    """The rule's word, which is whole: a finding says what to do, nothing else does."""
    (finding,) = check(recording, [rule])
    assert finding.rule == rule
    assert finding.evidence
    assert bool(finding.mend) == (finding.status == FOUND)
    return finding


def tripped(recording: Recording) -> set[str]:
    """All rules that find something."""
    return {finding.rule for finding in check(recording) if finding.status == FOUND}


def falling(n: int, start: float = GUESS, end: float = 0.05) -> list[float]:
    """Losses of a healthy run."""
    return [end + (start - end) * math.exp(-5 * i / n) for i in range(n)]


def test_every_rule_has_its_say_in_the_order_asked() -> None:
    """One finding a name, whatever little is recorded; rules that exist are those that are documented."""
    names = ["Dataloader", "Overfit", "Overfit"]
    assert [finding.rule for finding in check(Recording({}), names)] == names
    assert [finding.rule for finding in check(Recording({}))] == [*DEBUG_RULES, *PROFILE_RULES]
    assert set(RULES) == {*DEBUG_RULES, *PROFILE_RULES}
    assert {finding.status for finding in check(Recording({}))} == {SKIPPED}


def test_a_healthy_run_trips_nothing() -> None:
    """Neither while it goes on, at any length, nor at its end."""
    train, valid = falling(40), falling(40, end=0.4)
    for length in range(1, 41):
        assert not tripped(epochs(train[:length], valid[:length], accuracy=0.9))


def test_loss_that_stands_still() -> None:
    """Once the steps had their full size for a while; a hundredth is progress."""
    assert one("LossNotDecreasing", epochs([GUESS] * 9)).status == SKIPPED
    still = one("LossNotDecreasing", epochs([GUESS] * 10))
    assert still.status == FOUND and "larger step, as --learning-rate 0.05." in still.mend and still.stage == HEAD
    assert one("LossNotDecreasing", epochs([GUESS, *[GUESS * 0.991] * 9])).status == FOUND
    assert one("LossNotDecreasing", epochs([GUESS, *[GUESS * 0.989] * 9])).status == CLEAR


def test_loss_that_rises_again_wants_smaller_steps() -> None:
    """What counts is where it is now, not that it was lower once."""
    rising = one("LossNotDecreasing", epochs([1.0, 0.5, 0.3, 0.5, 1.0, 1.1, 1.2, 1.2, 1.2, 1.2], stage=FINETUNE))
    assert (
        rising.status == FOUND
        and "smaller step, as --finetune-learning-rate 0.0001." in rising.mend
        and rising.stage == FINETUNE
    )


def test_what_noise_may_have_done_is_not_told() -> None:
    """Few augmented photos: epochs differ by more than they learn. With less noise the same is sure."""
    assert one("LossNotDecreasing", epochs([0.5, 0.4, *[0.6, 0.5] * 5])).status == CLEAR
    assert one("LossNotDecreasing", epochs([0.5, 0.505, *[0.51, 0.5] * 5])).status == FOUND
    assert one("LossNotDecreasing", epochs([0.5, 0.4, *[0.88, 0.78] * 5])).status == FOUND
    assert one("LossNotDecreasing", epochs([0.5, 0.4, *[0.82, 0.72] * 5])).status == CLEAR


def test_a_loss_that_creeps_up_wants_larger_steps() -> None:
    """By less than a hundredth it stands still."""
    assert "larger step" in one("LossNotDecreasing", epochs([1.0, *[1.005] * 11])).mend
    assert "smaller step" in one("LossNotDecreasing", epochs([1.0, *[1.015] * 11])).mend


@pytest.mark.parametrize(("noise", "status"), [(0.016, FOUND), (0.017, CLEAR)])
def test_a_loss_that_stands_still_does_so_surely(noise: float, status: str) -> None:
    """Three times the noise is less than a tenth of it."""
    losses = [0.5, *[0.5 + noise / 2, 0.5 - noise / 2] * 6]
    assert one("LossNotDecreasing", epochs(losses)).status == status


@pytest.mark.parametrize(("length", "status"), [(4, SKIPPED), (5, FOUND)])
def test_the_least_epochs_of_a_short_plan(length: int, status: str) -> None:
    """A quarter of the ten that fine-tuning plans would be three."""
    assert one("LossNotDecreasing", epochs([GUESS] * length, stage=FINETUNE)).status == status


@pytest.mark.parametrize(("rate", "proposed"), [(1e-8, "0.005"), (0.004, "0.04"), (0.006, "0.06")])
def test_a_larger_step_is_one_that_will_do(rate: float, proposed: str) -> None:
    """The default where that is far larger."""
    recording = epochs([GUESS] * 10)
    recording.about["hyperparameters"]["learning_rate"] = rate
    assert f"--learning-rate {proposed}." in one("LossNotDecreasing", recording).mend


@pytest.mark.parametrize(("rate", "proposed"), [(50.0, "0.005"), (0.008, "0.0008"), (0.001, "0.0001")])
def test_a_smaller_step_is_one_that_will_do(rate: float, proposed: str) -> None:
    """The default where that is far smaller."""
    recording = epochs([GUESS, GUESS * 3])
    recording.about["hyperparameters"]["learning_rate"] = rate
    assert f"--learning-rate {proposed}." in one("ExplodingTensor", recording).mend


def test_a_short_run_that_ended_is_judged_by_what_there_is() -> None:
    """Nothing more comes of it."""
    short = epochs([GUESS] * 3)
    assert one("LossNotDecreasing", short).status == SKIPPED
    short.about["status"] = "done"
    assert one("LossNotDecreasing", short).status == FOUND


def test_a_loss_that_begins_low_need_not_fall() -> None:
    """Fine-tuning begins with a head that knows its photos."""
    assert one("LossNotDecreasing", epochs([GUESS * 0.09] * 10)).status == CLEAR
    assert one("LossNotDecreasing", epochs([GUESS * 0.11] * 10)).status == FOUND


@pytest.mark.parametrize(("records", "status"), [(59, SKIPPED), (60, FOUND)])
def test_long_epochs_are_judged_by_batches(records: int, status: str) -> None:
    """Of many, since each is noisy."""
    chance = random.Random(0)
    lines = [saved(10 * n, loss=GUESS * chance.uniform(0.99, 1.01)) for n in range(1, records + 1)]
    assert one("LossNotDecreasing", Recording(about(), lines)).status == status
    learning = [saved(10 * n, loss=GUESS * chance.uniform(0.8, 1.25) * 0.99**n) for n in range(1, records + 1)]
    assert one("LossNotDecreasing", Recording(about(), learning)).status == (CLEAR if records == 60 else SKIPPED)


def test_batches_of_the_warm_up_say_nothing() -> None:
    """With a million photos the first quarter of the steps is long."""
    lines = [saved(10 * n, loss=GUESS) for n in range(1, 100)]
    assert one("LossNotDecreasing", Recording(about(photos={"train": 1e6}), lines)).status == SKIPPED


def test_no_gradient_while_there_is_much_to_learn() -> None:
    """At three records in a row; a small gradient of a small loss is success."""
    gone = [saved(step, {"gradient_norm/head.weight": 0.0}, loss=GUESS, gradient_norm=0.0) for step in (1, 10, 20)]
    assert one("VanishingGradient", Recording(about(), gone[:2])).status == SKIPPED
    found = one("VanishingGradient", Recording(about(), gone))
    assert found.status == FOUND and found.step == 1 and "all weights" in found.evidence
    small = [saved(step, loss=GUESS * 0.09, gradient_norm=1e-8) for step in (1, 10, 20)]
    assert one("VanishingGradient", Recording(about(), small)).status == CLEAR
    nearly = [saved(step, loss=GUESS, gradient_norm=0.9e-7) for step in (1, 10, 20)]
    assert one("VanishingGradient", Recording(about(), nearly)).status == FOUND
    back = [*gone[:2], saved(20, loss=GUESS, gradient_norm=1.1e-7)]
    assert one("VanishingGradient", Recording(about(), back)).status == CLEAR


def test_a_bias_may_have_no_gradient() -> None:
    """That of a head at zero has none while every batch holds all classes alike."""
    layers = {"gradient_norm": 1.0, "gradient_norm/head.weight": 1.0, "gradient_norm/head.bias": 0.0}
    lines = [saved(step, layers, loss=GUESS) for step in (1, 10, 20)]
    assert one("VanishingGradient", Recording(about(), lines)).status == CLEAR


def test_no_gradient_of_one_layer_is_named() -> None:
    """The others' hide it in the norm of all."""
    layers = {"gradient_norm": 1.0, "gradient_norm/head.0.weight": 0.0, "gradient_norm/head.2.bias": 1.0}
    found = one("VanishingGradient", Recording(about(), [saved(s, layers, loss=GUESS) for s in (1, 10, 20)]))
    assert found.status == FOUND and "head.0.weight" in found.evidence and "head.2" not in found.evidence


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["loss", "gradient_norm", "activation_std/head.2", "weight_norm"])
def test_a_number_that_is_none(name: str, value: float) -> None:
    """Named with its step; rules that would only repeat it keep still."""
    recording = epochs([GUESS] * 12)
    recording.scalars.append(Scalars(0.0, HEAD, TRAIN, 13, 130, {"loss": 1.0, name: value}))
    found = one("ExplodingTensor", recording)
    assert found.status == FOUND and found.step == 130 and name in found.evidence
    assert tripped(recording) == {"ExplodingTensor"}


@pytest.mark.parametrize(("factor", "status"), [(1.9, CLEAR), (2.1, FOUND)])
def test_a_mean_loss_far_above_guessing(factor: float, status: str) -> None:
    """Of a whole epoch twice that is beyond reason."""
    found = one("ExplodingTensor", epochs([GUESS * 0.9, GUESS * factor]))
    assert found.status == status
    assert found.step == (2 if status == FOUND else None)


@pytest.mark.parametrize(("factors", "status"), [((9, 9), CLEAR), ((11, 1), CLEAR), ((11, 11), FOUND)])
def test_batches_far_above_guessing(factors: Sequence[float], status: str) -> None:
    """Twice in a row, since one may hold the rare photos; before the loss is none."""
    losses = [GUESS, GUESS, *(GUESS * factor for factor in factors)]
    lines = [saved(10 * n, loss=loss, gradient_norm=1.0) for n, loss in enumerate(losses, 1)]
    found = one("ExplodingTensor", Recording(about(), lines))
    assert found.status == status
    assert ("--learning-rate 0.0005" in found.mend) == (status == FOUND)
    assert ("11.0 times" in found.evidence) == (status == FOUND)


@pytest.mark.parametrize(("gradient", "loss", "status"), [(1100, 1.2, FOUND), (900, 1.2, CLEAR), (1100, 0.9, CLEAR)])
def test_a_gradient_that_grows(gradient: float, loss: float, status: str) -> None:
    """A thousandfold, twice, and it does harm."""
    values = [(1.0, 1.0)] * 3 + [(gradient, loss)] * 2
    lines = [saved(10 * n, loss=GUESS * share, gradient_norm=norm) for n, (norm, share) in enumerate(values, 1)]
    found = one("ExplodingTensor", Recording(about(), lines))
    assert found.status == status
    assert ("gradient" in found.evidence) == (status == FOUND)


def test_a_bad_start_is_not_an_explosion() -> None:
    """What begins high may stay high: that has another name."""
    lines = [saved(1, loss=50.0), *(saved(10 * n, loss=60.0 - n) for n in range(1, 6))]
    assert tripped(Recording(about(), lines)) == {"PoorWeightInitialization"}


def run_with_accuracy(train: list[float], valid: list[float], right: float, held: float) -> Recording:
    """Both losses of each epoch, with the accuracy of training batches and of validation."""
    recording = epochs(train, valid, accuracy=held)
    recording.scalars.extend(saved(n, loss=loss, accuracy=right) for n, loss in enumerate(train, 1))
    return recording


@pytest.mark.parametrize(
    ("kept", "held", "status"), [(0.83, 0.7, CLEAR), (0.77, 0.84, FOUND), (0.77, 0.86, CLEAR)]
)  # fmt: skip
def test_knowing_photos_by_heart(kept: float, held: float, status: str) -> None:
    """Training photos are known, and validation sees less than four fifths of it; by accuracy too."""
    train = falling(20, end=0.02)
    valid = [max(loss, GUESS - kept * (GUESS - 0.02)) for loss in train]
    found = one("Overfit", run_with_accuracy(train, valid, 1.0, held))
    assert found.status == status
    assert ("--views" in found.mend) == (status == FOUND)


def test_a_small_validation_set_must_be_clear_about_it() -> None:
    """With ten photos a quarter less may be bad luck, with 14 it is hardly."""
    recording = run_with_accuracy([2.0, 1.0, 0.1, 0.05, 0.03, 0.02], [2.0, 1.8, 1.5, 1.2, 1.2, 1.2], 1.0, 0.75)
    recording.about["photos"] = {"train": 20, "valid": 14}
    assert one("Overfit", recording).status == FOUND
    recording.about["photos"] = {"train": 20, "valid": 10}
    assert one("Overfit", recording).status == CLEAR


@pytest.mark.parametrize(
    ("left", "kept", "status"), [(0.45, 0.45, FOUND), (0.45, 0.55, CLEAR), (0.55, 0.45, CLEAR), (0.11, 0.6, CLEAR)]
)
def test_half_learned_is_overfit_if_less_than_half_of_it_holds(left: float, kept: float, status: str) -> None:
    """As with shuffled labels, before the end."""
    train = [max(GUESS * left, loss) for loss in falling(20)]
    valid = [GUESS - kept * (GUESS - loss) for loss in train]
    assert one("Overfit", run_with_accuracy(train, valid, 0.8, 0.3)).status == status


@pytest.mark.parametrize(
    ("best", "worst", "status"),
    [(1.0, 1.09, CLEAR), (1.0, 1.11, FOUND), (0.1, 0.145, CLEAR), (0.1, 0.147, FOUND), (0.01, 0.02, CLEAR)],
)
def test_validation_that_gets_worse_again(best: float, worst: float, status: str) -> None:
    """By a tenth of its best, and by more than next to nothing, while training goes on to improve."""
    train, valid = [2.0, 1.0, 0.9, 0.8, 0.7, 0.6], [2.0, 1.5, best, worst, worst, worst]
    assert one("Overfit", epochs(train, valid)).status == status
    assert one("Overfit", epochs([*train[:2], 0.5, *train[3:]], valid)).status == CLEAR


def test_overfit_is_not_told_of_two_epochs() -> None:
    """The mean of three evens them out."""
    train = [2.0, 1.0, 0.9, 0.8, 0.7, 0.6]
    assert one("Overfit", epochs(train, [2.0, 1.5, 1.0, 1.0, 1.12, 1.12])).status == CLEAR
    assert one("Overfit", epochs(train, [2.0, 1.5, 1.0, 1.12, 1.12, 1.12])).status == FOUND


def test_overfit_is_not_told_early() -> None:
    """Four epochs of anything say little."""
    assert one("Overfit", run_with_accuracy([2.0, 0.1, *[0.01] * 3], [2.3] * 5, 1.0, 0.1)).status == FOUND
    assert one("Overfit", run_with_accuracy([2.0, 0.1, 0.01, 0.01], [2.3] * 4, 1.0, 0.1)).status == SKIPPED


def test_mends_of_overfit_leave_out_what_is_done() -> None:
    """And fine-tuning has others."""
    recording = run_with_accuracy([2.0, 1.0, 0.1, 0.05, 0.03, 0.02], [2.0] * 6, 1.0, 0.2)
    recording.about["hyperparameters"] |= {"views": 4, "dropout": 0.3, "hidden": [256]}
    mend = one("Overfit", recording).mend
    assert "--views" not in mend and "--dropout" not in mend and "--hidden" in mend
    tuned = epochs([2.0, 1.0, 0.5, 0.3, 0.2, 0.1], [2.0, 1.0, 1.5, 1.6, 1.7, 1.8], stage=FINETUNE)
    assert "--augment strong" in one("Overfit", tuned).mend


@pytest.mark.parametrize(("after", "status"), [(19, CLEAR), (20, FOUND)])
def test_going_on_for_nothing(after: int, status: str) -> None:
    """Twenty epochs after the best one."""
    recording = epochs(falling(10 + after), [*falling(10, end=0.5), *[0.6] * after])
    assert one("Overtraining", recording).status == status


@pytest.mark.parametrize("patience", [5, 10, 20, 50])
def test_early_stopping_is_not_overtraining(patience: int) -> None:
    """However long somebody wants to wait."""
    recording = epochs(falling(10 + patience), [*falling(10, end=0.5), *[0.6] * patience])
    recording.about["hyperparameters"]["patience"] = patience
    recording.about["status"] = "done"
    assert one("Overtraining", recording).status == CLEAR


@pytest.mark.parametrize(("end", "status"), [(0.992, CLEAR), (0.988, FOUND)])
def test_training_must_get_somewhere_to_be_overtrained(end: float, status: str) -> None:
    """By a hundredth at least."""
    assert one("Overtraining", epochs([1.0, *[end] * 30], [0.9, *[1.0] * 30])).status == status


def test_a_run_that_learns_nothing_is_not_overtrained() -> None:
    """It has another name."""
    assert tripped(epochs([GUESS] * 40)) == {"LossNotDecreasing"}


@pytest.mark.parametrize(("loss", "status"), [(2.9, CLEAR), (3.1, FOUND)])
def test_a_first_loss_far_above_guessing(loss: float, status: str) -> None:
    """Three times that; only at the very first step, which training has not changed yet."""
    assert one("PoorWeightInitialization", Recording(about(), [saved(1, loss=GUESS * loss)])).status == status
    assert one("PoorWeightInitialization", Recording(about(), [saved(10, loss=GUESS * loss)])).status == SKIPPED


@pytest.mark.parametrize(
    ("balance", "loss", "status"), [(0.0, 2.9, CLEAR), (0.0, 3.1, FOUND), (1.0, 24.0, CLEAR), (1.0, 27.0, FOUND)]
)
def test_a_first_batch_of_rare_photos_is_no_bad_start(balance: float, loss: float, status: str) -> None:
    """They weigh more: four photos, of which one in 101 counts 50.5, at three sigmas 8.4 times what they should."""
    facts = about({"batch_size": 4, "balance": balance}, train_counts={"common": 1000, "rare": 10})
    lines = [saved(1, loss=math.log(2) * loss)]
    assert one("PoorWeightInitialization", Recording(facts, lines)).status == status


def test_a_linear_head_begins_at_zero() -> None:
    """On purpose: its one layer puts out nothing at first."""
    first = saved(1, {"activation_std/head": 0.0, "activation_mean/head": 0.0}, loss=GUESS, gradient_norm=3.0)
    assert one("PoorWeightInitialization", Recording(about(), [first])).status == CLEAR


@pytest.mark.parametrize(
    ("last", "status"), [(0.011, CLEAR), (0.009, FOUND), (0.0, FOUND), (99.0, CLEAR), (101, FOUND)]
)
def test_outputs_that_vanish_or_explode_from_layer_to_layer(last: float, status: str) -> None:
    """By a hundred, as PyTorch's own start never does in a few layers."""
    first = saved(1, {"activation_std/head.0": 1.0, "activation_std/head.2": last}, loss=GUESS)
    assert one("PoorWeightInitialization", Recording(about(), [first])).status == status


def relu(step: int, dead: float, zeros: float) -> Scalars:
    """A saved step of a head with one ReLU."""
    return saved(step, {"dead_units/head.1": dead, "zeros/head.1": zeros}, loss=GUESS, gradient_norm=1.0)


def test_units_that_are_dead_from_the_start() -> None:
    """More than half of a layer."""
    assert one("PoorWeightInitialization", Recording(about(), [relu(1, 0.51, 0.8)])).status == FOUND
    assert one("PoorWeightInitialization", Recording(about(), [relu(1, 0.49, 0.8)])).status == CLEAR


def test_units_that_died() -> None:
    """More than half of a layer for three records; then it is said once where it began."""
    lines = [relu(1, 0.0, 0.5), relu(10, 0.6, 0.8), relu(20, 0.6, 0.8)]
    assert one("DeadRelu", Recording(about(), lines)).status == CLEAR
    found = one("DeadRelu", Recording(about(), [*lines, relu(30, 0.51, 0.8)]))
    assert found.status == FOUND and found.step == 10 and "51%" in found.evidence
    assert one("DeadRelu", Recording(about(), [*lines, relu(30, 0.49, 0.8)])).status == CLEAR
    assert one("DeadRelu", Recording(about(), [relu(step, 1.0, 1.0) for step in (10, 20, 30)])).status == FOUND


def test_a_head_without_relu_is_not_judged_by_it() -> None:
    """The usual head has none."""
    assert one("DeadRelu", Recording(about(), [saved(n, loss=1.0) for n in (1, 10, 20)])).status == SKIPPED


def test_small_batches_leave_units_at_zero_by_chance() -> None:
    """Nine of ten outputs zero: of four photos that is two of three units, of 64 it is none."""
    lines = [relu(step, 0.66, 0.9) for step in (10, 20, 30)]
    assert one("DeadRelu", Recording(about({"batch_size": 4}), lines)).status == CLEAR
    assert one("DeadRelu", Recording(about({"batch_size": 64}), lines)).status == FOUND


def imbalanced(
    recalls: tuple[float, float] | None, ratio: int = 12, length: int = 6, **settings: float
) -> Recording:  # fmt: skip
    """A run with one class of 6 photos and nine larger ones, and the recalls of rare and other classes."""
    recording = epochs(falling(length), falling(length))
    recording.about.update(about(settings, train_counts={**EVEN, "class-0": 6 * ratio, "class-1": 6}))
    if recalls:
        for line in recording.scalars:
            line.values.update({"recall_rare": recalls[0], "recall_common": recalls[1]})
    return recording


def test_classes_of_unequal_size_that_nobody_makes_up_for() -> None:
    """Ten to one, counted by photos."""
    found = one("ClassImbalance", imbalanced(None, balance=0.0))
    assert found.status == FOUND and "--balance 1" in found.mend
    assert "class-0 has 72" in found.evidence and "class-1 has 6" in found.evidence
    assert one("ClassImbalance", imbalanced(None, ratio=9, balance=0.0)).status == CLEAR


def test_classes_of_unequal_size_that_are_found_alike() -> None:
    """Balanced, with recalls that differ by less than chance may."""
    assert one("ClassImbalance", imbalanced((0.87, 0.87))).status == CLEAR
    assert one("ClassImbalance", imbalanced((0.68, 0.87))).status == CLEAR
    assert one("ClassImbalance", imbalanced(None)).status == SKIPPED
    half = imbalanced((0.87, 0.87))
    for line in half.scalars:
        del line.values["recall_common"]
    assert one("ClassImbalance", half).status == SKIPPED


def test_rare_classes_that_are_left_behind() -> None:
    """Told once a few epochs have shown it; what is left to do depends on the balance."""
    assert one("ClassImbalance", imbalanced((0.3, 0.87), length=4)).status == SKIPPED
    found = one("ClassImbalance", imbalanced((0.66, 0.87)))
    assert found.status == FOUND and "--balance" not in found.mend and "Add photos" in found.mend
    assert "--balance 1" in one("ClassImbalance", imbalanced((0.6, 0.87), balance=0.3)).mend


def test_recalls_are_those_of_the_epoch_that_is_kept() -> None:
    """What came later does not matter."""
    recording = imbalanced((0.9, 0.9), length=20)
    for line in recording.scalars[12:]:
        line.values["loss_scaled"] = 3.0
    for line in recording.scalars[15:]:
        line.values["recall_rare"] = 0.2
    assert one("ClassImbalance", recording).status == CLEAR


def test_nothing_strange_in_a_recording_raises() -> None:
    """Missing, foreign, infinite: rules go by what is usable."""
    chance = random.Random(1)
    strange = [math.nan, math.inf, -math.inf, 0.0, -1.0, 1e308, 1e-308, 3.0]
    names = [
        "loss", "accuracy", "gradient_norm", "gradient_norm/a", "activation_std/a", "activation_std/b", "train_loss",
        "dead_units/a", "zeros/a", "loss_scaled", "recall_rare", "recall_common",
    ]  # fmt: skip
    facts: list[Any] = [None, "", "nan", [], {}, -1, 0, math.nan, math.inf, {"a": None}, {"a": 5, "b": math.nan}]
    keys = ["hyperparameters", "train_counts", "photos", "device", "cores", "processes", "workers", "status", "traced"]
    for _ in range(300):
        described = {key: chance.choice(facts) for key in keys if chance.random() < 0.5}
        described |= about() if chance.random() < 0.5 else {}
        lines = [
            Scalars(
                chance.choice(strange), chance.choice([HEAD, FINETUNE, "other"]), chance.choice([TRAIN, EVAL]),
                chance.randrange(4), chance.randrange(40),
                {name: chance.choice(strange) for name in chance.sample(names, chance.randrange(len(names)))},
            )
            for _ in range(chance.randrange(40))
        ]  # fmt: skip
        assert len(check(Recording(described, lines))) == len(RULES)
