"""The import rule of docs/architecture.md, held over the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"client", "lambda_api", "local_stack", "model_serving", "training", "classifier", "inference"}
HEAVY = {"torch", "torchvision", "boto3", "botocore", "sagemaker", "smdebug", "optuna"}

SERVED = ["model_serving/inference.py", "model_serving/batch_handler.py", "model_serving/classifier/*.py"]
RULES = {
    # files, what they may import of ours, which heavy packages they may use
    "code/ of the archive": (SERVED, {"classifier", "inference"}, {"torch", "torchvision"}),
    "Ray Serve's entrance": (["model_serving/ray_deployment.py"], {"inference", "classifier"}, {"torch"}),
    "the archive's probe": (["model_serving/probe.py"], {"inference", "batch_handler"}, set()),
    "the function": (["lambda_api/**/*.py"], set(), {"boto3", "botocore"}),
    "the client": (["client/*.py"], {"client", "lambda_api.schema"}, {"boto3", "botocore"}),
    "training": (
        ["training/**/*.py"],
        {
            "training",
            *(f"model_serving.{name}" for name in ("classifier", "archive", "errors", "golden", "doctor")),
            "model_serving.aws.registry",
        },
        HEAVY,
    ),
}


def imports(path: Path) -> Iterator[str]:
    """Absolute module names that a file imports, those inside functions too; relative ones stay in the package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, allowed: set[str]) -> bool:
    """Whether a module is one of the allowed ones or inside one."""
    return any(name == other or name.startswith(other + ".") for other in allowed)


@pytest.mark.parametrize("room", RULES)
def test_rooms_import_only_what_they_may(room: str) -> None:
    """No package reaches sideways over a network boundary, and the function and client stay light."""
    patterns, ours, heavy = RULES[room]
    files = [path for pattern in patterns for path in ROOT.glob(pattern)]
    for path in files:
        for name in imports(path):
            top = name.partition(".")[0]
            assert top not in OURS or within(name, ours), f"{path.name} of {room} imports {name}"
            assert top not in HEAVY or top in heavy, f"{path.name} of {room} imports {name}"


@pytest.mark.parametrize("room", ["training", "model_serving"])
def test_aws_is_needed_only_where_it_is_used(room: str) -> None:
    """SageMaker's SDK and boto3 are imported inside functions: they are an extra, and take seconds."""
    for path in ROOT.glob(f"{room}/**/*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not {name.partition(".")[0] for name in names} & {"sagemaker", "boto3", "botocore"}, path


def test_serving_shares_with_training_what_is_about_the_account() -> None:
    """Options, errors and the connection are one; nothing that trains is needed to deploy, nor AWS to serve."""
    shared = {f"training.{name}" for name in ("settings", "flags", "errors")}
    shared |= {
        f"training.aws.{name}" for name in ("account", "errors", "session", "upload", "download", "jobs", "pricelist")
    }
    for path in ROOT.glob("model_serving/**/*.py"):
        found = {name for name in imports(path) if within(name, {"training"})}
        allowed = shared if path.parent.name == "aws" else {"training.flags", "training.settings"}
        assert not {name for name in found if not within(name, allowed)}, path


def test_nothing_imports_the_local_stack() -> None:
    """The stack starts the parts as processes; no part knows of it."""
    for path in [*ROOT.glob("client/*.py"), *ROOT.glob("lambda_api/*.py"), *ROOT.glob("model_serving/**/*.py")]:
        assert not [name for name in imports(path) if name.startswith("local_stack")], path


def test_relative_imports_stay_inside_the_classifier() -> None:
    """classifier/ is moved alone into code/, so `..` would leave it."""
    for path in ROOT.glob("model_serving/classifier/*.py"):
        levels = [n.level for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.ImportFrom)]
        assert max(levels, default=0) <= 1, path


def test_schema_needs_the_standard_library_alone() -> None:
    """The client reads the API's contract without installing the function's packages."""
    import sys

    modules = {name.partition(".")[0] for name in imports(ROOT / "lambda_api" / "schema.py")}
    assert modules <= sys.stdlib_module_names
