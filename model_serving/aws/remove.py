"""An endpoint taken away with all that was made for it, and what stays and costs money said.

Models go before the configurations that name them, and these last: a removal that was interrupted finds, by the
configurations that are left, what else it has to take. Doing it twice is no error.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from training.aws.errors import AwsError, told
from training.aws.session import Aws
from training.aws.upload import Say

from . import alarms, endpoint, idle, scaling, waiting
from .deploy import FORMER
from .parts import MODEL_TAG, VERSION_TAG, tags_of

_UNIQUE = r"[0-9a-f]{12}-\d{6}-\d{4}-[0-9a-f]{4}"
"""Behind the name of an endpoint in those of its configurations and models: `endpoint.unique_name`."""

_CHANGING = ("Creating", "Updating", "SystemUpdating", "RollingBack")
"""AWS refuses to delete an endpoint in these."""

_CALLS = 8
"""Looks at AWS at once."""


@dataclass(frozen=True)
class Plan:
    """What will go, and what stays."""

    name: str
    status: str | None
    """None where the endpoint is gone already."""
    configs: list[str]
    models: list[str]
    scaling: scaling.Scaling | None
    alarms: list[str]
    shared: list[str] = field(default_factory=list)
    """Models and configurations that something else uses, or that the user keeps."""
    costly: list[str] = field(default_factory=list)
    """What else costs money."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not (self.status or self.configs or self.models or self.scaling or self.alarms)

    def lines(self) -> Iterator[str]:
        """What will go, then what stays."""
        if self.status:
            yield f"endpoint {self.name} ({self.status})"
        if self.scaling:
            yield f"autoscaling with {len(self.scaling.policies)} policies"
        yield from (f"alarm {one}" for one in self.alarms)
        yield from (f"model {one}" for one in self.models)
        yield from (f"configuration {one}" for one in self.configs)
        yield from (f"kept: {one}" for one in self.shared)


def plan(aws: Aws[Any], name: str, *, keep_model: bool = False) -> Plan:
    """What belongs to an endpoint, whether it is there or its removal was interrupted. AwsError where nothing does."""
    found = endpoint.describe(aws, name)
    configs = _configs(aws, name, found)
    others, elsewhere = _elsewhere(aws, name, set(configs))
    shared = [f"configuration {one}, which endpoint {others[one]} uses" for one in configs if one in others]
    going = {one: config for one, config in configs.items() if one not in others}
    models: list[str] = []
    for model in dict.fromkeys(v["ModelName"] for config in going.values() for v in config["ProductionVariants"]):
        if keep_model:
            shared.append(f"model {model}, by --keep-model")
        elif model in elsewhere:
            shared.append(f"model {model}, which configuration {elsewhere[model]} uses")
        elif _there(aws, model):
            models.append(model)
    status = None if found is None else str(found["EndpointStatus"])
    ours = list(alarms.state(aws, alarms.names(name)))
    made = Plan(name, status, list(going), models, scaling.current(aws, name), ours, shared)
    if made.empty:
        raise AwsError(
            f"there is no endpoint {name} in {aws.region}, nor anything left of it. "
            "Those of ours: python -m model_serving list",
            "Gone",
        )
    made.costly.extend(_costly(aws, name, going))
    return made


def delete(aws: Aws[Any], wanted: Plan, say: Say, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Remove what the plan has, in an order that survives an interruption. AwsError for what AWS says."""
    name, client = wanted.name, aws.sagemaker
    if wanted.scaling:
        scaling.delete(aws, name)
        say("removed: autoscaling")
    if wanted.alarms:
        alarms.delete(aws, name)
        say(f"removed: {', '.join(wanted.alarms)}")
    if wanted.status:
        _delete_endpoint(aws, name, say, sleep)
    for model in wanted.models:
        _remove(f"model {model}", client.delete_model, say, ModelName=model)
    for config in reversed(wanted.configs):  # each knows the one that it replaced
        _remove(f"configuration {config}", client.delete_endpoint_config, say, EndpointConfigName=config)


def _delete_endpoint(aws: Aws[Any], name: str, say: Say, sleep: Callable[[float], None]) -> None:
    """Once it is in a state in which AWS lets it go, and until it is gone: before that its models are in use."""
    told_status, asked = "", False
    while (found := endpoint.describe(aws, name)) is not None:
        status = found["EndpointStatus"]
        if status != told_status and status in (*_CHANGING, "Deleting"):
            say(f"{name} is {status}")
            told_status = status
        if status not in _CHANGING and not asked:
            asked = status == "Deleting" or _asked(aws, name)
            continue
        sleep(waiting.POLL_SECONDS)
    say(f"removed: endpoint {name}")


def _asked(aws: Aws[Any], name: str) -> bool:
    with told(f"removing endpoint {name}"):
        _or_gone(aws.sagemaker.delete_endpoint, EndpointName=name)
    return True


def _remove(what: str, call: Callable[..., Any], say: Say, **request: str) -> None:
    with told(f"removing {what}"):
        there = _or_gone(call, **request)
    say(f"removed: {what}" if there else f"gone already: {what}")


def _or_gone(call: Callable[..., Any], **request: str) -> bool:
    """Whether it was there."""
    from botocore.exceptions import ClientError

    try:
        call(**request)
    except ClientError as error:
        if not endpoint.is_gone(error):
            raise
        return False
    return True


def _configs(aws: Aws[Any], name: str, found: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Described by name: the live one, those it replaced, and what an interrupted removal or update left."""
    found_name = (found or {}).get("EndpointConfigName")
    with told(f"configurations of {name}"):
        names = [found_name] if found_name else []
        names += list(_left(aws, name))
        configs: dict[str, dict[str, Any]] = {}
        while names:
            one = names.pop(0)
            config = None if one in configs else endpoint.configuration(aws, one)
            if config is not None:
                configs[one] = config
                names += [former] if (former := tags_of(aws, config["EndpointConfigArn"]).get(FORMER)) else []
    return configs


def _left(aws: Aws[Any], name: str) -> Iterator[str]:
    """By their names and our tag. Long names are cut, so that those of two endpoints may begin alike: not by these."""
    if endpoint.unique_name(name, "0" * 12)[: len(name) + 1] != f"{name}-":
        return
    pages = aws.sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=name)
    for page in pages:
        for config in page["EndpointConfigs"]:
            ours = re.fullmatch(f"{re.escape(name)}-{_UNIQUE}", config["EndpointConfigName"])
            if ours and VERSION_TAG in tags_of(aws, config["EndpointConfigArn"]):
                yield config["EndpointConfigName"]


