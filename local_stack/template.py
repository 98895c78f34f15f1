"""Reads `template.yaml`, so that routes, keys, both functions and what they store in are declared once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .errors import StackError
from .intrinsics import Values, read

_HERE = Path(__file__).parent
_PACKAGED = _HERE / "template.yaml"
TEMPLATE = _PACKAGED if _PACKAGED.exists() else _HERE.parent / "template.yaml"
"""Beside this module in an installed wheel, at the root of a checkout."""

_NONE: Mapping[str, str] = MappingProxyType({})
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch")


@dataclass(frozen=True)
class Api:
    """What the gateway needs to know of the template.

    `routes` maps (METHOD, path) to whether an API key is needed, parts of paths in braces as in `/v1/jobs/{id}`;
    `timeout` is the function's, in seconds.
    """

    routes: dict[tuple[str, str], bool]
    binary_types: frozenset[str]
    handler: str
    timeout: int
    environment: dict[str, str]


@dataclass(frozen=True)
class Worker:
    """The function behind the queue: at most `batch_size` messages, gathered for `window` seconds, in one event."""

    handler: str
    timeout: int
    environment: dict[str, str]
    batch_size: int
    window: int
    concurrency: int


@dataclass(frozen=True)
class Table:
    """The table of jobs: its keys as (name, HASH or RANGE, type), and the attribute with the time of expiry."""

    keys: tuple[tuple[str, str, str], ...]
    ttl: str


@dataclass(frozen=True)
class Queue:
    """The queue of steps: how long a message is hidden, how often it comes, how long it is kept; in seconds."""

    visibility: int
    receives: int
    retention: int


@dataclass(frozen=True)
class Storage:
    """What the functions keep things in, the bucket apart, of which nothing need be known."""

    table: Table
    queue: Queue


def load(path: Path = TEMPLATE, resources: Mapping[str, str] = _NONE, **parameters: str) -> Api:
    """The API and the function behind it; StackError where the template has none.

    `parameters` are text as AWS takes it, lists joined by commas. `resources` maps names such as Bucket, Jobs, Queue,
    WebhookSecret to what the functions know them by; those left out do not exist on this machine.
    """
    template = _Template(path, parameters, resources)
    function = template.properties("Function", "Handler", "Timeout")
    return Api(
        binary_types=frozenset(template.properties("Api", "BinaryMediaTypes")["BinaryMediaTypes"]),
        routes=template.routes(),
        handler=function["Handler"],
        timeout=int(function["Timeout"]),
        environment=template.environment("Function"),
    )


def worker(path: Path = TEMPLATE, resources: Mapping[str, str] = _NONE, **parameters: str) -> Worker:
    """The function behind the queue; arguments and errors as `load`."""
    template = _Template(path, parameters, resources)
    function = template.properties("Worker", "Handler", "Timeout", "Events")
    (event,) = function["Events"].values()
    source = event["Properties"]
    return Worker(
        handler=function["Handler"],
        timeout=int(function["Timeout"]),
        environment=template.environment("Worker"),
        batch_size=int(source["BatchSize"]),
        window=int(source["MaximumBatchingWindowInSeconds"]),
        concurrency=int(source["ScalingConfig"]["MaximumConcurrency"]),
    )


def storage(path: Path = TEMPLATE, **parameters: str) -> Storage:
    """The table and the queue; errors as `load`."""
    template = _Template(path, parameters, _NONE)
    table = template.properties("Jobs", "AttributeDefinitions", "KeySchema", "TimeToLiveSpecification")
    queue = template.properties("Queue", "VisibilityTimeout", "RedrivePolicy", "MessageRetentionPeriod")
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    keys = [(each["AttributeName"], each["KeyType"]) for each in table["KeySchema"]]
    return Storage(
        Table(
            tuple((name, kind, types[name]) for name, kind in keys), table["TimeToLiveSpecification"]["AttributeName"]
        ),
        Queue(
            visibility=int(queue["VisibilityTimeout"]),
            receives=int(queue["RedrivePolicy"]["maxReceiveCount"]),
            retention=int(queue["MessageRetentionPeriod"]),
        ),
    )


class _Template:
    """A template with its parameters filled in."""

    def __init__(self, path: Path, parameters: Mapping[str, str], resources: Mapping[str, str]) -> None:
        self._document = read(path)
        self._values = Values(self._document, parameters, resources)

    def properties(self, name: str, *wanted: str) -> dict[str, Any]:
        """Some of a resource's, by its logical id, resolved; of a function with those that all functions have."""
        resource = self._document.get("Resources", {}).get(name)
        if resource is None:
            raise StackError(f"the template has no resource {name}, without which nothing runs here")
        written = resource["Properties"]
        return {each: self._values.of(written[each]) for each in wanted}

    def environment(self, name: str) -> dict[str, str]:
        """A function's variables: those of all functions, and its own."""
        shared = self._document.get("Globals", {}).get("Function", {}).get("Environment", {}).get("Variables", {})
        own = self.properties(name, "Environment")["Environment"]["Variables"]
        return {key: str(value) for key, value in {**self._values.of(shared), **own}.items()}

    def routes(self) -> dict[tuple[str, str], bool]:
        """Each operation of the API's definition, and whether it takes a key."""
        paths = self._document["Resources"]["Api"]["Properties"]["DefinitionBody"]["paths"]
        return {
            (method.upper(), path): any("api_key" in way for way in self._values.of(operation.get("security", [])))
            for path, operations in paths.items()
            for method, operation in operations.items()
            if method in _METHODS
        }
