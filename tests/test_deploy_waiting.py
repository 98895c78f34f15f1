"""Endpoints that come up slowly or never, are not waited for, or are in service and answer nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from model_serving.aws import deploy
from model_serving.aws.trial import Pace
from tests import endpoint_world
from tests.endpoint_world import Endpoints, Hosts, attempt, deployed, kinds, model_error, statuses
from training.aws.errors import AwsError
from training.errors import ConfigError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

CALM: dict[str, Any] = {"gate_slower": "1000"}
"""Latency is measured on a machine that others use, too."""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Processes that serve archives, shared."""
    with endpoint_world.hosts(tmp_path_factory.mktemp("hosts")) as found:
        yield found


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each kind."""
    return kinds(tmp_path_factory.mktemp("archives"))


@pytest.fixture
def world(tmp_path: Path, hosts: Hosts) -> Iterator[Endpoints]:
    """An account with nothing deployed."""
    with endpoint_world.endpoints(tmp_path, hosts) as found:
        yield found


def test_an_endpoint_that_never_comes_up_is_one_line(world: Endpoints, archives: dict[str, Path]) -> None:
    """What to do is in it, and nothing is left that costs money."""
    world.scripts["dogs"] = ({"EndpointStatus": "Creating"} for _ in itertools.count())
    stuck = attempt(archives["good"], max_wait_minutes="0.01")
    with pytest.raises(
        AwsError, match=r"dogs is still Creating after 0.01 minutes.*/aws/sagemaker/Endpoints/dogs"
    ) as it:
        stuck.go()
    assert "\n" not in str(it.value)
    assert world.names() == {"endpoints": [], "configs": [], "models": []}


def test_a_failed_endpoint_says_why(world: Endpoints, archives: dict[str, Path]) -> None:
    """AWS's reason in one line with the mend, after its stages were told."""
    reason = "Unable to provision requested ML compute capacity due to\nInsufficientInstanceCapacity error."
    world.scripts["dogs"] = itertools.chain(statuses("Creating"), statuses("Failed", FailureReason=reason))
    failed = attempt(archives["good"])
    with pytest.raises(
        AwsError, match=r"dogs is Failed: .*InsufficientInstanceCapacity error\. AWS has no such machine"
    ):
        failed.go()
    assert "dogs: Creating" in failed.said
    assert world.names()["endpoints"] == []


def test_stuck_updates_are_left_to_aws(world: Endpoints, archives: dict[str, Path]) -> None:
    """What an update needs is not taken from it, and how to go back is told."""
    first = deployed(archives["good"])
    update = attempt(archives["newer"], gate=False, max_wait_minutes="0.01")
    world.scripts["dogs"] = ({"EndpointStatus": "Updating"} for _ in itertools.count())
    with pytest.raises(AwsError, match="still Updating"):
        update.go()
    assert update.made.names.config in world.names()["configs"]
    assert f"--endpoint-config-name {first.made.names.config}" in update.said


def test_interrupted_it_goes_on_and_says_how_to_end_it(world: Endpoints, archives: dict[str, Path]) -> None:
    """Ctrl-C while the endpoint comes up."""
    world.scripts["dogs"] = ({"EndpointStatus": "Creating"} for _ in itertools.count())
    going = attempt(archives["good"])
    said = going.said

    def interrupted(line: str) -> None:
        said(line)
        if line == "dogs: Creating":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deploy.deploy(replace(going.made, say=interrupted), None)
    assert "python -m model_serving delete dogs" in said
    assert world.names()["endpoints"] == ["dogs"]


def test_interrupted_after_the_shift_it_says_what_is_live(world: Endpoints, archives: dict[str, Path]) -> None:
    """The new model, which nobody has looked at: it stays, and so does what it needs."""
    first = deployed(archives["good"], gate=False)
    going = attempt(archives["newer"], gate=False)
    said, loading = going.said, model_error(503, "loading")
    world.answer = lambda _: loading

    def interrupted(line: str) -> None:
        said(line)
        if "loads the model still" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deploy.deploy(replace(going.made, say=interrupted), going.live)
    assert "dogs serves the new model" in said
    assert world.names()["configs"] == sorted([first.made.names.config, going.made.names.config])


def test_what_fails_before_the_shift_leaves_nothing(
    world: Endpoints, archives: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the gate was passed: the alarms could not be made."""
    deployed(archives["good"], gate=False)
    before = world.names()

    def refuse(*_: Any) -> Any:
        raise AwsError("these credentials may not cloudwatch:PutMetricAlarm")

    monkeypatch.setattr("model_serving.aws.alarms.put", refuse)
    failed = attempt(archives["newer"], **CALM)
    with pytest.raises(AwsError, match="PutMetricAlarm"):
        failed.go()
    assert failed.sent["UpdateEndpoint"] == []
    assert world.names() == before


def test_a_report_that_cannot_be_written_is_told_first(
    world: Endpoints, archives: dict[str, Path], tmp_path: Path
) -> None:
    """Not after machines were paid for."""
    with pytest.raises(ConfigError, match=r"report: .* cannot be written"):
        attempt(archives["good"], report=tmp_path)


def test_done_only_when_a_photo_was_answered(world: Endpoints, archives: dict[str, Path]) -> None:
    """In service, a container may still load the model."""
    loading = [model_error(503, '{"code": 503, "message": "no worker"}') for _ in range(3)]
    world.answer = lambda _: loading.pop() if loading else None
    done = deployed(archives["good"], **CALM)
    assert "loads the model still" in done.said
    assert loading == []


@pytest.mark.parametrize(
    ("status", "message", "said"),
    [
        (500, "Traceback", "answers no photo: .*500: Traceback. Its log"),
        (400, '{"error": {"detail": "No photo.", "hint": "Send one."}}', "answered 400: No photo. Send one"),
        (200, "{}", "none of our models"),
    ],
)
def test_an_endpoint_that_answers_no_photo_is_none(
    world: Endpoints, archives: dict[str, Path], status: int, message: str, said: str
) -> None:
    """Though AWS says that it is in service."""
    world.answer = lambda _: Response(message, 200) if status == 200 else model_error(status, message)
    failed = attempt(archives["good"])
    made = replace(failed.made, pace=Pace(0.01, 0.2))
    with pytest.raises(AwsError, match=said):
        deploy.deploy(made, None)
    assert world.names() == {"endpoints": [], "configs": [], "models": []}
