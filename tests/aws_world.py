"""AWS on this machine for tests: moto's server with what it lacks, and AWS's real toolkit as the machine of a job.

Nothing here reads the user's AWS configuration or leaves 127.0.0.1.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.loaders
import pytest

from training.aws.options import JobOptions
from training.aws.session import Aws, connect

BUCKET = "whippet-test"
ROLE = "trainer"
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
TOOLKIT = Path(os.environ.get("WHIPPET_TOOLKIT", Path(sys.prefix) / "sagemaker")) / "bin" / "train"

Request = dict[str, Any]


class World:
    """A moto server for one test; `jobs` is what runs a training job, `tuner` what a tuner's jobs bring."""

    def __init__(self, url: str, root: Path) -> None:
        self.url, self.root = url, root
        self.jobs: Callable[[Any, Request], None] | None = None
        self.tuners: dict[str, Tuner] = {}
        self._threads: list[threading.Thread] = []

    def client(self, service: str) -> Any:
        """A boto3 client of this world."""
        return boto3.client(service)  # type: ignore[call-overload]

    def start(self, job: Any, request: Request) -> None:
        """Run a job beside the server, as SageMaker does."""
        if self.jobs is None:
            return
        job.training_job_status, job.secondary_status = "InProgress", "Training"
        thread = threading.Thread(target=self.jobs, args=(job, request), daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """Wait for jobs that are still running."""
        for thread in self._threads:
            thread.join(60)

    def keys(self, prefix: str = "") -> list[str]:
        """What is in the bucket."""
        found = self.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for entry in found.get("Contents", [])]

    def source(self, uri: str) -> dict[str, bytes]:
        """The files of a `sourcedir.tar.gz` that was uploaded."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        packed = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            files = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
            return {name.removeprefix("./"): stream.read() for name, stream in files.items() if stream}


class Tuner:
    """A tuner that draws from the ranges of its request; each look at it ends one more job."""

    def __init__(self, name: str, request: Request) -> None:
        self.name, self.request, self.looks = name, request, 0
        self.begun = datetime(2026, 11, 1, tzinfo=timezone.utc)

    @property
    def total(self) -> int:
        """Jobs in all."""
        return int(self.request["hyper_parameter_tuning_job_config"]["ResourceLimits"]["MaxNumberOfTrainingJobs"])

    def jobs(self) -> list[Request]:
        """Summaries as SageMaker gives them: the second job fails, the later of the others are the better."""
        return [self._job(number) for number in range(min(self.looks, self.total))]

    def _job(self, number: int) -> Request:
        begun = self.begun + timedelta(minutes=number)
        job: Request = {
            "TrainingJobName": f"{self.name}-{number:03}-abcdef01",
            "TrainingJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{self.name}-{number:03}",
            "CreationTime": begun.timestamp(),
            "TrainingStartTime": begun.timestamp(),
            "TrainingEndTime": (begun + timedelta(seconds=30)).timestamp(),
            "TrainingJobStatus": "Failed" if number == 1 else "Completed",
            "TunedHyperParameters": self._draw(number),
            "ObjectiveStatus": "Failed" if number == 1 else "Succeeded",
        }
        if number == 1:
            return {**job, "FailureReason": "AlgorithmError: out of\nmemory."}
        objective = self.request["hyper_parameter_tuning_job_config"]["HyperParameterTuningJobObjective"]
        return {**job, "FinalHyperParameterTuningJobObjectiveMetric": {**objective, "Value": 1 / (number + 2)}}

    def _draw(self, number: int) -> dict[str, str]:
        ranges = self.request["hyper_parameter_tuning_job_config"]["ParameterRanges"]
        drawn = {
            one["Name"]: one["Values"][number % len(one["Values"])] for one in ranges["CategoricalParameterRanges"]
        }
        for kind in ("ContinuousParameterRanges", "IntegerParameterRanges"):
            drawn |= {one["Name"]: one["MaxValue"] for one in ranges[kind]}
        return drawn

    def describe(self, found: Request) -> Request:
        """moto's description with how far it is; moto's own is done at once, with a best job of another kind."""
        self.looks += 1
        jobs = self.jobs()
        failed = sum(job["TrainingJobStatus"] == "Failed" for job in jobs)
        done = len(jobs) >= self.total
        found["HyperParameterTuningJobStatus"] = "Completed" if done else "InProgress"
        running = min(self.total - len(jobs), 2)
        counters = {"Completed": len(jobs) - failed, "NonRetryableError": failed, "InProgress": running, "Stopped": 0}
        found["TrainingJobStatusCounters"] = {**counters, "RetryableError": 0}
        for key in ("OverallBestTrainingJob", "FailureReason", "TuningJobCompletionDetails"):
            found.pop(key, None)
        scored = [job for job in jobs if "FinalHyperParameterTuningJobObjectiveMetric" in job]
        found["BestTrainingJob"] = scored[-1]
        return found


@contextmanager
def world(root: Path) -> Iterator[World]:
    """A world with a bucket and a role, and the environment that leads boto3 to it."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # of the SDK and of moto, not ours
        configure(patch, root)
        from moto.server import ThreadedMotoServer
        from sagemaker.config import config as sdk

        patch.setattr(sdk, "jsonschema", SimpleNamespace(validate=_once(sdk.jsonschema.validate)))
        patch.setattr("botocore.session.create_loader", _loader)
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        found = World(f"http://{host}:{port}", root)
        _extend_moto(patch, found)
        urllib.request.urlopen(f"{found.url}/moto-api/reset", data=b"").close()  # what another world left
        try:
            found.client("s3").create_bucket(Bucket=BUCKET)
            found.client("iam").create_role(RoleName=ROLE, AssumeRolePolicyDocument="{}")
            yield found
        finally:
            found.close()
            server.stop()


