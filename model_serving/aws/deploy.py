"""A model behind an endpoint, new or in place of the one that is live, in this order and no other:

    archive -> S3 -> model, configuration -> candidate endpoint -> gate -> canary -> all traffic -> gate again

What goes wrong leaves what was live as it was, and nothing half-made behind. A first deployment is its own candidate.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.aws.errors import AwsError, told
from training.aws.session import Aws
from training.aws.upload import Say

from . import alarms, endpoint, package, scaling, trial
from .gate import Report
from .kept import kept
from .options import OFF, EndpointOptions
from .trial import MISSED, Deployment, Pace
from .waiting import Update, log, reason

ROLLED_BACK = "RolledBack"

FORMER = "whippet:former"
"""Tag of a configuration with the name of the one that it replaced."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for beside the options."""

    endpoint: str
    golden: Path | None = None
    gate: bool = True
    report: Path | None = None


def prepare(
    aws: Aws[EndpointOptions], archive: Path, wanted: Wanted, say: Say, *, send: bool = True, pace: Pace | None = None
) -> Deployment:
    """All that is decided before anything is made; the archive is uploaded, unless `send` is off."""
    if wanted.report is not None:
        trial.require_writable(wanted.report)
    photos = trial.golden_photos(archive, wanted.golden, say)
    hosted = package.hosted(aws, archive, wanted.endpoint, aws.options, send=send)
    names = endpoint.names(wanted.endpoint, hosted.spec.version)
    return Deployment(aws, hosted, names, photos, wanted.gate, say, pace or Pace(), wanted.report)


def deploy(made: Deployment, live: dict[str, Any] | None) -> None:
    """Create the endpoint, or update the one that is `live` (its description). This costs money.

    AwsError where AWS refuses, the endpoint does not come up or answer, or the gate refuses the model.
    """
    if not made.gated:
        made.say("warning: no gate; one answered request is all that is asked for")
    if live is None:
        _create(made)
    else:
        _update(made, live)
    made.say(f"{made.names.endpoint} serves {made.hosted.spec.name} {made.version}")


def requests(made: Deployment, live: dict[str, Any] | None) -> dict[str, Any]:
    """What would be sent, by operation; nothing is, but for a look at what scales now."""
    model = endpoint.model_request(made.aws, made.hosted, made.options, made.names.model, send=False)
    found: dict[str, Any] = {"CreateModel": model, "CreateEndpointConfig": _config(made, live)}
    before = None
    if live is None:
        found["CreateEndpoint"] = endpoint.create_request(made.hosted, made.options, made.names)
    else:
        before = scaling.current(made.aws, made.names.endpoint)
        ours = [] if made.options.serverless_mb else alarms.names(made.names.endpoint)
        found["UpdateEndpoint"] = _shift_request(made, live, ours, scaled=_stays_scaled(made, before))
    if wanted := _scaling_after(made, before):
        found["RegisterScalableTarget"] = {"MinCapacity": wanted.least, "MaxCapacity": wanted.most}
        found["PutScalingPolicy"] = list(wanted.policies)
    return found


def _scaling_after(made: Deployment, before: scaling.Scaling | None) -> scaling.Scaling | None:
    return scaling.wanted(made.options) or (None if made.options.autoscale == OFF else before)


def _stays_scaled(made: Deployment, before: scaling.Scaling | None) -> bool:
    return before is not None and made.options.autoscale != OFF


def _shift_request(made: Deployment, live: dict[str, Any], ours: list[str], *, scaled: bool) -> dict[str, Any]:
    running = endpoint.variant(live).get("DesiredInstanceCount", 1) if scaled else made.options.initial_count
    watched = [*ours, *made.options.alarms]
    request = endpoint.update_request(made.options, made.names, running, watched, scaled=scaled)
    if _serverless(live):  # which has no guardrails, whatever it becomes
        request.pop("DeploymentConfig", None)
    return request


def _serverless(live: dict[str, Any]) -> bool:
    return bool({"CurrentServerlessConfig", "ServerlessConfig"} & endpoint.variant(live).keys())


def _config(made: Deployment, live: dict[str, Any] | None) -> dict[str, Any]:
    request = endpoint.config_request(made.hosted, made.options, made.names)
    if live is not None:
        request["Tags"] = [*request["Tags"], {"Key": FORMER, "Value": live["EndpointConfigName"]}]
    return request


