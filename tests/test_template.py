"""template.yaml: valid for AWS, and what the gateway and the documents say agrees with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from lambda_api import schema
from local_stack import template
from local_stack.errors import StackError
from tests.conftest import ROOT


def test_valid_for_cloudformation() -> None:
    """cfn-lint, which also runs SAM's own transformation, has nothing to say."""
    command = [str(Path(sys.executable).with_name("cfn-lint")), "template.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_routes_are_those_of_the_openapi_document() -> None:
    """Each documented operation has a route, key needed or not as documented; posts and the model have a preflight."""
    routes = template.load().routes
    document = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    documented = {
        (method.upper(), path): operation.get("security") != []
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    undocumented = {("GET", "/"), ("GET", "/v1/openapi.json")}
    preflights = {("OPTIONS", path) for method, path in documented if documented[method, path]}
    assert documented.items() <= routes.items()
    assert routes.keys() == documented.keys() | undocumented | preflights
    assert not any(routes[route] for route in undocumented | preflights)


def test_photos_are_binary() -> None:
    """Every media type the API takes reaches the function unharmed; JSON stays text."""
    binary = template.load().binary_types
    assert set(schema.MEDIA_TYPES) | {"multipart/form-data", "application/octet-stream"} <= binary
    assert not {"application/json", "*/*"} & binary


def test_function_may_only_call_its_endpoint() -> None:
    """One statement, one action, one resource."""
    loader = template._Loader
    document = yaml.load((ROOT / "template.yaml").read_text(encoding="utf-8"), loader)  # noqa: S506  # a SafeLoader
    (policy,) = document["Resources"]["Function"]["Properties"]["Policies"]
    (statement,) = policy["Statement"]
    assert statement["Action"] == "sagemaker:InvokeEndpoint"
    assert statement["Resource"]["Fn::Sub"].endswith(":endpoint/${EndpointName}")


def test_parameters_reach_the_environment() -> None:
    """What the function reads is what the template sets."""
    assert template.load(AllowedOrigins="https://a").environment == {
        "ENDPOINT_NAME": "whippet",
        "ALLOWED_ORIGINS": "https://a",
    }


def test_timeouts_leave_room() -> None:
    """Endpoint below function below gateway, so that the innermost says what is wrong."""
    from lambda_api.settings import Settings
    from local_stack.gateway import INTEGRATION_SECONDS

    settings = Settings("x")
    assert settings.connect_timeout + settings.read_timeout < template.load().timeout < INTEGRATION_SECONDS


def test_missing_template(tmp_path: Path) -> None:
    """One line with the mend."""
    with pytest.raises(StackError, match="checkout"):
        template.load(tmp_path / "template.yaml")


@pytest.mark.slow
def test_function_package(tmp_path: Path) -> None:
    """What `sam build` makes: the package keeps its name, all it imports is there, the zip stays below 5 MB."""
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    command = ["make", "build-Function", f"ARTIFACTS_DIR={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "lambda_api")
    assert done.returncode == 0, done.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert {"lambda_api", "aws_lambda_powertools", "pydantic", "python_multipart"} <= names
    assert not {"torch", "PIL", "boto3"} & names
    archive = Path(shutil.make_archive(str(tmp_path / "function"), "zip", tmp_path))
    assert zipfile.is_zipfile(archive)
    assert archive.stat().st_size < 5_000_000
