"""What SageMaker's own rules say of a job, next to what ours say."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .download import fetch_all
from .errors import one_line
from .jobs import describe
from .session import Aws
from .upload import Say

FOLDER = "sagemaker"
"""In the output of a run: `rules.json`, and the profiler's report as HTML, notebook and JSON."""

_WORKING = ("InProgress", "Stopping")
_LISTS = {"debugger": "DebugRuleEvaluationStatuses", "profiler": "ProfilerRuleEvaluationStatuses"}


@dataclass(frozen=True)
class Rule:
    """One rule's verdict: NoIssuesFound, IssuesFound, Error, Stopped, InProgress."""

    kind: str
    name: str
    status: str
    details: str

    @classmethod
    def of(cls, kind: str, found: dict[str, Any]) -> Rule:
        """As DescribeTrainingJob has it."""
        name, status = found["RuleConfigurationName"], found["RuleEvaluationStatus"]
        return cls(kind, name, status, one_line(found.get("StatusDetails", "")))


def rules(found: dict[str, Any]) -> list[Rule]:
    """Of a job's description; none where it ran without."""
    return [Rule.of(kind, rule) for kind, key in _LISTS.items() for rule in found.get(key) or ()]


def table(found: list[Rule]) -> Iterator[str]:
    """A line a rule, those that found something first."""
    width = max((len(rule.name) for rule in found), default=0)
    for rule in sorted(found, key=lambda rule: (rule.status != "IssuesFound", rule.kind, rule.name)):
        yield f"{rule.kind:8}  {rule.name:{width}}  {rule.status:14}  {rule.details}".rstrip()


def bring(
    aws: Aws[Any],
    name: str,
    output: Path,
    say: Say,
    *,
    patience: float = 900,
    seconds: float = 15,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Rule]:
    """Wait for the rules of a finished job, write `sagemaker/rules.json` and the profiler's report to `output`.

    Rules end some minutes after the job; after `patience` seconds they are written as they are.
    """
    found, waited = describe(aws, name), 0.0
    if not rules(found):
        return []
    while any(rule.status in _WORKING for rule in rules(found)) and waited < patience:
        if not waited:
            say("waiting for SageMaker's rules, which end after the job")
        sleep(seconds)
        waited += seconds
        found = describe(aws, name)
    verdicts = rules(found)
    folder = output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    content = {"job": name, "rules": [asdict(rule) for rule in verdicts]}
    (folder / "rules.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for line in table(verdicts):
        say(line)
    for path in _profiler_reports(aws, found, folder):
        say(f"{path}: SageMaker's profiler report")
    return verdicts


def _profiler_reports(aws: Aws[Any], found: dict[str, Any], folder: Path) -> list[Path]:
    base = found.get("ProfilerConfig", {}).get("S3OutputPath")
    if not base:
        return []
    where = f"{base.rstrip('/')}/{found['TrainingJobName']}/rule-output"
    files = fetch_all(aws, where, folder / "profiler", "/profiler-output/")
    return [path for path in files if path.suffix == ".html"]
