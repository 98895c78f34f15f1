"""Documentation that cannot drift: commands, options, codes and variables are those of the code."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

import client.cli
import local_stack.cli
import model_serving.cli
import training.cli
import training.data.cli
import training.settings
from lambda_api import schema
from lambda_api.settings import Settings
from local_stack.intrinsics import read
from model_serving.aws.options import EndpointOptions
from model_serving.aws.prices import CostOptions
from model_serving.aws.transform import TransformOptions
from tests.conftest import ROOT
from training.aws.options import JobOptions
from training.config import TrainingConfig
from training.monitor.settings import Monitoring
from training.search.options import SearchOptions

CLI = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
TRAINING = "".join(
    (ROOT / "docs" / name).read_text(encoding="utf-8")
    for name in ("cli.md", "training.md", "data.md", "search.md", "recording.md", "sagemaker.md")
)
SERVING = "".join(
    (ROOT / "docs" / name).read_text(encoding="utf-8")
    for name in ("cli.md", "client.md", "hosts.md", "deploy.md", "endpoints.md", "transform.md")
)
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]


def commands(app: typer.Typer) -> dict[str, Any]:
    """The commands of a command line by name."""
    group: Any = get_command(app)
    found: dict[str, Any] = group.commands
    return found


@pytest.mark.parametrize(
    ("app", "text"),
    [
        (client.cli.app, CLI + SERVING),
        (model_serving.cli.app, SERVING),
        (local_stack.cli.app, CLI),
        (training.cli.app, TRAINING),
        (training.data.cli.app, TRAINING),
    ],
)
def test_every_option_is_documented(app: typer.Typer, text: str) -> None:
    """docs/cli.md, for training with the pages it leads to, names each command and each of its visible options."""
    for name, command in commands(app).items():
        if command.hidden:
            continue
        assert re.search(rf"`[^`\n]*\b{name}\b", text), name
        for option in command.params:
            if option.param_type_name == "option" and not getattr(option, "hidden", False) and option.name != "help":
                assert any(f"`{flag}" in text for flag in option.opts), f"{name} {option.opts}"


@pytest.mark.parametrize("code", schema.ERRORS)
def test_every_error_code_is_documented(code: str) -> None:
    """docs/api.md has a row with code and status."""
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert f"| {schema.ERRORS[code][0]} | `{code}` |" in text


def test_every_variable_is_documented() -> None:
    """Variables that the code reads are in docs/cli.md, or in docs/data.md for those of training alone."""
    folders = ("client", "local_stack", "lambda_api", "model_serving", "training")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    used = {name for p in sources for name in re.findall(r'"(WHIPPET_[A-Z_]+)"', p.read_text(encoding="utf-8"))}
    assert {"WHIPPET_URL", "WHIPPET_STACK_KEY"} <= used
    for name in used | {field.upper() for field in Settings.__dataclass_fields__ if "timeout" not in field}:
        assert f"`{name}`" in TRAINING, name


def test_every_parameter_alarm_and_output_of_the_stack_is_documented() -> None:
    """docs/operations.md has each parameter in its table, each alarm with what to do."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    template = read(ROOT / "template.yaml")
    tables = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    alarms = [name for name, part in template["Resources"].items() if part["Type"] == "AWS::CloudWatch::Alarm"]
    assert len(alarms) > 5
    for name in [*template["Parameters"], *alarms]:
        assert f"`{name}`" in tables, name


def test_nothing_ignored_is_tracked() -> None:
    """No build output in the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout == ""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Relative links of the documents exist."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_shown_commands_exist(document: Path) -> None:
    """`$ python -m package command` and `$ make target` lines name what there is."""
    apps = {"client": client.cli.app, "model_serving": model_serving.cli.app, "local_stack": local_stack.cli.app}
    apps["training"] = training.cli.app
    for line in re.findall(r"^\$ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE):
        if found := re.search(r"python -m (\w+) (\w+)", line):
            package, command = found.groups()
            assert package not in apps or command in commands(apps[package]), line
        if found := re.match(r"make (\w+)", line):
            done = subprocess.run(["make", "--dry-run", found.group(1)], cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        ("training.md", TrainingConfig),
        ("recording.md", Monitoring),
        ("search.md", SearchOptions),
        ("sagemaker.md", JobOptions),
        ("deploy.md", EndpointOptions),
        ("endpoints.md", CostOptions),
        ("transform.md", TransformOptions),
    ],
)
def test_settings_are_documented_with_their_defaults(page: str, kind: type[training.settings.Settings]) -> None:
    """The tables are what the fields make of them."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").replace("\\|", "|")
    for name, option in kind.options().items():
        flag, default = f"--{name.replace('_', '-')}", training.settings.shown(option.default)
        row = f"| `{flag}` | {default} | {option.metadata['help'].rstrip('.')} |"
        assert row in text, row
