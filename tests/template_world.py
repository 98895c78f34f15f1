"""template.yaml as AWS sees it: SAM's transformation of it, with parameters filled in and conditions decided.

The transformation is that of AWS's command line, in an environment of its own, which `make test` makes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from local_stack.intrinsics import Values
from local_stack.template import TEMPLATE
from tests.conftest import ROOT
from tests.hosts import missing

SAM = Path(os.environ.get("WHIPPET_SAM", Path(sys.prefix) / "sam")) / "bin"
CHECKOV = Path(os.environ.get("WHIPPET_CHECKOV", Path(sys.prefix) / "checkov")) / "bin"

TRANSFORM = """
import json, logging, sys
logging.disable()
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse
template = yaml_parse(open(sys.argv[1]).read())
template["Globals"]["Function"]["CodeUri"] = "s3://bucket/code.zip"
print(json.dumps(Translator({}, Parser()).translate(template, json.loads(sys.argv[2]))))
"""

MODEL = {"ModelDataUrl": "s3://b/model.tar.gz", "ModelImageUri": "image", "ModelRoleArn": "arn:aws:iam::1:role/r"}
"""Parameters for an endpoint of the stack's own."""

Resource = dict[str, Any]


def run(program: Path, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program of one of the environments, in the root of the checkout, with no account and no telemetry."""
    if not program.exists():
        missing(f"no {program}; `make test` installs it")
    own = {**os.environ, "AWS_DEFAULT_REGION": "us-east-1", "SAM_CLI_TELEMETRY": "0", **environment}
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=240)


def stack(**parameters: str) -> dict[str, Resource]:
    """What CloudFormation would make of these parameters: resources by name, with `Type` and `Properties`.

    Ref of a resource is its name, GetAtt `Name.Attribute`.
    """
    # All that SAM itself wants to know; the rest is for CloudFormation.
    document = _transformed(parameters.get("Canary", "false"))
    values = Values(document, parameters, _Names())
    resources = document["Resources"].items()
    return {
        name: {**resource, "Properties": values.of(resource.get("Properties", {}))}
        for name, resource in resources
        if "Condition" not in resource or values.holds(resource["Condition"])
    }


def of_type(resources: dict[str, Resource], kind: str) -> dict[str, Any]:
    """Properties of the resources of a type such as `S3::Bucket`, by name."""
    return {name: each["Properties"] for name, each in resources.items() if each["Type"] == f"AWS::{kind}"}


def api(**parameters: str) -> dict[str, Any]:
    """The OpenAPI document that API Gateway gets."""
    body: dict[str, Any] = stack(**parameters)["Api"]["Properties"]["Body"]
    return body


@cache
def _transformed(canary: str) -> dict[str, Any]:
    done = run(SAM / "python", "-c", TRANSFORM, TEMPLATE, json.dumps({"Canary": canary}))
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


class _Names(dict[str, str]):
    """Every resource is there, under its own name."""

    def get(self, name: str, default: Any = None) -> Any:
        """The name itself."""
        return name