def _make(made: Deployment, live: dict[str, Any] | None, cleanup: endpoint.Cleanup) -> None:
    model = endpoint.model_request(made.aws, made.hosted, made.options, made.names.model, send=True)
    endpoint.make(made.aws, model, _config(made, live), cleanup)


def _create(made: Deployment) -> None:
    name, cleanup = made.names.endpoint, made.cleanup()
    with _undone(cleanup):
        _make(made, None, cleanup)
        endpoint.create(made.aws, endpoint.create_request(made.hosted, made.options, made.names), cleanup)
    try:
        made.wait(name)
        trial.answer(made, name)
        if made.gated:
            _require(trial.alone(made), f"{name} was not kept")
        if wanted := scaling.wanted(made.options):
            cleanup.add(f"autoscaling of {name}", lambda: scaling.delete(made.aws, name))
            scaling.put(made.aws, name, wanted)
    except Exception:
        cleanup.run()
        raise
    except BaseException:  # Ctrl-C
        made.say(f"{name} goes on without us, and is billed. To end it: {endpoint.by_hand(made.aws, name)}")
        raise


def _require(report: Report, so: str) -> None:
    if not report.ok:
        raise AwsError(f"the gate refuses the new model, and {so}. {report.missed()}", MISSED)


def _update(made: Deployment, live: dict[str, Any]) -> None:
    name, cleanup = made.names.endpoint, made.cleanup()
    alarms.require_quiet(made.aws, made.options)
    there = kept(made.aws, live)
    if "serverless_mb" in there and not made.options.serverless_mb:
        made.say(f"note: AWS gives {name} machines, and cannot make it serverless again: it cannot be rolled back")
    replaced = made.options.instance_type != there.get("instance_type")
    slow_ms = 0.0
    with _undone(cleanup):
        _make(made, live, cleanup)
        if made.gated:
            verdict = trial.candidate(made, name, cleanup)
            _require(verdict, f"{name} serves what it served before")
            slow_ms = made.options.gate_slower * (verdict.p95 or 0.0)
        before = scaling.current(made.aws, name)
        after = _scaling_after(made, before)
        with scaling.protected(made.aws, name, before, after, replaced=replaced, say=made.say) as hold:
            _shift(made, live, cleanup, slow_ms, hold, scaled=_stays_scaled(made, before))
    former = live["EndpointConfigName"]
    made.say(f"{former} is kept. To go back: {_back(made, former)}")
    try:
        _retire(made, former)
    except AwsError as error:  # the new model serves all the same
        made.say(f"warning: what {former} replaced may still be there: {error}")


@contextmanager
def _undone(cleanup: endpoint.Cleanup) -> Iterator[None]:
    """What goes wrong in here, Ctrl-C included, takes away what was made."""
    try:
        yield
    except BaseException:
        cleanup.run()
        raise


def _shift(
    made: Deployment,
    live: dict[str, Any],
    cleanup: endpoint.Cleanup,
    slow_ms: float,
    hold: scaling.Hold,
    *,
    scaled: bool,
) -> None:
    """Traffic to the new configuration, and back where it does not hold.

    From when AWS has accepted the update what it needs is no longer the caller's to remove.
    """
    name, former = made.names.endpoint, live["EndpointConfigName"]
    ours: list[str] = []
    if not made.options.serverless_mb and not _serverless(live):
        ours = alarms.quiet(made.aws, name, made.say)
        alarms.put(made.aws, name, package.tags(made.options, made.hosted.spec), slow_ms)
    request = _shift_request(made, live, ours, scaled=scaled)
    with _asked(made, live, cleanup, hold), told(f"updating {name}"):
        made.aws.sagemaker.update_endpoint(**request)
    cleanup = cleanup.taken()
    update = Update(made.names.config, live)
    with _goes_on(made, former, hold):
        found = made.wait(name, 2 * made.options.bake_minutes + made.pace.longer, update)
    with _undone(cleanup):
        if found["EndpointConfigName"] != made.names.config:
            raise AwsError(_rolled_back(made, found, [*ours, *made.options.alarms]), ROLLED_BACK)
    stays = _serverless(live) and not made.options.serverless_mb
    try:
        trial.answer(made, name)
        if made.gated:
            _require(trial.after_shift(made), f"{name} serves it" if stays else f"{name} is rolled back to {former}")
    except AwsError:
        if stays:
            made.say(f"{name} serves the new model still: AWS makes no machines serverless again")
            raise
        _roll_back(made, former, found, hold)
        cleanup.run()
        raise
    except BaseException:  # Ctrl-C
        made.say(f"{name} serves the new model, which was not looked at any more. To go back: {_back(made, former)}")
        raise


