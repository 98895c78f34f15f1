"""MiniStack, a local AWS without Docker, as a process, with `template.yaml` and the real code deployed on it.

It has an environment of its own, which `make test` makes. It checks signatures and obeys policies, and it speaks TLS,
without which the template's bucket and queues refuse everything.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import string
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import boto3
import psutil
import requests

from local_stack.intrinsics import Values, read
from tests.conftest import ROOT
from tests.hosts import family, free_port, missing

MINISTACK = Path(os.environ.get("WHIPPET_MINISTACK", Path(sys.prefix) / "ministack")) / "bin" / "ministack"
ROOT_KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
REGION, ACCOUNT = "us-east-1", "000000000000"
CODE = "code"
READY_SECONDS = 60


@dataclass(frozen=True)
class Deployment:
    """A stack that stands: its API's URL and key ("" where it takes none), and what its resources are called."""

    name: str
    url: str
    key: str
    outputs: dict[str, str]
    resources: dict[str, str]


@dataclass(frozen=True)
class MiniStack:
    """The running emulator: `certificate` is the file to trust, `pid` its process."""

    url: str
    certificate: str
    pid: int

    def client(self, service: str, **credentials: str) -> Any:
        """A boto3 client, of the account's root where no credentials are given."""
        keys = credentials or ROOT_KEYS
        return boto3.client(  # type: ignore[call-overload]
            service, endpoint_url=self.url, region_name=REGION, verify=self.certificate, **keys
        )

    def deploy(self, name: str, **parameters: str) -> Deployment:
        """`template.yaml` as a stack of that name, by a change set as `sam deploy` does it."""
        document = _written_out(_adapted(read(ROOT / "template.yaml"), parameters))
        self.client("s3").put_object(Bucket=CODE, Key=f"{name}.json", Body=json.dumps(document))
        formation = self.client("cloudformation")
        formation.create_change_set(
            StackName=name,
            ChangeSetName="first",
            ChangeSetType="CREATE",
            TemplateURL=f"{self.url}/{CODE}/{name}.json",
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )
        formation.execute_change_set(StackName=name, ChangeSetName="first")
        outputs = self._outputs(name)
        found = formation.describe_stack_resources(StackName=name)["StackResources"]
        resources = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in found}
        self._answer_as_the_template_says(resources["Api"], document, parameters)
        url = f"{self.url}/restapis/{resources['Api']}/prod/_user_request_"
        return Deployment(name, url, self._key(outputs), outputs, resources)

    def _outputs(self, name: str) -> dict[str, str]:
        formation = self.client("cloudformation")
        until = time.monotonic() + READY_SECONDS
        while (stack := formation.describe_stacks(StackName=name)["Stacks"][0])["StackStatus"].endswith("IN_PROGRESS"):
            assert time.monotonic() < until, stack
            time.sleep(0.05)
        if stack["StackStatus"] != "CREATE_COMPLETE":
            events = formation.describe_stack_events(StackName=name)["StackEvents"]
            raise AssertionError([each for each in events if "FAILED" in each["ResourceStatus"]])
        return {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}

    def _key(self, outputs: dict[str, str]) -> str:
        if "ApiKeyId" not in outputs:
            return ""
        answer = self.client("apigateway").get_api_key(apiKey=outputs["ApiKeyId"], includeValue=True)
        return str(answer["value"])

    def _answer_as_the_template_says(self, api: str, document: dict[str, Any], parameters: dict[str, str]) -> None:
        """The gateway's own errors, which the import drops though MiniStack can do them."""
        gateway = self.client("apigateway")
        body = document["Resources"]["Api"]["Properties"]["DefinitionBody"]
        answers = Values(document, parameters, {}).of(body["x-amazon-apigateway-gateway-responses"])
        for kind, answer in answers.items():
            with suppress(gateway.exceptions.BadRequestException):  # kinds it does not know
                gateway.put_gateway_response(restApiId=api, responseType=kind, **answer)
        gateway.create_deployment(restApiId=api, stageName="prod")

    def said(self, group: str) -> list[str]:
        """What functions wrote into a log group, for the case that a test wonders."""
        events = self.client("logs").filter_log_events(logGroupName=group)["events"]
        return [each["message"] for each in events]

    def processes(self, function: str) -> list[psutil.Process]:
        """The processes that run a function now."""
        found = []
        for process in psutil.Process(self.pid).children(recursive=True):
            with suppress(psutil.Error):
                if process.environ().get("AWS_LAMBDA_FUNCTION_NAME") == function:
                    found.append(process)
        return found


