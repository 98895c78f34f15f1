"""The first screen: what ran and how it ended, where the time went, the best epoch, what the rules found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from training.monitor.finding import FOUND, SKIPPED, Finding
from training.monitor.recording import EVAL, Recording
from training.page.markup import Html, card, cards, join, paragraph, percent
from training.page.words import count, duration, listed, moment

from .findings import with_status
from .steps import PARTS, photos_a_second, plain_steps, shares
from .story import (
    STATUS,
    best_epoch,
    held_out_loss,
    last_record,
    seconds_of_phases,
    spans,
    stages,
    status,
    working_seconds,
)


def summary(recording: Recording, findings: Sequence[Finding], now: float) -> Html:
    """One sentence on what ran, and cards."""
    found = [_status_card(recording, now), *_cards(recording, findings)]
    return join([paragraph(what_ran(recording.about), class_="lead"), cards(*found)])


def what_ran(about: dict[str, Any]) -> str:
    """As: resnet50, a head on its frozen features, 978 training photos of 35 classes, on a CPU with 16 cores."""
    settings = about.get("hyperparameters") or {}
    parts = [f"{settings.get('backbone', 'A network')}, {_trained(str(settings.get('unfreeze', '0')))}"]
    photos, classes = (about.get("photos") or {}).get("train"), len(about.get("train_counts") or {})
    if photos is not None:
        parts.append(count(photos, "training photo") + (f" of {count(classes, 'class', 'classes')}" if classes else ""))
    parts.append(_machine(about))
    return ", ".join(filter(None, parts)) + "."


def _trained(unfrozen: str) -> str:
    if unfrozen == "0":
        return "a head on its frozen features"
    last = f"the last {count(int(unfrozen), 'stage')}" if unfrozen.isdecimal() else "all stages"
    return f"a head and then {last} of it"


def _machine(about: dict[str, Any]) -> str:
    device, processes, cores = about.get("device") or {}, about.get("processes") or 1, about.get("cores")
    many = f" by {processes} processes" if processes > 1 else ""
    if device.get("kind") not in (None, "cpu"):
        return f"on {device.get('name') or device['kind']}{many}"
    with_cores = f" with {count(cores, 'core')}" if cores else ""
    return f"on a CPU{with_cores}{many}"


def _status_card(recording: Recording, now: float) -> Html:
    told = status(recording, now)
    about = recording.about
    message = str(about.get("message") or "").rstrip(".")
    message = message[:1].upper() + message[1:]
    began = f"Began {moment(about['started'])}" if about.get("started") else "When it began is not known"
    last = last_record(recording)
    silent = f"It says it is running, but its last sign of life was {duration(max(now - last, 0))}"
    so_far = f"What follows is as of {moment(last)}." if last else "Nothing has been recorded yet."
    meaning = {
        "done": f"{began}.",
        "failed": f"{message or 'Why is not known'}. {began}.",
        "stopped": f"{message or 'Before its end'}. {began}.",
        "running": f"{began}. {so_far}",
        "killed": f"{silent} before this page was written. {began}. The same command resumes it.",
    }[told]
    return card("How it ended" if told not in ("running", "killed") else "How it goes", STATUS[told], meaning)


def _cards(recording: Recording, findings: Sequence[Finding]) -> Iterator[Html]:
    yield _time_card(recording)
    if best := best_epoch(recording):
        accuracy = best.values.get("accuracy")
        epochs = sum(line.mode == EVAL and line.stage == best.stage for line in recording.scalars)
        if accuracy is not None:
            meaning = f"Of the validation photos, after epoch {best.epoch} of {best.stage}, whose loss is lowest."
            yield card("Accuracy", percent(accuracy), meaning)
        meaning = f"Of {count(epochs, 'epoch')} of {best.stage}, by the validation loss {held_out_loss(best):.4f}."
        yield card("Best epoch", str(best.epoch), meaning)
    if step := _step_card(recording):
        yield step
    yield _rules_card(findings)


def _time_card(recording: Recording) -> Html:
    total, resumed = working_seconds(recording), len(spans(recording)) - 1
    phases = [(name, seconds) for name, seconds in seconds_of_phases(recording).items() if seconds > 0.01 * total]
    went = listed(f"{name} {duration(seconds)}" for name, seconds in phases[:3])
    times = "once" if resumed == 1 else f"{resumed} times"
    again = f" Resumed {times}; pauses do not count." if resumed > 0 else ""
    value = duration(total) if total else "Unknown"
    return card("Time", value, (f"Most of it: {went}." if went else "Where it went was not recorded.") + again)


def _step_card(recording: Recording) -> Html | None:
    """Of the stage that took longest: how fast it is, and what most of a step is."""
    timed = {stage: plain_steps(recording, stage) for stage in stages(recording)}
    longest = max(timed, key=lambda stage: sum(step.total for step in timed[stage]), default=None)
    if longest is None or not (found := shares(timed[longest])):
        return None
    name = max(found, key=lambda part: found[part])
    speed = photos_a_second(timed[longest])
    value = f"{speed:,.0f}" if speed >= 100 else f"{speed:.3g}"
    return card("Photos a second", value, f"In {longest}; {percent(found[name])} of a step is {PARTS[name][0]}.")


def _rules_card(findings: Sequence[Finding]) -> Html:
    found = with_status(findings, FOUND)
    told = len(findings) - len(with_status(findings, SKIPPED))
    if not found:
        meaning = f"{count(told, 'rule')} read the record and found nothing." if told else "No rule could tell."
        return card("Found by rules", "Nothing", meaning)
    return card("Found by rules", str(len(found)), f"{listed(each.rule for each in found)}, of {count(told, 'rule')}.")