def _there(aws: Aws[Any], model: str) -> bool:
    with told(f"looking at model {model}"):
        return _or_gone(aws.sagemaker.describe_model, ModelName=model)


def _elsewhere(aws: Aws[Any], name: str, own: set[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Of all the account: configurations by name with the other endpoint that runs them, models with theirs."""
    with told("what else the account has"), ThreadPoolExecutor(_CALLS) as pool:
        client = aws.sagemaker
        endpoints = [one["EndpointName"] for one in idle.ours(aws, foreign=True) if one["EndpointName"] != name]
        found = [one for one in pool.map(lambda other: endpoint.describe(aws, other), endpoints) if one]
        pages = client.get_paginator("list_endpoint_configs").paginate()
        names = [one["EndpointConfigName"] for page in pages for one in page["EndpointConfigs"]]
        configs = pool.map(lambda other: endpoint.configuration(aws, other), [one for one in names if one not in own])
        models = {
            variant.get("ModelName", ""): config["EndpointConfigName"]
            for config in configs
            if config
            for variant in config["ProductionVariants"]
        }
    return {one.get("EndpointConfigName", ""): one["EndpointName"] for one in found}, models


def _costly(aws: Aws[Any], name: str, configs: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Where nobody lets us look, that is said instead: it is no reason not to remove the endpoint."""
    captured = [config.get("DataCaptureConfig", {}).get("DestinationS3Uri") for config in configs.values()]
    for look in (_archives, _logs, _groups, _endpoints):
        try:
            yield from look(aws, name, configs)
        except AwsError as error:
            yield f"unknown, since {error}"
    yield from (f"captured requests and answers: {uri}" for uri in dict.fromkeys(captured) if uri)


def _archives(aws: Aws[Any], name: str, configs: dict[str, dict[str, Any]]) -> Iterator[str]:
    from botocore.exceptions import ClientError

    models = dict.fromkeys(v["ModelName"] for config in configs.values() for v in config["ProductionVariants"])
    for model in models:
        with told(f"looking at model {model}"):
            try:
                found = aws.sagemaker.describe_model(ModelName=model)
            except ClientError as error:
                if not endpoint.is_gone(error):
                    raise
                continue
        if uri := found.get("PrimaryContainer", {}).get("ModelDataUrl"):
            yield f"archive in S3: {uri}"


def _logs(aws: Aws[Any], name: str, configs: dict[str, dict[str, Any]]) -> Iterator[str]:
    wanted = f"{waiting.LOG_GROUP}/{name}"
    with told("the log"):
        groups = aws.boto.client("logs").describe_log_groups(logGroupNamePrefix=wanted)["logGroups"]
    yield from (f"log in CloudWatch: {wanted}" for group in groups if group["logGroupName"] == wanted)


def _groups(aws: Aws[Any], name: str, configs: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Groups of the registry for the same model: they are free, and their archives in S3 are not."""
    with told("the model registry"):
        models = {tags_of(aws, config["EndpointConfigArn"]).get(MODEL_TAG) for config in configs.values()} - {None}
        pages = aws.sagemaker.get_paginator("list_model_package_groups").paginate()
        for group in (one for page in pages for one in page["ModelPackageGroupSummaryList"]):
            if tags_of(aws, group["ModelPackageGroupArn"]).get(MODEL_TAG) in models:
                yield f"archives of registry group {group['ModelPackageGroupName']}"


def _endpoints(aws: Aws[Any], name: str, configs: dict[str, dict[str, Any]]) -> Iterator[str]:
    others = [one["EndpointName"] for one in idle.ours(aws)]
    yield from (f"endpoint {one} of ours" for one in others if one != name)
