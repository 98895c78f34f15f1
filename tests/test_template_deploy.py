"""From the sources to a stack that stands: `sam build` without Docker, `sam deploy` to a local AWS."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from local_stack import intrinsics
from tests.conftest import ROOT
from tests.ministack_host import ministack
from tests.template_world import SAM, run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("function", ["Function", "Worker"])
def test_function_package(tmp_path: Path, function: str) -> None:
    """The package keeps its name, all it imports is there, nothing else, and the zip stays below 5 MB."""
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    command = ["make", f"build-{function}", f"ARTIFACTS_DIR={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "lambda_api")
    assert done.returncode == 0, done.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert {"lambda_api", "aws_lambda_powertools", "pydantic", "python_multipart", "tenacity"} <= names
    assert not {"torch", "PIL", "boto3"} & names
    sources = {path.relative_to(ROOT) for path in (ROOT / "lambda_api").rglob("*.py")}
    assert {path.relative_to(tmp_path) for path in (tmp_path / "lambda_api").rglob("*.*")} == sources
    assert not list(tmp_path.rglob("__pycache__"))
    archive = Path(shutil.make_archive(str(tmp_path / "function"), "zip", tmp_path))
    assert zipfile.is_zipfile(archive)
    assert archive.stat().st_size < 5_000_000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template that `sam build` made, beside the functions' folders."""
    folder = tmp_path_factory.mktemp("sam")
    done = run(SAM / "sam", "build", "--build-dir", folder / "built", "--cache-dir", folder / "cache")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "built" / "template.yaml"


def test_sam_build(built: Path) -> None:
    """Both functions find their handler in their folder."""
    for function in ("Function", "Worker"):
        properties = intrinsics.read(built)["Resources"][function]["Properties"]
        module = Path(*properties["Handler"].split(".")[:-1]).with_suffix(".py")
        assert (built.parent / properties["CodeUri"] / module).is_file()


def test_sam_deploy(built: Path, tmp_path: Path) -> None:
    """As the README says, with both sets of answers of samconfig.toml, to the end and to the outputs."""
    account = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "HOME": str(tmp_path)}
    settings = ("--config-file", ROOT / "samconfig.toml", "--template-file", built, "--no-confirm-changeset")
    with ministack(tmp_path, "http://127.0.0.1:9", tls=False) as aws:
        for stage, name in (("dev", "whippet-dev"), ("prod", "whippet")):
            done = run(SAM / "sam", "deploy", "--config-env", stage, *settings, AWS_ENDPOINT_URL=aws.url, **account)
            assert done.returncode == 0, done.stdout + done.stderr
            assert f"Successfully created/updated stack - {name} in us-east-1" in done.stdout
            (described,) = aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
            outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
            assert outputs["ApiUrl"].endswith(".amazonaws.com/prod") and outputs["ApiKeyId"]
            assert {"Bucket", "QueueUrl", "DeadLettersUrl", "AlarmTopic", "DashboardUrl"} <= outputs.keys()
