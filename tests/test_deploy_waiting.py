"""Endpoints that come up slowly or never, are not waited for, or are in service and answer nothing."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from model_serving.aws import deploy, scaling
from model_serving.aws.describe import _scaling_line
from model_serving.aws.trial import Pace
from tests.endpoint_world import CALM, Endpoints, Try, attempt, deployed, model_error, statuses
from training.aws.errors import AwsError
from training.errors import ConfigError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_an_endpoint_that_never_comes_up_is_one_line(world: Endpoints, archives: dict[str, Path]) -> None:
    """What to do is in it, and nothing is left that costs money: it is removed once AWS lets it go."""
    world.scripts["dogs"] = itertools.chain(statuses("Creating"), _creating(0.8), statuses("InService"))
    stuck = attempt(archives["good"], max_wait_minutes="0.01")
    with pytest.raises(
        AwsError, match=r"dogs is still Creating after 0.01 minutes.*/aws/sagemaker/Endpoints/dogs"
    ) as it:
        stuck.go()
    assert "\n" not in str(it.value)
    assert world.names() == {"endpoints": [], "configs": [], "models": []}


def _creating(seconds: float) -> Iterator[dict[str, Any]]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield {"EndpointStatus": "Creating"}


def test_what_aws_does_not_let_go_keeps_what_it_uses(world: Endpoints, archives: dict[str, Path]) -> None:
    """Its configuration and model stay, for the command that is told."""
    world.scripts["dogs"] = ({"EndpointStatus": "Creating"} for _ in itertools.count())
    failed = attempt(archives["good"], max_wait_minutes="0.01")
    with pytest.raises(AwsError, match="still Creating"):
        replace(failed, made=replace(failed.made, pace=replace(failed.made.pace, removal=0.2))).go()
    assert "To end it: python -m model_serving delete dogs --region us-east-1" in failed.said
    assert [len(found) for found in world.names().values()] == [1, 1, 1]


def test_a_candidate_that_comes_up_is_removed_after_ctrl_c(world: Endpoints, archives: dict[str, Path]) -> None:
    """AWS deletes none that is still Creating: it is waited for, then all goes but what is live."""
    deployed(archives["good"], gate=False)
    before = world.names()
    going = attempt(archives["newer"])
    world.scripts["dogs-candidate"] = itertools.chain(statuses(*["Creating"] * 5))
    _interrupt(going, "candidate", "Creating", once=True)
    assert world.names() == before
    assert len(world.deleted) == 1


def test_a_second_ctrl_c_leaves_the_candidate_with_its_command(world: Endpoints, archives: dict[str, Path]) -> None:
    """And in place what it uses: its configuration and the model."""
    deployed(archives["good"], gate=False)
    going = attempt(archives["newer"])
    world.scripts["dogs-candidate"] = ({"EndpointStatus": "Creating"} for _ in itertools.count())
    _interrupt(going, "candidate", "Creating", once=False)
    (name,) = (name for name in world.names()["endpoints"] if name != "dogs")
    assert f"To end it: python -m model_serving delete {name} --region us-east-1" in going.said
    assert name in world.names()["configs"]
    assert going.made.names.model in world.names()["models"]


def _interrupt(going: Try, *words: str, once: bool) -> None:
    """Ctrl-C where all the words are said."""
    said = going.said
    done: list[str] = []

    def interrupted(line: str) -> None:
        said(line)
        if all(word in line for word in words) and "warning" not in line and not (once and done):
            done.append(line)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deploy.deploy(replace(going.made, say=interrupted), going.live)


def test_an_endpoint_whose_creation_was_not_answered_is_removed(
    world: Endpoints, archives: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer was lost; what was made is billed all the same."""
    failed = attempt(archives["good"])
    _lost(monkeypatch, failed, "create_endpoint")
    with pytest.raises(AwsError, match="creating the endpoint dogs: AWS cannot be reached"):
        failed.go()
    assert world.names() == {"endpoints": [], "configs": [], "models": []}
    assert world.deleted == ["dogs"]


def test_an_update_whose_answer_was_lost_goes_on(
    world: Endpoints, archives: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS has begun, so nothing that it needs is removed."""
    deployed(archives["good"], gate=False)
    update = attempt(archives["newer"], gate=False)
    _lost(monkeypatch, update, "update_endpoint")
    update.go()
    assert "so AWS has begun" in update.said
    assert update.made.names.config in world.names()["configs"]


def _lost(patch: pytest.MonkeyPatch, attempted: Try, operation: str) -> None:
    from botocore.exceptions import ReadTimeoutError

    client = attempted.made.aws.sagemaker
    call = getattr(client, operation)

    def lost(**request: Any) -> None:
        call(**request)
        raise ReadTimeoutError(endpoint_url="https://api.sagemaker")

    patch.setattr(client, operation, lost)


def test_a_look_that_is_late_is_no_rollback(world: Endpoints, archives: dict[str, Path]) -> None:
    """Right after the update AWS may still show the former configuration, in service."""
    first = deployed(archives["good"], gate=False)
    update = attempt(archives["newer"], gate=False)
    late = {"EndpointStatus": "InService", "EndpointConfigName": first.made.names.config}
    world.scripts["dogs"] = iter([late, late, {"EndpointStatus": "Updating"}])
    update.go()
    assert f"dogs serves shapes {update.made.version}" in update.said
    assert update.made.names.config in world.names()["configs"]


def test_one_lost_request_is_no_miss(world: Endpoints, archives: dict[str, Path]) -> None:
    """It is sent again before it counts."""
    seen: dict[str, int] = {"asked": 0}

    def flaky(name: str) -> Response | None:
        seen["asked"] += 1
        return model_error(503, "busy") if seen["asked"] in (5, 9, 20) else None

    world.answer = flaky
    done = deployed(archives["good"])
    assert "gate ok   answered" in done.said
    assert "steady" not in done.said


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


def test_an_update_left_to_aws_leaves_autoscaling_held(world: Endpoints, archives: dict[str, Path]) -> None:
    """Nothing is taken away in the middle of it; what settles it is told, with the new bounds."""
    deployed(archives["good"], gate=False, autoscale="1:4")
    update = attempt(archives["newer"], gate=False, autoscale="2:6", max_wait_minutes="0.01")
    world.scripts["dogs"] = ({"EndpointStatus": "Updating"} for _ in itertools.count())
    with pytest.raises(AwsError, match="still Updating"):
        update.go()
    assert "--min-capacity 2 --max-capacity 6 --suspended-state DynamicScalingInSuspended=false" in update.said
    found = scaling.current(update.made.aws, "dogs")
    assert found is not None
    assert found.suspended
    assert found.least == 1
    assert _scaling_line(asdict(found)) == "1 to 4 machines, suspended"


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
