"""What happened when, as far as the record tells: when the run was at work, how it ended, its best epochs."""

from __future__ import annotations

import math
from collections.abc import Iterator

from training.monitor.recording import EVAL, Phase, Recording, Scalars

SILENT_SECONDS = 120.0
"""A run that looks at its machine and has written nothing for so long has been killed; three looks if that is more."""

SILENT_UNSEEN_SECONDS = 900.0
"""The same for a run that does not, whose features of 128 photos may take minutes."""

STATUS = {
    "done": "Finished",
    "failed": "Failed",
    "stopped": "Stopped",
    "running": "Still running",
    "killed": "Probably killed",
}


def status(recording: Recording, now: float) -> str:
    """One of STATUS: what the run says of itself, or `killed` if it says it is running and has long been silent."""
    told = str(recording.about.get("status"))
    last = last_record(recording)
    if told not in STATUS or not last:
        return "running"
    return "killed" if told == "running" and now - last > _patience(recording) else told


def _patience(recording: Recording) -> float:
    if not recording.system:
        return SILENT_UNSEEN_SECONDS
    interval = (recording.about.get("monitoring") or {}).get("system_interval") or 0
    return max(SILENT_SECONDS, 3 * interval / 1000)


def _moments(recording: Recording) -> Iterator[float]:
    about = recording.about
    yield from (t for t in (about.get("started"), about.get("ended")) if t)
    for lines in (recording.scalars, recording.steps, recording.system):
        yield from (line.t for line in lines)
    for phase in recording.phases:
        yield phase.start
        if phase.end is not None:
            yield phase.end


def last_record(recording: Recording) -> float:
    """When something was written last; 0 if nothing was."""
    return max(_moments(recording), default=0.0)


def whole_phases(recording: Recording) -> list[tuple[Phase, float]]:
    """Phases in order with their ends: of one that was cut off, the last sign of life before the next start."""
    moments = sorted(_moments(recording))
    phases = sorted(recording.phases, key=lambda phase: phase.start)
    starts = [phase.start for phase in phases]
    found = []
    for place, phase in enumerate(phases):
        end = phase.end
        if end is None:
            limit = starts[place + 1] if place + 1 < len(starts) else math.inf
            end = max((t for t in moments if phase.start <= t < limit), default=phase.start)
        found.append((phase, end))
    return found


def spans(recording: Recording) -> list[tuple[float, float]]:
    """From when to when the run was at work: one pair, and one more for each time it was resumed."""
    moments = sorted(_moments(recording))
    if not moments:
        return []
    begun = sorted(phase.start for phase in recording.phases if phase.name == "start-up")
    edges = [*(t for t in begun if t > moments[0]), math.inf]
    found, low = [], moments[0]
    for edge in edges:
        inside = [t for t in moments if low <= t < edge]
        # A run that says nothing between the start of its process and its first phase was at work all the same.
        found.append((low, max(inside)))
        low = edge
    return found


def working_seconds(recording: Recording) -> float:
    """How long the run was at work, pauses left out."""
    return sum(end - start for start, end in spans(recording))


def seconds_of_phases(recording: Recording) -> dict[str, float]:
    """How long the run did what, the longest first."""
    totals: dict[str, float] = {}
    for phase, end in whole_phases(recording):
        totals[phase.name] = totals.get(phase.name, 0.0) + end - phase.start
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


def stages(recording: Recording) -> list[str]:
    """Stages that anything was recorded of, in their order."""
    seen = [(line.t, line.stage) for line in recording.steps] + [(line.t, line.stage) for line in recording.scalars]
    return list(dict.fromkeys(stage for _, stage in sorted(seen)))


def held_out_loss(line: Scalars) -> float:
    """The loss that decides which epoch is best; infinite where there is none."""
    loss = line.values.get("loss_scaled", line.values.get("loss", math.inf))
    return loss if math.isfinite(loss) else math.inf


def best_epoch(recording: Recording, stage: str | None = None) -> Scalars | None:
    """Validation after the best epoch, of one stage or of all; None if none was finite."""
    lines = [line for line in recording.scalars if line.mode == EVAL and stage in (None, line.stage)]
    best = min(lines, key=held_out_loss, default=None)
    return None if best is None or math.isinf(held_out_loss(best)) else best
