"""Reads `template.yaml`, so that routes, binary types, keys and the function are declared once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import StackError

_HERE = Path(__file__).parent
_PACKAGED = _HERE / "template.yaml"
TEMPLATE = _PACKAGED if _PACKAGED.exists() else _HERE.parent / "template.yaml"
"""Beside this module in an installed wheel, at the root of a checkout."""


@dataclass(frozen=True)
class Api:
    """What the gateway needs to know of the template.

    `routes` maps (METHOD, path) to whether an API key is needed; `timeout` is the function's, in seconds.
    """

    routes: dict[tuple[str, str], bool]
    binary_types: frozenset[str]
    handler: str
    timeout: int
    environment: dict[str, str]


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short tags: `!Ref X` becomes {"Ref": "X"}."""


def _tag(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    key = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {key: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {key: loader.construct_sequence(node, deep=True)}
    raise StackError(f"the template uses !{suffix} in a way that is not understood here")


_Loader.add_multi_constructor("!", _tag)


def load(path: Path = TEMPLATE, **parameters: str) -> Api:
    """The API of a template with one function, its parameters filled in; StackError if it has none."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506  # a SafeLoader
    except (OSError, yaml.YAMLError) as error:
        raise StackError(f"{path} cannot be read ({error}). Run from a checkout of the project.") from None
    values = {name: spec.get("Default", "") for name, spec in document.get("Parameters", {}).items()} | parameters
    api = _only(document, "AWS::Serverless::Api")
    function = _only(document, "AWS::Serverless::Function")
    needs_key = bool(api.get("Auth", {}).get("ApiKeyRequired", False))
    variables = function.get("Environment", {}).get("Variables", {})
    return Api(
        routes=_routes(function, needs_key),
        binary_types=frozenset(api.get("BinaryMediaTypes", [])),
        handler=function["Handler"],
        timeout=int(function["Timeout"]),
        environment={name: _resolve(value, values) for name, value in variables.items()},
    )


def _only(document: dict[str, Any], kind: str) -> dict[str, Any]:
    found = [r["Properties"] for r in document.get("Resources", {}).values() if r["Type"] == kind]
    if len(found) != 1:
        raise StackError(f"the template has {len(found)} resources of type {kind}; the local gateway serves one")
    properties: dict[str, Any] = found[0]
    return properties


def _routes(function: dict[str, Any], needs_key: bool) -> dict[tuple[str, str], bool]:
    events = [e["Properties"] for e in function.get("Events", {}).values() if e["Type"] == "Api"]
    return {
        (event["Method"].upper(), event["Path"]): bool(event.get("Auth", {}).get("ApiKeyRequired", needs_key))
        for event in events
    }


def _resolve(value: Any, parameters: dict[str, str]) -> str:
    """A plain value, or a reference to a parameter; nothing else can be known on one machine."""
    if isinstance(value, dict) and value.keys() == {"Ref"} and value["Ref"] in parameters:
        return str(parameters[value["Ref"]])
    if isinstance(value, (str, int, float, bool)):
        return str(value)
    raise StackError(f"the template's variable {value!r} cannot be resolved on one machine")
