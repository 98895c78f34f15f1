"""What `python -m training launch` and `attach` do: look, say what it costs, ask, start, follow, check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config import TrainingConfig
from training.errors import ConfigError
from training.monitor.settings import Monitoring

from . import single
from .account import Account
from .cost import estimate
from .dry import Stop
from .follow import POLL_SECONDS
from .jobs import Job, check
from .launch import again, bring, launch, named, preview
from .options import JobOptions
from .session import connect
from .upload import Say

Confirm = Callable[[], bool]
"""Asks the user whether to go on."""


@dataclass(frozen=True)
class Request:
    """A job as it was asked for: texts as they were typed, and where its results go."""

    hyperparameters: Mapping[str, Any]
    recording: Mapping[str, Any]
    options: Mapping[str, Any]
    data: str
    output: Path
    name: str = ""
    register: str = ""

    @property
    def machines(self) -> JobOptions:
        """What it runs on. ConfigError names a mistake."""
        options = JobOptions.from_texts(self.options)
        if idle := [name for name in options.changed() if name in options.OF_TUNERS]:
            raise ConfigError(f"{idle[0]} is for a tuner. Leave it out, or take `tune --sagemaker`")
        return options

    @property
    def job(self) -> Job:
        """What is to be trained. ConfigError names a mistake."""
        monitoring = Monitoring.from_texts(self.recording)
        return Job(TrainingConfig.from_texts(self.hyperparameters), self.data, monitoring)


def run(
    request: Request, say: Say, confirm: Confirm, *, detach: bool = False, seconds: float = POLL_SECONDS
) -> str | None:
    """Start one job and bring its model home, or leave it there with `detach`; returns its name, None if not started.

    Errors as `launch` and `bring`.
    """
    options, job = request.machines, request.job
    if detach and request.register:
        raise ConfigError("register: a model is registered when it has come home. Leave it out, and add it to `attach`")
    name = named(request.name, job)
    aws = connect(options)
    check(aws, job)
    for line in estimate(aws, 1).lines():
        say(line)
    if not confirm():
        say("nothing was started")
        return None
    launch(aws, job, name, say)
    say(f"to come back: {again(aws, name, request.output, request.register)}")
    if not detach:
        bring(aws, name, request.output, say, register=request.register, seconds=seconds)
    return name


def dry_run(request: Request, say: Say) -> dict[str, Any]:
    """The request that `run` would send; its cost and its source are said. Nothing is sent but questions."""
    options, job = request.machines, request.job
    stop = Stop()
    aws = connect(options, before_call=stop)
    for line in estimate(aws, 1).lines():
        say(line)
    found = preview(aws, stop, job, named(request.name, job), say)
    say("dry run: nothing was uploaded and nothing was started")
    return found


def attach(
    name: str, account: Mapping[str, Any], output: Path, say: Say, *, register: str = "", seconds: float = POLL_SECONDS
) -> None:
    """A job or a tuner that was started before, as `single.attach`. Errors as there."""
    single.attach(connect(Account.from_texts(account)), name, output, say, register=register, seconds=seconds)
