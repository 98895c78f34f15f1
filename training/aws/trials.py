"""What a tuner has found so far: polled, as a table, as best.json and trials.csv."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config import TrainingConfig
from training.errors import ConfigError
from training.search.options import ACCURACY
from training.settings import as_text

from .errors import AwsError, one_line, told
from .session import Aws
from .tuner import ENDED, OBJECTIVES, describe_tuner
from .upload import CHANNELS, Say

POLL_SECONDS = 30.0
_NAMES = {metric: objective for objective, (metric, _) in OBJECTIVES.items()}


@dataclass(frozen=True)
class Trial:
    """One job of a tuner. `value` is its objective, None without one; `seconds` it ran; `why` it failed."""

    number: int
    name: str
    state: str
    hyperparameters: dict[str, Any]
    value: float | None = None
    seconds: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Search:
    """A tuner with its jobs in the order in which they were made.

    `fixed` are the hyperparameters that all of them share, `objective` is loss or accuracy.
    """

    name: str
    status: str
    objective: str
    fixed: dict[str, Any]
    trials: tuple[Trial, ...]

    @property
    def ended(self) -> bool:
        """Whether it does nothing more."""
        return self.status in ENDED

    @property
    def best(self) -> Trial | None:
        """The one with the best objective so far; an early stopped one counts, a failed one does not."""
        scored = [trial for trial in self.trials if trial.value is not None and trial.state != "Failed"]
        sign = -1 if self.objective == ACCURACY else 1
        return min(scored, key=lambda trial: sign * (trial.value or 0.0), default=None)

    def lines(self) -> Iterator[str]:
        """A table for people, the best first, and what went wrong."""
        sign = -1 if self.objective == ACCURACY else 1
        ranked = sorted(self.trials, key=lambda t: (t.value is None, sign * (t.value or 0.0), t.number))
        for trial in ranked:
            value = "-" if trial.value is None else f"{trial.value:.4f}"
            drawn = " ".join(f"{name}={_shown(drawn)}" for name, drawn in trial.hyperparameters.items())
            yield f"{trial.number:3}  {value:>7}  {trial.state:10}  {drawn}"
            if trial.why:
                yield f"     {trial.name}: {trial.why}"
        best = self.best
        if best is None or best.value is None:
            yield f"{self.name}: {self.status}, no trial with a {self.objective} yet"
        else:
            by = f"trial {best.number} ({best.name})"
            yield f"{self.name}: {self.status}, best {self.objective} {best.value:.4f} by {by}"


def wait(
    aws: Aws[Any], name: str, say: Say, *, seconds: float = POLL_SECONDS, sleep: Callable[[float], None] = time.sleep
) -> str:
    """Say how far a tuner is until it has ended; returns its state. AwsError where it failed as a whole.

    Ctrl-C leaves it running: KeyboardInterrupt goes on after a line that says how to come back.
    """
    said = ""
    try:
        while True:
            found = describe_tuner(aws, name)
            line = _progress(found)
            if line != said:
                say(line)
            said, status = line, str(found["HyperParameterTuningJobStatus"])
            if status in ENDED:
                break
            sleep(seconds)
    except KeyboardInterrupt:
        say(f"{name} goes on without us, and is billed. To come back: python -m training tune --attach {name}")
        say(
            "To end it: aws sagemaker stop-hyper-parameter-tuning-job "
            f"--hyper-parameter-tuning-job-name {name}"
        )  # fmt: skip
        raise
    if status == "Failed":
        raise AwsError(
            f"{name} failed: {one_line(found.get('FailureReason', '')) or 'AWS gives no reason'}", "JobFailed"
        )
    return status


def _progress(found: Mapping[str, Any]) -> str:
    counts = found.get("TrainingJobStatusCounters", {})
    failed = counts.get("NonRetryableError", 0)
    ended = counts.get("Completed", 0) + counts.get("Stopped", 0) + failed
    total = found["HyperParameterTuningJobConfig"]["ResourceLimits"].get("MaxNumberOfTrainingJobs", "all")
    parts = [f"{ended} of {total} trials ended", f"{counts.get('InProgress', 0)} running"]
    if failed:
        parts.append(f"{failed} failed")
    best = found.get("BestTrainingJob") or {}
    if metric := best.get("FinalHyperParameterTuningJobObjectiveMetric"):
        parts.append(f"best {metric['MetricName']} {metric['Value']:.4f} by {best['TrainingJobName']}")
    return f"{found['HyperParameterTuningJobStatus']}: {', '.join(parts)}"


def results(aws: Aws[Any], name: str) -> Search:
    """All jobs of a running or finished tuner, by as many requests as it takes. AwsError as AWS says."""
    found = describe_tuner(aws, name)
    with told(f"looking at the trials of {name}"):
        pages = aws.sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
            HyperParameterTuningJobName=name, SortBy="CreationTime", SortOrder="Ascending"
        )
        jobs = [job for page in pages for job in page["TrainingJobSummaries"]]
    asked = found["HyperParameterTuningJobConfig"].get("HyperParameterTuningJobObjective", {})
    metric = asked.get("MetricName", "")
    if metric not in _NAMES:
        raise AwsError(f"{name} searched for {metric or 'nothing that is named'}, so it is no tuner of ours")
    return Search(
        name,
        str(found["HyperParameterTuningJobStatus"]),
        _NAMES[metric],
        _ours(found["TrainingJobDefinition"].get("StaticHyperParameters", {})),
        tuple(_trial(number, job) for number, job in enumerate(jobs)),
    )


def _trial(number: int, job: Mapping[str, Any]) -> Trial:
    begun, ended = job.get("TrainingStartTime"), job.get("TrainingEndTime")
    metric = job.get("FinalHyperParameterTuningJobObjectiveMetric")
    return Trial(
        number,
        job["TrainingJobName"],
        job["TrainingJobStatus"],
        _ours(job["TunedHyperParameters"]),
        None if metric is None else float(metric["Value"]),
        (ended - begun).total_seconds() if begun and ended else None,
        one_line(job.get("FailureReason", "")),
    )


def _ours(texts: Mapping[str, str]) -> dict[str, Any]:
    """Values of our hyperparameters, JSON-ready, out of AWS's texts; without what the SDK adds.

    Weights within a job lie nowhere else, so that they are left out too.
    """
    found: dict[str, Any] = {}
    for name, written in texts.items():
        if name in TrainingConfig.options():
            try:
                value = TrainingConfig.parse(name, written)
            except ConfigError as error:
                raise AwsError(f"that tuner is of another version of this trainer: {error}") from None
            if not (name == "weights" and str(value).startswith(str(CHANNELS))):
                found[name] = list(value) if isinstance(value, tuple) else value
    return found


def write(search: Search, folder: Path, say: Say) -> dict[str, Any] | None:
    """`trials.csv`, and `best.json` where any trial has a value; returns what is in the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_table(search, folder / "trials.csv")
    say(f"{folder / 'trials.csv'}: {len(search.trials)} trials")
    best = search.best
    if best is None:
        return None
    content = {
        "hyperparameters": {**search.fixed, **best.hyperparameters},
        "objective": search.objective,
        "value": best.value,
        "trial": best.name,
        "source": search.name,
    }
    (folder / "best.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    say(f"{folder / 'best.json'}: the best; next: python -m training fit --hyperparameters {folder / 'best.json'} …")
    return content


def _write_table(search: Search, path: Path) -> None:
    names = list(dict.fromkeys(name for trial in search.trials for name in trial.hyperparameters))
    with path.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["number", "state", "name", *names, "value", "seconds"])
        for trial in search.trials:
            drawn = [_shown(trial.hyperparameters[n]) if n in trial.hyperparameters else "" for n in names]
            rows.writerow([trial.number, trial.state, trial.name, *drawn, trial.value, trial.seconds])


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else as_text(value)
