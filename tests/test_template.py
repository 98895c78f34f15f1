"""template.yaml: valid for AWS, and what the gateway and the documents say agrees with it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lambda_api import schema
from lambda_api.settings import Settings
from local_stack import intrinsics, template
from local_stack.errors import StackError
from local_stack.gateway import INTEGRATION_SECONDS
from model_serving.aws import package
from model_serving.aws.options import EndpointOptions
from model_serving.aws.scaling import TARGET
from tests.conftest import ROOT
from tests.template_world import CHECKOV, MODEL, SAM, run, stack

ACCEPTED = re.compile(r"^    # checkov:skip=(\w+):(.+)$", re.MULTILINE)
CHECK = ("--framework", "cloudformation", "--skip-download", "--compact", "-o", "json", "-f")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The template as it is written."""
    return intrinsics.read(template.TEMPLATE)


def test_valid_for_cloudformation() -> None:
    """cfn-lint, which knows SAM's resources, has nothing to say."""
    command = [str(Path(sys.executable).with_name("cfn-lint")), "template.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_valid_for_sam() -> None:
    """AWS's own command line, with its lint."""
    done = run(SAM / "sam", "validate", "--lint")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_checkov_finds_what_is_accepted(tmp_path: Path) -> None:
    """Nothing else than what is accepted with a reason, and nothing that is accepted but no longer found."""
    clean = run(CHECKOV / "checkov", *CHECK, "template.yaml")
    assert clean.returncode == 0, clean.stdout + clean.stderr
    text = template.TEMPLATE.read_text(encoding="utf-8")
    bare = tmp_path / "template.yaml"
    bare.write_text(ACCEPTED.sub("    #", text), encoding="utf-8")
    found = json.loads(run(CHECKOV / "checkov", *CHECK, bare).stdout)["results"]["failed_checks"]
    names = re.compile(r"\n  (\w+):\n((?:    # checkov:skip=.+\n)+)")
    accepted = {(name, code) for name, lines in names.findall(text) for code, _ in ACCEPTED.findall(lines)}
    assert accepted == {(each["resource"].partition(".")[2], each["check_id"]) for each in found}
    assert all(len(reason) > 20 for _, reason in ACCEPTED.findall(text))


def test_routes_are_those_of_the_openapi_document() -> None:
    """Each documented operation has a route, key needed or not as documented; what needs one has a preflight."""
    routes = template.load().routes
    documents = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    documented = {
        (method.upper(), path): operation.get("security") != []
        for path, methods in documents["paths"].items()
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


def test_parameters_reach_the_settings() -> None:
    """Both functions read what the template sets, from parameters, and from resources that are there."""
    there = {"Bucket": "photos", "Jobs": "table", "Queue": "http://queue", "WebhookSecret": "arn:secret"}
    asked = {"AllowedOrigins": "https://a,https://b", "EndpointName": "dogs", "UploadBytes": "9"}
    asked |= {"WebhookOrigins": "https://c", "PhotoBucket": "shop", "PhotoPrefix": "2026/"}
    expected = Settings(
        "dogs",
        allowed_origins=("https://a", "https://b"),
        bucket="photos",
        upload_bytes=9,
        jobs_table="table",
        queue_url="http://queue",
        queue_receives=template.storage().queue.receives,
        photo_sources=("s3://shop/2026/",),
        webhook_origins=("https://c",),
        webhook_secret_id="arn:secret",
    )
    for part in (template.load, template.worker):
        assert Settings.from_environment(part(template.TEMPLATE, there, **asked).environment) == expected


def test_what_is_not_there_is_empty() -> None:
    """Without resources there are neither uploads nor jobs, without parameters no origins and no webhooks."""
    plain = Settings("whippet", upload_bytes=schema.MAX_UPLOAD_BYTES)
    assert Settings.from_environment(template.load().environment) == plain
    there = {"WebhookSecret": "arn:secret"}
    assert Settings.from_environment(template.load(resources=there).environment).webhook_secret_id == ""


def test_worker_and_storage() -> None:
    """What stands in for the queue, its worker and the table on one machine knows how they are set."""
    worker, storage = template.worker(JobConcurrency="7"), template.storage()
    assert (worker.handler, worker.batch_size, worker.window) == ("lambda_api.worker.handler", 10, 1)
    assert (worker.concurrency, worker.timeout) == (7, 120)
    assert storage.table == template.Table((("pk", "HASH", "S"), ("sk", "RANGE", "S")), "expires")
    assert storage.queue.visibility >= 2 * worker.timeout
    assert storage.queue.retention == 86400


def test_timeouts_leave_room() -> None:
    """Endpoint below function below gateway, so that the innermost says what is wrong."""
    settings = Settings("x")
    assert settings.connect_timeout + settings.read_timeout < template.load().timeout < INTEGRATION_SECONDS


def test_missing_template(tmp_path: Path) -> None:
    """One line with the mend, and for a template with nothing in it, and for a parameter that is none."""
    with pytest.raises(StackError, match="checkout"):
        template.load(tmp_path / "template.yaml")
    (tmp_path / "template.yaml").write_text("Resources: {}\n")
    with pytest.raises(StackError, match="no resource Function"):
        template.load(tmp_path / "template.yaml")
    with pytest.raises(StackError, match="no parameter Colour"):
        template.load(Colour="red")


def test_every_parameter_is_explained(document: dict[str, Any]) -> None:
    """Described, in one group, with a default that is allowed, and limited where it is not free text."""
    parameters = document["Parameters"]
    groups = document["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(parameters)
    for name, declared in parameters.items():
        assert len(declared["Description"]) > 10, name
        assert declared.keys() & {"AllowedValues", "AllowedPattern", "MinValue"} or name == "ModelImageUri"
        assert re.fullmatch(declared.get("AllowedPattern", ".*"), str(declared["Default"])), name


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("AllowedOrigins", "https://a.org,http://localhost:3000", "https://a.org/,*"),
        ("WebhookOrigins", "https://a.org:8443", "http://a.org"),
        ("EndpointName", "dogs-2", "Dogs"),
        ("PhotoPrefix", "shop/2026/", "shop/*"),
        ("UserPoolArn", "arn:aws:cognito-idp:eu-west-1:123456789012:userpool/eu-west-1_Abc", "eu-west-1_Abc"),
        ("SubnetIds", "subnet-0a1b,subnet-2c3d", "subnet-0a1b, vpc-1"),
    ],
)
def test_parameters_are_checked(document: dict[str, Any], name: str, good: str, bad: str) -> None:
    """What cannot work is refused before anything is made."""
    pattern = document["Parameters"][name]["AllowedPattern"]
    assert re.fullmatch(pattern, good)
    assert not re.fullmatch(pattern, bad)


@pytest.mark.parametrize(
    ("wrong", "mended"),
    [
        ({"AuthMode": "COGNITO"}, {"UserPoolArn": "arn"}),
        ({"ModelDataUrl": "s3://b/m"}, {"ModelImageUri": "i", "ModelRoleArn": "r"}),
        ({"PhotoPrefix": "a/"}, {"PhotoBucket": "b"}),
        ({"SubnetIds": "subnet-1"}, {"SecurityGroupIds": "sg-1"}),
        ({"DomainName": "a.org"}, {"CertificateArn": "arn"}),
        ({"HostedZoneId": "Z1"}, {"DomainName": "a.org", "CertificateArn": "arn"}),
    ],
)
def test_wrong_combinations_are_refused(
    document: dict[str, Any], wrong: dict[str, str], mended: dict[str, str]
) -> None:
    """A rule says what is missing."""

    def broken(parameters: dict[str, str]) -> list[str]:
        values = intrinsics.Values(document, parameters, {})
        rules = [rule for rule in document["Rules"].values() if values.of(rule["RuleCondition"])]
        assertions = [each for rule in rules for each in rule["Assertions"]]
        return [each["AssertDescription"] for each in assertions if not values.of(each["Assert"])]

    assert not broken({})
    assert [message for message in broken(wrong) if all(word in message for word in ("needs", *wrong))]
    assert not broken({**wrong, **mended})


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_samconfig_fits(document: dict[str, Any], stage: str) -> None:
    """Its parameters are those of the template, with values that are allowed."""
    text = (ROOT / "samconfig.toml").read_text(encoding="utf-8")
    block = text.partition(f"[{stage}.deploy.parameters]")[2].partition("\n[")[0]
    given = dict(re.findall(r'^    "(\w+)=([^"]*)",$', block, re.MULTILINE))
    assert given
    for name, value in given.items():
        declared = document["Parameters"][name]
        assert value in map(str, declared.get("AllowedValues", [value]))
        assert re.fullmatch(declared.get("AllowedPattern", ".*"), value)


def test_the_container_is_set_as_by_deploy(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack's own endpoint, on each machine and serverless, has the variables that model_serving gives one."""
    monkeypatch.setenv("SAGEMAKER_SUPPRESS_V2_WARNING", "1")
    for machine in document["Parameters"]["InstanceType"]["AllowedValues"]:
        options = EndpointOptions(instance_type=machine)
        made = stack(**MODEL, InstanceType=machine, MaxInstances="3")
        container = made["Model"]["Properties"]["PrimaryContainer"]
        assert container["Environment"] == package.environment(options, package.threads(options)), machine
        tracking = made["ScalingPolicy"]["Properties"]["TargetTrackingScalingPolicyConfiguration"]
        assert int(tracking["TargetValue"]) == TARGET["gpu" if options.has_gpu else "cpu"]
    for megabytes in document["Parameters"]["ServerlessMemoryMb"]["AllowedValues"][1:]:
        options = EndpointOptions(serverless_mb=int(megabytes))
        container = stack(**MODEL, ServerlessMemoryMb=megabytes)["Model"]["Properties"]["PrimaryContainer"]
        assert container["Environment"] == package.environment(options, package.threads(options))
