"""The accuracy gate: golden photos through the new model, held against what was recorded and what is live.

labels        as many have their recorded label as the options ask; near ties count
scores        of the recorded label, their mean difference
accuracy      where the true class is known: not worse than recorded, nor than live, by more than its error
calibration   the same for the mean negative log-likelihood
steady        none of the requests for the latency fails
latency       95th percentile, one request at a time, against live
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from model_serving.golden import GoldenPhoto
from training.aws.errors import AwsError

from .invoke import Answered
from .options import EndpointOptions

NEAR = 0.02
"""Two scores that differ by less are a tie, which another machine's rounding may break the other way."""

NATS = 0.05
"""By so much the mean negative log-likelihood may differ anyway."""

SLACK_MS = 20.0
"""Differences of latency below this are the network's."""

REQUESTS = 30
"""One at a time to each endpoint, for the latency."""

LIVE_ERRORS = 2
"""Standard errors against what is live, another model: by one, every sixth that is as good would be refused."""

_FLOOR = 1e-6
"""Least likelihood: scores are rounded to it."""


@dataclass(frozen=True)
class Sample:
    """What an endpoint answered to each golden photo, and milliseconds of single requests, infinite without answer."""

    answers: tuple[Answered | AwsError, ...]
    milliseconds: tuple[float, ...] = ()

    @property
    def p95(self) -> float | None:
        """Nearest-rank 95th percentile; None where nothing was measured."""
        ordered = sorted(value for value in self.milliseconds if value < math.inf)
        return ordered[math.ceil(0.95 * len(ordered)) - 1] if ordered else None

    @property
    def failed(self) -> int:
        """Of the single requests, those that got no answer however often they were sent."""
        return sum(value == math.inf for value in self.milliseconds)


@dataclass(frozen=True)
class Check:
    """One line of the verdict; `ok` is None for what is told and decides nothing."""

    name: str
    ok: bool | None
    detail: str


@dataclass(frozen=True)
class Report:
    """The verdict, for people and as JSON."""

    checks: tuple[Check, ...]
    photos: tuple[dict[str, Any], ...]
    p95: float | None = None
    """Milliseconds within which the new model answers 95 of 100 requests."""

    @property
    def ok(self) -> bool:
        """Nothing was missed."""
        return all(check.ok is not False for check in self.checks)

    def lines(self) -> Iterator[str]:
        """One a check."""
        for check in self.checks:
            mark = {True: "ok  ", False: "MISS", None: "    "}[check.ok]
            yield f"gate {mark} {check.name}: {check.detail}"

    def missed(self) -> str:
        """The misses in one line."""
        return "; ".join(f"{check.name}: {check.detail}" for check in self.checks if check.ok is False)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        checks = [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in self.checks]
        return {"ok": self.ok, "checks": checks, "p95_ms": self.p95, "photos": list(self.photos)}


def judge(
    photos: Sequence[GoldenPhoto],
    new: Sample,
    version: str,
    classes: Sequence[str],
    options: EndpointOptions,
    live: Sample | None = None,
) -> Report:
    """Hold what the new model answers against what was recorded of it, and against what is live.

    `live` is left out where there is nothing live, or where it answers none of the photos.
    """
    pairs = [(photo, answer) for photo, answer in zip(photos, new.answers, strict=True) if isinstance(answer, Answered)]
    checks = [_answered(photos, new)]
    if pairs:
        checks += [_version(pairs, version), _labels(pairs, options), _scores(pairs, options)]
        checks += _truth(pairs, set(classes))
    if new.failed:
        checks.append(Check("steady", False, f"{new.failed} of {len(new.milliseconds)} single requests failed"))
    if live is not None:
        checks += _against_live(photos, new, live, set(classes), options)
    elif new.p95 is not None:
        checks.append(Check("latency", None, f"95 of 100 within {new.p95:.0f} ms"))
    return Report(tuple(checks), tuple(_rows(photos, new, live)), new.p95)


def answers_as_recorded(photos: Sequence[GoldenPhoto], new: Sample, version: str, options: EndpointOptions) -> Report:
    """The short form, for an endpoint whose traffic has shifted."""
    return judge(photos, Sample(new.answers), version, (), options)


def _answered(photos: Sequence[GoldenPhoto], new: Sample) -> Check:
    errors = [answer for answer in new.answers if isinstance(answer, AwsError)]
    detail = f"{len(photos) - len(errors)} of {len(photos)} photos"
    return Check("answered", not errors, f"{detail}; {errors[0]}" if errors else detail)


def _version(pairs: Sequence[tuple[GoldenPhoto, Answered]], version: str) -> Check:
    others = sorted({answer.version for _, answer in pairs} - {version})
    said = f"{version} was deployed, {', '.join(others)} answers" if others else f"{version} answers"
    return Check("version", not others, said)


def _labels(pairs: Sequence[tuple[GoldenPhoto, Answered]], options: EndpointOptions) -> Check:
    same = [_same_label(photo, answer) for photo, answer in pairs]
    other = next((pair for pair, alike in zip(pairs, same, strict=True) if not alike), None)
    detail = f"{sum(same)} of {len(same)} as recorded, {options.gate_labels:.0%} must be"
    if other:
        photo, answer = other
        detail += f"; {photo.name} was {photo.predictions[0][0]} and is {answer.top}"
    return Check("labels", sum(same) >= options.gate_labels * len(same), detail)


