"""`python -m training` within a test, against the AWS of tests.aws_world."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import training.cli
from tests.aws_world import BUCKET, ROLE, sent
from training.aws import command, cost, session
from training.aws.session import Aws

ACCOUNT = ("--role", ROLE, "--bucket", BUCKET)
QUICK = ("--backbone", "resnet18", "--crop", "64", "--resize", "72", "--epochs", "3", "--batch-size", "16")


def watch(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Grows with the requests of jobs that are sent; two tries each, and no long waits between looks."""
    found: list[dict[str, Any]] = []

    def watched(options: Any, **more: Any) -> Aws[Any]:
        aws = session.connect(options, attempts=2, **more)
        found_here = sent(aws)
        aws.sagemaker.meta.events.register(
            "after-call.sagemaker.CreateTrainingJob", lambda **_: found.append(found_here[-1])
        )
        return aws

    monkeypatch.setattr(command, "connect", watched)
    monkeypatch.setattr(cost, "asked", lambda *_: None)  # there is no price list in this world
    for function in (command.run, command.attach):
        monkeypatch.setitem(function.__kwdefaults__, "seconds", 0.2)  # type: ignore[arg-type]
    return found


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command line as a shell runs it; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    monkeypatch.setattr("signal.signal", lambda *_: None)  # whose handler would outlive the test
    with pytest.raises(SystemExit) as caught:
        training.cli.main()
    return int(caught.value.code or 0)
