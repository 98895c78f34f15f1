"""One training job: made, shown or sent, followed, brought home and checked. Whatever starts one job does it here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.errors import ConfigError, TrainingError

from . import debugger, download, reports
from .dry import Stop
from .errors import AwsError
from .follow import POLL_SECONDS, follow
from .jobs import MAX_JOB_NAME, Built, Job, built, describe, is_unknown, start, unique_name
from .options import JobOptions
from .session import Aws
from .source import REQUIREMENTS
from .upload import Say


def launch(aws: Aws[JobOptions], job: Job, name: str, say: Say) -> str:
    """Upload photos and code, start the job, and return its name: `name`, or a new one. This costs money.

    ConfigError for options that do not go together; AwsError with what AWS says.
    """
    if name:
        _require_free(aws, named(name, job))
    name = named(name, job)
    with built(aws, job, name, say) as made:
        start(aws, made.estimator, made.inputs.channels, name)
    for line in notes(aws.options, job):
        say(line)
    say(f"{name} has started")
    return name


def preview(aws: Aws[JobOptions], stop: Stop, job: Job, name: str, say: Say) -> dict[str, Any]:
    """The very CreateTrainingJob request that `launch` would send, on a connection with `stop` in front of the wire.

    Nothing is uploaded; AWS is asked at most for a role's ARN, a bucket's name and sizes. Errors as `launch`.
    """
    with built(aws, job, name, say, sends=False) as made:
        for line in (*contents(made), *notes(aws.options, job)):
            say(line)
        start(aws, made.estimator, made.inputs.channels, name)
    return stop.request("CreateTrainingJob")


def named(name: str, job: Job) -> str:
    """The name that is given, or a new one after the backbone. ConfigError for one that AWS does not take."""
    if not name:
        return unique_name(f"whippet-{job.config.backbone}")
    if not re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*", name) or len(name) > MAX_JOB_NAME:
        raise ConfigError(f"name: {name!r} is none; take letters, digits and dashes, {MAX_JOB_NAME} at most")
    return name


def _require_free(aws: Aws[Any], name: str) -> None:
    """Before our source is written over that of a job which may be running."""
    try:
        describe(aws, name)
    except AwsError as error:
        if is_unknown(error):
            return
        raise
    raise AwsError(f"name: there is a job {name} already. Give another --name", "ResourceInUse")


def notes(options: JobOptions, job: Job) -> Iterator[str]:
    """What the job will not have though one may expect it."""
    if job.watched and (missing := debugger.left_out(options)):
        yield (
            f"note: {', '.join(missing)} of SageMaker read metrics that images write up to PyTorch 2.0; "
            "our own rules of these names run in the job"
        )
    if options.network_isolation:
        yield "note: without network there is no psutil unless the image has it; then our record lacks the machine"


def contents(made: Built) -> Iterator[str]:
    """What is in a job's source: files and bytes by folder, and what pip is told to install."""
    sizes: dict[str, list[int]] = {}
    for path in sorted(path for path in made.source.rglob("*") if path.is_file()):
        sizes.setdefault(path.relative_to(made.source).parent.as_posix(), []).append(path.stat().st_size)
    every = [size for some in sizes.values() for size in some]
    yield f"source: {len(every)} files, {sum(every) / 1000:.0f} kB, before they are packed"
    for folder, some in sizes.items():
        yield f"  {folder + '/':32} {len(some):3} files {sum(some) / 1000:6.0f} kB"
    wanted = made.source / REQUIREMENTS
    yield f"pip installs: {', '.join(wanted.read_text(encoding='utf-8').split()) if wanted.is_file() else 'nothing'}"


def again(aws: Aws[Any], name: str, output: Path, register: str = "") -> str:
    """The command that brings a job home later."""
    words = ["python", "-m", "training", "attach", name, "--output", str(output)]
    words += ["--region", aws.options.region] if aws.options.region else []
    words += ["--register", register] if register else []
    return shlex.join(words)


def bring(
    aws: Aws[Any], name: str, output: Path, say: Say, *, register: str = "", seconds: float = POLL_SECONDS
) -> None:
    """Follow a job to its end; its files and the verdicts of SageMaker's rules into `output`; then `finish`."""
    found = follow(aws, name, say, seconds=seconds, again=again(aws, name, output, register))
    if {"TrainingTimeInSeconds", "BillableTimeInSeconds"} <= found.keys():
        say(f"it took {found['TrainingTimeInSeconds']} s, of which AWS bills {found['BillableTimeInSeconds']}")
    download.results(aws, found, output, say)
    reports.bring(aws, name, output, say, seconds=seconds)
    finish(aws, output / download.ARCHIVE, say, register=register)


def finish(aws: Aws[Any], archive: Path, say: Say, *, register: str = "") -> None:
    """Hold the archive against its promises, then register it in a group of models, if one is named.

    TrainingError for an archive that does not hold them; the files stay.
    """
    from model_serving.doctor import examine

    checks = list(examine(archive))
    failed = [check for check in checks if not check.ok]
    if failed:
        first = f"{failed[0].name} ({failed[0].detail})" if failed[0].detail else failed[0].name
        raise TrainingError(
            f"{archive}: {len(failed)} of {len(checks)} checks fail, first: {first}. "
            f"Look closer: python -m model_serving check {shlex.quote(str(archive))}"
        )
    say(f"{archive}: {len(checks)} of {len(checks)} checks passed")
    if register:
        from model_serving.aws.registry import register as register_archive

        say(f"registered: {register_archive(aws, archive, register, say=say)}")