def _same_label(photo: GoldenPhoto, answer: Answered) -> bool:
    best, score = photo.predictions[0]
    recorded = dict(photo.predictions)
    return answer.top == best or (answer.top in recorded and score - recorded[answer.top] < NEAR)


def _scores(pairs: Sequence[tuple[GoldenPhoto, Answered]], options: EndpointOptions) -> Check:
    differences = [abs(answer.score(photo.predictions[0][0]) - photo.predictions[0][1]) for photo, answer in pairs]
    mean = sum(differences) / len(differences)
    return Check(
        "scores", mean <= options.gate_score, f"differ by {mean:.4f} in the mean, {options.gate_score:g} at most"
    )


def _truth(pairs: Sequence[tuple[GoldenPhoto, Answered]], classes: set[str]) -> Iterator[Check]:
    """Against what was recorded, on photos whose class is known."""
    known = [(photo, answer) for photo, answer in pairs if photo.class_id in classes]
    if not known:
        return
    recorded = [(str(photo.class_id), photo.predictions) for photo, _ in known]
    answered = [(str(photo.class_id), answer.predictions) for photo, answer in known]
    yield from _compared(answered, recorded, "recorded", 1)


Told = tuple[str, tuple[tuple[str, float], ...]]
"""The true class of a photo, and its predictions."""


def _compared(new: Sequence[Told], other: Sequence[Told], name: str, errors: float) -> Iterator[Check]:
    """Worse by more than so many standard errors is a miss."""
    share, before = _accuracy(new), _accuracy(other)
    error = errors * _standard_error(new, other)
    yield Check(
        f"accuracy, {name}",
        share >= before - error - 1e-9,
        f"{share:.1%} of {len(new)}, {name} {before:.1%}, at most {error:.1%} less",
    )
    surprises = [_surprise(*one) - _surprise(*two) for one, two in zip(new, other, strict=True)]
    mean = sum(surprises) / len(surprises)
    spread = math.sqrt(sum((value - mean) ** 2 for value in surprises) / max(1, len(surprises) - 1))
    allowed = max(NATS, errors * spread / math.sqrt(len(surprises)))
    yield Check(
        f"calibration, {name}",
        mean <= allowed,
        f"{mean:+.3f} nats of negative log-likelihood a photo against {name}, at most {allowed:+.3f}",
    )


def _accuracy(told: Sequence[Told]) -> float:
    return sum(predictions[0][0] == true for true, predictions in told) / len(told)


def _standard_error(new: Sequence[Told], other: Sequence[Told]) -> float:
    """Of the difference of two accuracies on the same photos: by those that only one has right (McNemar)."""
    pairs = zip(new, other, strict=True)
    return math.sqrt(sum((one[1][0][0] == one[0]) != (two[1][0][0] == two[0]) for one, two in pairs)) / len(new)


def _surprise(true: str, predictions: tuple[tuple[str, float], ...]) -> float:
    """Negative log-likelihood by the five best scores, which is what was recorded; what is left is for all others."""
    scores = dict(predictions[:5])
    return -math.log(
        max(_FLOOR, scores[true] if true in scores else min(1 - sum(scores.values()), min(scores.values())))
    )


def _against_live(
    photos: Sequence[GoldenPhoto], new: Sample, live: Sample, classes: set[str], options: EndpointOptions
) -> Iterator[Check]:
    both = [
        (photo, one, two)
        for photo, one, two in zip(photos, new.answers, live.answers, strict=True)
        if isinstance(one, Answered) and isinstance(two, Answered)
    ]
    if both:
        alike = sum(one.top == two.top for _, one, two in both)
        versions = sorted({two.version for _, _, two in both})
        yield Check("live", None, f"{alike} of {len(both)} labels are those of {', '.join(versions)}, which is live")
    if known := [each for each in both if each[0].class_id in classes]:
        truths = [str(photo.class_id) for photo, _, _ in known]
        answered = [(true, one.predictions) for true, (_, one, _) in zip(truths, known, strict=True)]
        served = [(true, two.predictions) for true, (_, _, two) in zip(truths, known, strict=True)]
        yield from _compared(answered, served, "live", LIVE_ERRORS)
    if new.p95 is not None and live.p95 is not None:
        allowed = options.gate_slower * live.p95 + SLACK_MS
        yield Check(
            "latency",
            new.p95 <= allowed,
            f"95 of 100 within {new.p95:.0f} ms, live {live.p95:.0f} ms, {allowed:.0f} ms at most",
        )


def _rows(photos: Sequence[GoldenPhoto], new: Sample, live: Sample | None) -> Iterator[dict[str, Any]]:
    served = live.answers if live is not None else (None,) * len(photos)
    for photo, answer, other in zip(photos, new.answers, served, strict=True):
        recorded = {"label": photo.predictions[0][0], "score": photo.predictions[0][1]}
        row = {"name": photo.name, "class_id": photo.class_id, "recorded": recorded, "new": _row(answer)}
        yield row | ({} if other is None else {"live": _row(other)})


def _row(answer: Answered | AwsError) -> dict[str, Any]:
    if isinstance(answer, AwsError):
        return {"error": str(answer)}
    return {"label": answer.top, "score": answer.predictions[0][1], "decision": answer.decision}
