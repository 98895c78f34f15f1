"""An archive as SageMaker hosts it: this checkout's code in it, uploaded once, with the image and its settings.

The SDK would repack the archive itself at every use: gzip over the weights each time, and one more upload. Ours is
restaged here and found in S3 by its content, so the candidate, the endpoint, a registry and a transform share it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from training.aws.errors import told
from training.aws.session import Aws
from training.aws.upload import encryption, is_there

from .options import EndpointOptions

if TYPE_CHECKING:
    from model_serving.classifier import ModelSpec

FRAMEWORK, PYTHON = "2.6.0", "py312"
"""The last PyTorch inference image of AWS."""

CODE = "/opt/ml/model/code"

RAY_IMAGE = "ray:serve-ml-sagemaker"
RAY_GPU_AMI = "al2-ami-sagemaker-inference-gpu-3-1"
"""The machine image, for its driver, that AWS names for its Ray Serve container with CUDA."""

BATCH = {"cpu": 8, "gpu": 16}
BATCH_DELAY_MS = {"cpu": 1, "gpu": 5}
"""How long TorchServe waits for a batch to fill; one request alone waits as long."""

MAX_BODY = 25 * 1024**2
"""Bytes of a request; the most that SageMaker passes on."""

PATCHES_ENDED = (
    "note: AWS's PyTorch inference image gets no patches since 2026-06-30; --runtime ray takes its Ray Serve image"
)

_TAG_UNFIT = re.compile(r"[^\w .:/=+@-]+", re.ASCII)


@dataclass(frozen=True)
class Hosted:
    """A model that can be created, registered or transformed with."""

    model: Any
    """The SDK's PyTorchModel, or its Model for Ray Serve."""
    uri: str
    """`s3://` of the archive that the container gets."""
    image: str
    environment: dict[str, str]
    spec: ModelSpec


def hosted(aws: Aws[Any], archive: Path, name: str, options: EndpointOptions, *, send: bool = True) -> Hosted:
    """The archive with this checkout's code and settings for the options' machine, in S3 unless `send` is off.

    ArchiveError for what is no archive, AwsError for what S3 or the SDK refuses.
    """
    options = options if options.region else replace(options, region=aws.region)
    with TemporaryDirectory(prefix="whippet-hosted-") as folder:
        staged = Path(folder) / "model.tar.gz"
        spec = _restage(archive, staged, options)
        key = ("models", name, f"{spec.version}-{_digest(staged)}", "model.tar.gz")
        if send:
            _upload(aws, staged, aws.key(*key))
    uri = aws.uri(*key)
    with told("the model's settings"):
        image, variables = image_uri(options), environment(options, threads(options))
        return Hosted(_model(aws, options, uri, image, variables), uri, image, variables, spec)


def tags(options: EndpointOptions, spec: ModelSpec) -> list[dict[str, str]]:
    """What everything of ours on AWS carries: model, version, and the user's own."""
    ours = {"whippet:model": _TAG_UNFIT.sub("-", spec.name)[:256], "whippet:version": spec.version}
    return [*({"Key": key, "Value": value} for key, value in ours.items()), *options.tag_list()]


def threads(options: EndpointOptions) -> int:
    """Of a worker: workers times threads are the machine's CPUs."""
    return max(1, options.vcpus // workers(options))


def workers(options: EndpointOptions) -> int:
    """Processes with a copy of the model each: one a GPU, else one with all threads."""
    return max(1, options.gpus)


def environment(options: EndpointOptions, threads: int) -> dict[str, str]:
    """Variables of the container."""
    if options.runtime == "ray":
        return {"OMP_NUM_THREADS": str(threads)}
    kind, count = "gpu" if options.has_gpu else "cpu", str(workers(options))
    found = {
        "SAGEMAKER_PROGRAM": "inference.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": CODE,
        "SAGEMAKER_MODEL_SERVER_WORKERS": count,
        # With any SAGEMAKER_TS_ variable the toolkit counts workers by these two alone.
        "SAGEMAKER_TS_MIN_WORKERS": count,
        "SAGEMAKER_TS_MAX_WORKERS": count,
        "SAGEMAKER_TS_BATCH_SIZE": str(BATCH[kind]),
        "SAGEMAKER_TS_MAX_BATCH_DELAY": str(BATCH_DELAY_MS[kind]),
        "SAGEMAKER_TS_RESPONSE_TIMEOUT": "60",
        # The toolkit's own batching goes photo by photo and fails all for one; ours runs one forward pass.
        "TS_DEFAULT_SERVICE_HANDLER": "batch_handler.py:handle",
        "TS_DEFAULT_RESPONSE_TIMEOUT": "60",
        "TS_DEFAULT_STARTUP_TIMEOUT": "300",
        "TS_MAX_REQUEST_SIZE": str(MAX_BODY),
        "TS_MAX_RESPONSE_SIZE": str(MAX_BODY),
        "OMP_NUM_THREADS": str(threads),
    }
    if options.serverless_mb:  # where the rest of the disk cannot be written
        found |= {"LOG_LOCATION": "/tmp", "METRICS_LOCATION": "/tmp"}  # noqa: S108
    return found


def image_uri(options: EndpointOptions) -> str:
    """Of AWS's container for the runtime, in the region's registry."""
    if options.image_uri:
        return options.image_uri
    from sagemaker import image_uris

    machine = "ml.m5.xlarge" if options.serverless_mb else options.instance_type
    found = str(
        image_uris.retrieve(
            "pytorch",
            options.region,
            version=FRAMEWORK,
            py_version=PYTHON,
            instance_type=machine,
            image_scope="inference",
        )
    )
    if options.runtime == "ray":
        return f"{found.partition('/')[0]}/{RAY_IMAGE}-{'cuda' if options.has_gpu else 'cpu'}"
    return found


def _restage(archive: Path, staged: Path, options: EndpointOptions) -> ModelSpec:
    from model_serving import deployment
    from model_serving.archive import restage

    if options.runtime != "ray":
        return restage(archive, staged)
    count = workers(options)
    replicas = deployment.Replicas(gpus=options.gpus / count, least=count, most=count, threads=threads(options))
    return restage(archive, staged, {"config.yaml": deployment.config(replicas)})


def _digest(path: Path) -> str:
    """Twelve digits over the content: a golden set or settings of Ray Serve are no part of the version."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()[:12]


def _upload(aws: Aws[Any], staged: Path, key: str) -> None:
    with told(f"the archive to s3://{aws.bucket}"):
        if not is_there(aws, key, staged.stat().st_size):
            aws.s3.upload_file(str(staged), aws.bucket, key, ExtraArgs=encryption(aws) or None)


def _model(aws: Aws[Any], options: EndpointOptions, uri: str, image: str, variables: dict[str, str]) -> Any:
    from sagemaker.model import Model
    from sagemaker.pytorch.model import PyTorchModel

    network = {"Subnets": list(options.subnets), "SecurityGroupIds": list(options.security_groups)}
    shared: dict[str, Any] = {
        "model_data": uri,
        "image_uri": image,
        "role": options.role or None,
        "env": dict(variables),
        "vpc_config": network if options.subnets else None,
        "sagemaker_session": aws.sdk,
        "model_kms_key": options.kms_key or None,
        "code_location": f"s3://{aws.bucket}",  # nothing is put there; the SDK would make its default bucket
    }
    if options.runtime == "ray":
        return Model(**shared)
    return PyTorchModel(**shared, framework_version=FRAMEWORK, py_version=PYTHON)
