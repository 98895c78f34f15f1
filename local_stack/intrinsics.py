"""CloudFormation's functions, as far as values of `template.yaml` that matter on one machine need them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from .errors import StackError

PSEUDO = {
    "AWS::AccountId": "000000000000",
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::StackName": "whippet",
    "AWS::URLSuffix": "amazonaws.com",
}
_VARIABLE = re.compile(r"\$\{([A-Za-z0-9:.]+)\}")
_NOTHING = object()
"""What AWS::NoValue is: its property or list item is left out."""


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short tags: `!Ref X` becomes {"Ref": "X"}, `!GetAtt A.B` {"Fn::GetAtt": "A.B"}."""


def _tag(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    key = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {key: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {key: loader.construct_sequence(node, deep=True)}
    raise StackError(f"the template uses !{suffix} in a way that is not understood here")


_Loader.add_multi_constructor("!", _tag)


def read(path: Path) -> dict[str, Any]:
    """The template as it is written, short tags as dictionaries; StackError if there is none."""
    try:
        document: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506  # a SafeLoader
    except (OSError, yaml.YAMLError) as error:
        raise StackError(f"{path} cannot be read ({error}). Run from a checkout of the project.") from None
    return document


class Values:
    """Resolves what a template says, with its parameters and conditions.

    `parameters` are text as AWS takes it, lists joined by commas; those left out have their defaults. `resources` are
    what Ref gives for a resource, or GetAtt under `Name.Attribute`; one that is left out does not exist here: "".
    """

    def __init__(
        self, document: Mapping[str, Any], parameters: Mapping[str, str], resources: Mapping[str, str]
    ) -> None:
        self._declared: dict[str, Any] = document.get("Parameters", {})
        if unknown := parameters.keys() - self._declared.keys():
            raise StackError(f"the template has no parameter {', '.join(sorted(unknown))}")
        self._parameters, self._resources = parameters, resources
        self._known: Mapping[str, Any] = document.get("Resources", {})
        self._conditions: dict[str, Any] = document.get("Conditions", {})
        self._mappings: dict[str, Any] = document.get("Mappings", {})

    def of(self, node: Any) -> Any:
        """The value of a node, with all functions in it done; StackError for one that is not known here."""
        if isinstance(node, list):
            return [value for value in map(self.of, node) if value is not _NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (name, argument), *_ = node.items()
            if name in ("Ref", "Condition") and isinstance(argument, str):
                return self._ref(argument) if name == "Ref" else self.holds(argument)
            if str(name).startswith("Fn::"):
                return self._function(name, argument)
        values = {key: self.of(value) for key, value in node.items()}
        return {key: value for key, value in values.items() if value is not _NOTHING}

    def holds(self, condition: str) -> bool:
        """Whether a named condition is true."""
        if condition not in self._conditions:
            raise StackError(f"the template has no condition {condition}")
        return bool(self.of(self._conditions[condition]))

    def _function(self, name: str, argument: Any) -> Any:
        functions: dict[str, Callable[[Any], Any]] = {
            "Fn::And": lambda parts: all(map(self.of, parts)),
            "Fn::Equals": lambda two: str(self.of(two[0])) == str(self.of(two[1])),
            "Fn::FindInMap": lambda keys: self._found(*map(self.of, keys)),
            "Fn::GetAtt": lambda name: self._resource(name if isinstance(name, str) else ".".join(name)),
            "Fn::If": lambda three: self.of(three[1] if self.holds(three[0]) else three[2]),
            "Fn::Join": lambda two: two[0].join(map(str, self.of(two[1]))),
            "Fn::Not": lambda one: not self.of(one[0]),
            "Fn::Or": lambda parts: any(map(self.of, parts)),
            "Fn::Select": lambda two: self.of(two[1])[int(two[0])],
            "Fn::Split": lambda two: self.of(two[1]).split(two[0]),
            "Fn::Sub": self._sub,
        }
        if name not in functions:
            raise StackError(f"the template uses {name} where one machine does not know it")
        return functions[name](argument)

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NOTHING
        if name in PSEUDO:
            return PSEUDO[name]
        if name not in self._declared:
            return self._resource(name)
        text = self._parameters.get(name, self._declared[name].get("Default", ""))
        return str(text).split(",") if self._declared[name]["Type"] == "CommaDelimitedList" else str(text)

    def _resource(self, name: str) -> str:
        if name.partition(".")[0] not in self._known:
            raise StackError(f"the template has no resource or parameter {name}")
        return self._resources.get(name, "")

    def _found(self, mapping: str, first: str, second: str) -> Any:
        return self._mappings[mapping][first][second]

    def _sub(self, argument: Any) -> str:
        text, own = (argument, {}) if isinstance(argument, str) else argument

        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name in own:
                return str(self.of(own[name]))
            return str(self._resource(name) if "." in name else self._ref(name))

        return _VARIABLE.sub(value, text)