@cache
def _loader(*_: Any) -> Any:
    """One for all sessions: each would read the models of its services again."""
    return botocore.loaders.Loader()


@cache
def _once(validate: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """jsonschema's, for each content once: the SDK holds the same defaults against its schema 19 times a job."""
    texts = cache(lambda *both: validate(*map(json.loads, both)))
    return lambda *both: texts(*(json.dumps(each, sort_keys=True) for each in both))


def configure(patch: pytest.MonkeyPatch, root: Path) -> None:
    """Made-up credentials, and none of the user's files."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "SAGEMAKER_"))]:
        patch.delenv(name)
    defaults = root / "sagemaker-defaults.yaml"
    defaults.write_text("SchemaVersion: '1.0'\n")
    values = {
        "AWS_ACCESS_KEY_ID": "made-up",
        "AWS_SECRET_ACCESS_KEY": "made-up",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(root / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(root / "no-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAGEMAKER_SUPPRESS_V2_WARNING": "1",
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(defaults),
        "SAGEMAKER_ADMIN_CONFIG_OVERRIDE": str(defaults),
    }
    for name, value in values.items():
        patch.setenv(name, value)
    patch.setattr(boto3, "DEFAULT_SESSION", None)


def _extend_moto(patch: pytest.MonkeyPatch, found: World) -> None:
    from moto.core.responses import ActionResult
    from moto.sagemaker.models import SageMakerModelBackend
    from moto.sagemaker.responses import SageMakerResponse

    create_job, create_tuner = (
        SageMakerModelBackend.create_training_job,
        SageMakerModelBackend.create_hyper_parameter_tuning_job,
    )
    describe_tuner = SageMakerModelBackend.describe_hyper_parameter_tuning_job

    def new_job(self: Any, **request: Any) -> Any:
        job = create_job(self, **request)
        found.start(job, request)
        return job

    def new_tuner(self: Any, **request: Any) -> Any:
        name = request["hyper_parameter_tuning_job_name"]
        found.tuners[name] = Tuner(name, request)
        return create_tuner(self, **request)

    def look(self: Any, hyper_parameter_tuning_job_name: str) -> Any:
        description = describe_tuner(self, hyper_parameter_tuning_job_name)
        return found.tuners[hyper_parameter_tuning_job_name].describe(description)

    def list_jobs(self: Any) -> Any:
        """Two a page."""
        jobs = found.tuners[self._get_param("HyperParameterTuningJobName")].jobs()
        begin = int(self._get_param("NextToken") or 0)
        page: Request = {"TrainingJobSummaries": jobs[begin : begin + 2]}
        return ActionResult(page | ({"NextToken": str(begin + 2)} if begin + 2 < len(jobs) else {}))

    patch.setattr(SageMakerModelBackend, "create_training_job", new_job)
    patch.setattr(SageMakerModelBackend, "create_hyper_parameter_tuning_job", new_tuner)
    patch.setattr(SageMakerModelBackend, "describe_hyper_parameter_tuning_job", look)
    patch.setattr(
        SageMakerResponse, "list_training_jobs_for_hyper_parameter_tuning_job", list_jobs, raising=False
    )  # fmt: skip


def connected(**options: Any) -> Aws[JobOptions]:
    """A connection with the world's bucket and role, and two tries a request."""
    return connect(JobOptions(**{"bucket": BUCKET, "role": ROLE, **options}), attempts=2)


def sent(aws: Aws[Any], operation: str = "CreateTrainingJob") -> list[Request]:
    """Grows with the requests that go out, as they are on the wire: botocore has checked them."""
    found: list[Request] = []

    def keep(params: Request, **_: Any) -> None:
        found.append(json.loads(params["body"]))

    aws.sagemaker.meta.events.register(f"before-call.sagemaker.{operation}", keep)
    return found


def put_logs(client: Any, name: str, lines: list[str]) -> None:
    """What a job prints, as CloudWatch gets it."""
    stream = f"{name}/algo-1-1700000000"
    for call, more in ((client.create_log_group, {}), (client.create_log_stream, {"logStreamName": stream})):
        with suppress(client.exceptions.ResourceAlreadyExistsException):
            call(logGroupName=LOG_GROUP, **more)
    now = int(time.time() * 1000)
    events = [{"timestamp": now + number, "message": line or " "} for number, line in enumerate(lines)]
    client.put_log_events(logGroupName=LOG_GROUP, logStreamName=stream, logEvents=events)


class Container:
    """The machine of a job: its channels out of S3, AWS's own toolkit on the uploaded source, results to S3."""

    def __init__(self, world: World, *, installs: bool = False) -> None:
        self._world, self._installs = world, installs

    def __call__(self, job: Any, request: Request) -> None:
        """Run the job of a request and end it as SageMaker would; what goes wrong here ends it as failed too."""
        try:
            self._run(job, request)
        except BaseException as error:
            job.failure_reason, job.training_job_status = f"the test's container broke: {error!r}", "Failed"
            raise

    def _run(self, job: Any, request: Request) -> None:
        name = request["training_job_name"]
        root = self._world.root / name
        self._place(root, request)
        path = f"{TOOLKIT.parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(root), "PATH": path, "OMP_NUM_THREADS": "1"}
        environment |= {"SAGEMAKER_TRAINING_MODULE": "sagemaker_pytorch_container.training:main"}
        environment |= {"TRAINING_JOB_NAME": name, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        if not self._installs:  # what the source requires must be there already
            environment["PIP_NO_INDEX"] = "1"
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            [str(TOOLKIT)],
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=280,
        )
        put_logs(self._world.client("logs"), name, done.stdout.splitlines())
        for folder, packed in (("model", "model.tar.gz"), ("output/data", "output.tar.gz")):
            self._upload(root / folder, f"{request['output_data_config']['S3OutputPath']}/{name}/output/{packed}")
        if done.returncode:
            job.failure_reason = f"AlgorithmError: {(root / 'output' / 'failure').read_text()}, exit code: 1"
        job.secondary_status = job.training_job_status = "Failed" if done.returncode else "Completed"

    def _place(self, root: Path, request: Request) -> None:
        for folder in ("model", "output/data", "input/config"):
            (root / folder).mkdir(parents=True)
        s3 = self._world.client("s3")
        for channel in request["input_data_config"]:
            uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
            prefix = uri.removeprefix(f"s3://{BUCKET}/")
            for key in self._world.keys(prefix):
                name = key.removeprefix(prefix) or key.rpartition("/")[2]
                path = root / "input" / "data" / channel["ChannelName"] / name
                path.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(BUCKET, key, str(path))
        resources = {"current_host": "localhost", "hosts": ["localhost"], "network_interface_name": "lo"}
        content = {
            "hyperparameters": {k: v.replace("/opt/ml", str(root)) for k, v in request["hyper_parameters"].items()},
            "resourceconfig": resources,
            "inputdataconfig": {c["ChannelName"]: {"TrainingInputMode": "File"} for c in request["input_data_config"]},
        }
        for name, value in content.items():
            (root / "input" / "config" / f"{name}.json").write_text(json.dumps(value))

    def _upload(self, folder: Path, uri: str) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for path in sorted(folder.iterdir()):
                tar.add(path, path.name)
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        self._world.client("s3").put_object(Bucket=bucket, Key=key, Body=buffer.getvalue())
