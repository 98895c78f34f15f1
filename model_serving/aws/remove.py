"""An endpoint taken away with all that was made for it, and what stays and costs money said.

Models go before the configurations that name them, and these last: a removal that was interrupted finds, by the
configurations that are left, what else it has to take. Doing it twice is no error.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from training.aws.errors import AwsError, told
from training.aws.session import Aws
from training.aws.upload import Say

from . import alarms, endpoint, idle, scaling, waiting
from .deploy import FORMER
from .parts import MODEL_TAG, VERSION_TAG, tags_of

_UNIQUE = r"[0-9a-f]{12}-\d{6}-\d{4}-[0-9a-f]{4}"
"""Behind the name of an endpoint in those of its configurations and models: `endpoint.unique_name`."""

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


def plan(aws: Aws[Any], name: str, *, keep_model: bool = False, foreign: bool = False) -> Plan:
    """What belongs to an endpoint, whether it is there or its removal was interrupted.

    AwsError where nothing does, and for an endpoint that is none of ours unless `foreign`.
    """
    found = endpoint.describe(aws, name)
    if found is not None and not foreign:
        with told(f"tags of {name}"):
            if VERSION_TAG not in tags_of(aws, found["EndpointArn"]):
                raise AwsError(f"{name} was not made by deploy. To remove it all the same: add --foreign", "Foreign")
    configs = _configs(aws, name, found)
    others, used = elsewhere(aws, name, set(configs), since=_since(aws, _models(configs)))
    shared = [f"configuration {one}, which endpoint {others[one]} uses" for one in configs if one in others]
    going = {one: config for one, config in configs.items() if one not in others}
    models: list[str] = []
    for model in _models(going):
        if keep_model:
            shared.append(f"model {model}, by --keep-model")
        elif model in used:
            shared.append(f"model {model}, which configuration {used[model]} uses")
        elif _described(aws, model):
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
        endpoint.delete(aws, name, say, sleep=sleep)
        say(f"removed: endpoint {name}")
    for model in wanted.models:
        _remove(f"model {model}", client.delete_model, say, ModelName=model)
    for config in reversed(wanted.configs):  # each knows the one that it replaced
        _remove(f"configuration {config}", client.delete_endpoint_config, say, EndpointConfigName=config)


def _remove(what: str, call: Callable[..., Any], say: Say, **request: str) -> None:
    with told(f"removing {what}"):
        there = endpoint.or_none(call, **request)
    say(f"gone already: {what}" if there is None else f"removed: {what}")


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


def _models(configs: Mapping[str, dict[str, Any]]) -> dict[str, None]:
    """Names, each once, in their order; variants of inference components have none."""
    variants = (variant for config in configs.values() for variant in config["ProductionVariants"])
    return dict.fromkeys(variant["ModelName"] for variant in variants if "ModelName" in variant)


def _described(aws: Aws[Any], model: str) -> dict[str, Any] | None:
    with told(f"looking at model {model}"):
        return endpoint.or_none(aws.sagemaker.describe_model, ModelName=model)


def _since(aws: Aws[Any], models: Mapping[str, None]) -> datetime | None:
    """When the first of these models was made: no older configuration names one, as their names are taken once.

    None where a name is not of our making: it may have been taken before.
    """
    if not all(re.search(f"-{_UNIQUE}$", model) for model in models):
        return None
    found = [one for model in models if (one := _described(aws, model))]
    first = min((one["CreationTime"] for one in found), default=datetime.now(timezone.utc))
    return first - timedelta(minutes=1)


def elsewhere(
    aws: Aws[Any], name: str, own: set[str], *, since: datetime | None = None
) -> tuple[dict[str, str], dict[str, str]]:
    """Configurations by name with the other endpoint that runs them, and models with the configuration that names them.

    Of all the account; `since` leaves out configurations that are older, each of which takes a look.
    """
    with told("what else the account has"), ThreadPoolExecutor(_CALLS) as pool:
        client = aws.sagemaker
        endpoints = [one["EndpointName"] for one in idle.ours(aws, foreign=True) if one["EndpointName"] != name]
        found = [one for one in pool.map(lambda other: endpoint.describe(aws, other), endpoints) if one]
        younger = {"CreationTimeAfter": since} if since else {}
        pages = client.get_paginator("list_endpoint_configs").paginate(**younger)
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
    for model in _models(configs):
        found = _described(aws, model) or {}
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