@contextmanager
def ministack(folder: Path, endpoint_url: str, tls: bool = True) -> Iterator[MiniStack]:
    """It runs, with the code to deploy in its S3; functions find their model endpoint at `endpoint_url`.

    Without TLS nothing that concerns bucket and queue works, but it can check the tokens of its own Cognito, whose keys
    it fetches by plain HTTP from itself.
    """
    if not MINISTACK.exists():
        missing(f"no {MINISTACK}; `make test` installs it, or WHIPPET_MINISTACK names its environment")
    if shutil.which("openssl") is None:
        missing("MiniStack makes its certificate with the program openssl")
    port = free_port()
    # Its functions inherit all this; which certificates they trust is for MiniStack to say.
    foreign = ("AWS_", "PYTHON", "SSL_CERT_", "REQUESTS_CA_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    environment |= {
        "AUTH": "true",
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": endpoint_url,
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "TMPDIR": str(folder),
        "USE_SSL": "1" if tls else "0",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [MINISTACK], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            certificate = folder / "ministack-tls" / "server.crt"
            url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
            found = MiniStack(url, str(certificate), process.pid)
            _wait(found, process, folder / "log")
            found.client("s3").create_bucket(Bucket=CODE)
            found.client("s3").put_object(Bucket=CODE, Key="code.zip", Body=package())
            yield found
        finally:
            for each in [
                *family(process.pid),
                psutil.Process(process.pid),
            ]:  # asked to stop, it waits for open TLS connections
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            process.wait(30)


def _wait(found: MiniStack, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_SECONDS
    while True:
        assert process.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
        with suppress(OSError, requests.RequestException):  # no certificate yet, or nobody who listens
            if requests.get(f"{found.url}/_ministack/health", verify=found.certificate, timeout=5).ok:
                return
        time.sleep(0.05)


def _adapted(document: dict[str, Any], parameters: dict[str, str]) -> dict[str, Any]:
    """The template with what differs between MiniStack and AWS, and nothing else.

    MiniStack's conditions know neither Split nor Join; it takes a parameter's number for text, which its poller then
    cannot compare; it asks for the right to SendMessageBatch, which on AWS is SendMessage; a generated secret has
    punctuation where it is not told each character to leave out.
    """
    values = Values(document, parameters, {})
    document["Conditions"]["HasManyOrigins"] = {"Fn::Equals": [str(values.holds("HasManyOrigins")), "True"]}
    document["Globals"]["Function"]["CodeUri"] = f"s3://{CODE}/code.zip"
    resources = document["Resources"]
    scaling = resources["Worker"]["Properties"]["Events"]["Jobs"]["Properties"]["ScalingConfig"]
    scaling["MaximumConcurrency"] = int(values.of(scaling["MaximumConcurrency"]))
    resources["WebhookSecret"]["Properties"]["GenerateSecretString"]["ExcludeCharacters"] = string.punctuation
    for role in ("FunctionRole", "WorkerRole"):
        (statement,) = _sending(resources[role]["Properties"]["Policies"])
        actions = statement["Action"]
        statement["Action"] = [*([actions] if isinstance(actions, str) else actions), "sqs:SendMessageBatch"]
    return document


def _written_out(node: Any) -> Any:
    """As JSON has it, where GetAtt takes a list; the secret by its ARN, which is what Ref gives on AWS alone."""
    if isinstance(node, list):
        return [_written_out(each) for each in node]
    if not isinstance(node, dict):
        return node
    if node == {"Ref": "WebhookSecret"}:
        return {"Fn::GetAtt": ["WebhookSecret", "Id"]}
    if isinstance(name := node.get("Fn::GetAtt"), str):
        return {"Fn::GetAtt": name.split(".", 1)}
    return {key: _written_out(value) for key, value in node.items()}


def _sending(policies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    written = [policy["PolicyDocument"]["Statement"] for policy in policies if "PolicyDocument" in policy]
    return [one for statements in written for one in statements if "sqs:SendMessage" in one["Action"]]


@cache
def package() -> bytes:
    """The function's code as a zip: our package, and what its requirements are in this environment.

    MiniStack's Python runs it, which `make test` makes of the same one.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for path in sorted((ROOT / "lambda_api").rglob("*.py")):
            file.write(path, path.relative_to(ROOT))
        for name in sorted(_required((ROOT / "lambda_api" / "requirements.txt").read_text().splitlines())):
            found = distribution(name)
            for part in found.files or []:
                if ".." not in part.parts and "__pycache__" not in part.parts:
                    file.write(str(found.locate_file(part)), str(part))
    return buffer.getvalue()


def _required(lines: list[str]) -> set[str]:
    """Names of distributions that these requirements bring, without those of extras."""
    names: set[str] = set()
    for line in lines:
        name = re.match(r"[\w.-]+", line)
        if name is None or "extra ==" in line:
            continue
        with suppress(PackageNotFoundError):  # needed elsewhere: older Pythons, other systems
            names |= {name[0].lower(), *_required(distribution(name[0]).requires or [])}
    return names