@contextmanager
def _asked(made: Deployment, live: dict[str, Any], cleanup: endpoint.Cleanup, hold: scaling.Hold) -> Iterator[None]:
    """An answer that was lost does not tell whether AWS has begun: then what an update needs is not removed."""
    try:
        yield
    except BaseException as error:
        try:
            found = endpoint.describe(made.aws, made.names.endpoint)
        except AwsError:
            found = {"EndpointStatus": "unknown", "EndpointConfigName": made.names.config}
        if found is None or not (_begun(made, found) or found["EndpointStatus"] in endpoint.CHANGING):
            raise
        with _goes_on(made, live["EndpointConfigName"], hold):
            cleanup.taken()
            if not isinstance(error, AwsError) or not _begun(made, found) or found["EndpointStatus"] == "unknown":
                raise
        made.say(f"note: {error}; but {made.names.endpoint} is {found['EndpointStatus']}, so AWS has begun")


def _begun(made: Deployment, found: dict[str, Any]) -> bool:
    pending = found.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
    return made.names.config in (pending, found["EndpointConfigName"])


@contextmanager
def _goes_on(made: Deployment, former: str, hold: scaling.Hold) -> Iterator[None]:
    """Whoever stops waiting leaves AWS at it: what it uses must stay."""
    try:
        yield
    except BaseException:
        hold.left = True
        made.say(f"{made.names.endpoint} may still be changing to {made.names.config}; what it needs is left there")
        made.say(f"To go back: {_back(made, former)}")
        raise


def _back(made: Deployment, former: str) -> str:
    machines = "" if made.options.serverless_mb else " --retain-all-variant-properties"
    return (
        f"aws sagemaker update-endpoint --endpoint-name {made.names.endpoint} "
        f"--endpoint-config-name {former}{machines} --region {made.aws.region}"
    )


def _rolled_back(made: Deployment, found: dict[str, Any], watched: list[str]) -> str:
    name = made.names.endpoint
    rung = alarms.ringing(made.aws, watched)
    why = f"alarm {', '.join(rung)}" if rung else reason(found)
    return (
        f"AWS rolled {name} back to {found['EndpointConfigName']}: {why}. It serves what it served before. {log(name)}"
    )


def _roll_back(made: Deployment, former: str, serving: dict[str, Any], hold: scaling.Hold) -> None:
    """AwsError where AWS does not do it; then the new configuration stays, since it may be live.

    The number of machines is kept: it may have been changed since the former configuration was made.
    """
    name = made.names.endpoint
    made.say(f"{name}: back to {former}")
    kept: dict[str, Any] = {}
    if not made.options.serverless_mb:
        data = [{"VariantPropertyType": "DataCaptureConfig"}]
        kept = {"RetainAllVariantProperties": True, "ExcludeRetainedVariantProperties": data}
    with _goes_on(made, former, hold):
        with told(f"rolling {name} back"):
            made.aws.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=former, **kept)
        found = made.wait(name, made.pace.longer, Update(former, serving))
        if found["EndpointConfigName"] != former:
            raise AwsError(f"{name} could not be rolled back: {reason(found)}. {log(name)}", "RollbackFailed")


def _retire(made: Deployment, former: str) -> None:
    """Keep the former configuration to go back to; the one before it is removed with its model."""
    with told(f"looking at {former}"):
        client = made.aws.sagemaker
        arn = client.describe_endpoint_config(EndpointConfigName=former)["EndpointConfigArn"]
        tags = {tag["Key"]: tag["Value"] for tag in client.list_tags(ResourceArn=arn)["Tags"]}
        older = tags.get(FORMER)
        if older is None:
            return
        found = endpoint.configuration(made.aws, older)
    if found is None:
        return
    from .remove import elsewhere  # which needs what is above

    configs, models = elsewhere(made.aws, made.names.endpoint, {older})
    cleanup, model = made.cleanup(), endpoint.variant(found).get("ModelName", "")
    if older in configs:
        return
    if model and model not in models:
        delete = client.delete_model
        cleanup.add(f"model {model}", lambda: endpoint.or_none(delete, ModelName=model))
    remove = client.delete_endpoint_config
    cleanup.add(f"configuration {older}", lambda: endpoint.or_none(remove, EndpointConfigName=older))
    cleanup.run()
