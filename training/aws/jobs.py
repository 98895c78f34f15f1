"""One `PyTorch` estimator out of a configuration, options and photos; nothing is sent before it is fitted."""

from __future__ import annotations

import dataclasses
import logging
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from training.config import TrainingConfig
from training.errors import ConfigError
from training.monitor.settings import Monitoring
from training.progress import METRICS

from . import debugger, volume
from .errors import AwsError, told
from .options import JobOptions
from .session import Aws
from .source import ENTRY_POINT, check_isolation, requirements, stage_source
from .upload import WEIGHTS, Say, send, survey, upload_weights

MAX_JOB_NAME = 63
MAX_TUNER_NAME = 32


@dataclass(frozen=True)
class Job:
    """What one job, or every job of a tuner, is to do; `connect`'s options say on which machines."""

    config: TrainingConfig
    data: str | Path
    """A labelled folder, or `s3://…` of one."""
    monitoring: Monitoring = field(default_factory=Monitoring)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """More arguments of the entry point."""
    backbones: tuple[str, ...] = ()
    """Those that a search may draw beside the configuration's."""
    watched: bool = True
    """By SageMaker's debugger and profiler, as the options say; a tuner's jobs have neither."""
    searches: bool = False
    """Whether the job is a search by itself."""

    def debugged(self, options: JobOptions) -> bool:
        """Whether smdebug is needed in the job."""
        return self.watched and options.debugger and self.monitoring.record_interval > 0


@dataclass(frozen=True)
class Inputs:
    """What a job reads: `s3://` URIs by channel, and the configuration with paths as the job sees them; its disk."""

    channels: dict[str, str]
    config: TrainingConfig
    volume_gb: int = 0


@dataclass(frozen=True)
class Built:
    """A job that only has to be sent: the SDK's estimator, its inputs, and the staged source."""

    estimator: Any
    inputs: Inputs
    source: Path


@contextmanager
def built(aws: Aws[JobOptions], job: Job, name: str, say: Say, *, sends: bool = True) -> Iterator[Built]:
    """The estimator of a job called `name`, with its photos in S3; without `sends` nothing is uploaded.

    ConfigError for options that do not go with the job, before anything is uploaded; else errors as the parts.
    """
    check(aws, job)
    debugged = job.debugged(aws.options)
    inputs = prepare(aws, job.config, job.data, say, sends=sends)
    with staged(aws, inputs.config, job.backbones, debugged=debugged, search=job.searches) as source:
        made = estimator(
            aws, inputs.config, name, source,
            monitoring=job.monitoring, extra=job.extra, watched=job.watched, volume_gb=inputs.volume_gb,
        )  # fmt: skip
        yield Built(made, inputs, source)


def check(aws: Aws[JobOptions], job: Job) -> None:
    """ConfigError for what could not work, and would be known minutes later."""
    debugged = job.debugged(aws.options)
    check_isolation(aws.options, job.config, job.backbones, debugger=debugged, search=job.searches)
    _distribution(aws)


def prepare(aws: Aws[JobOptions], config: TrainingConfig, data: str | Path, say: Say, *, sends: bool = True) -> Inputs:
    """Photos, and a named file of weights, in S3 if `sends`, and how much disk they need. Errors as `upload`."""
    photos = survey(aws, data)
    gigabytes = volume.gigabytes(aws, photos, config.views, say)
    channels = {"train": photos.uri}
    if config.weights:
        channels[WEIGHTS], inside = upload_weights(aws, Path(config.weights), sends=sends)
        config = dataclasses.replace(config, weights=inside)
    if sends:
        send(aws, photos, say)
    return Inputs(channels, config, gigabytes)


@contextmanager
def staged(
    aws: Aws[JobOptions], config: TrainingConfig, backbones: Iterable[str] = (), *, debugged: bool, search: bool = False
) -> Iterator[Path]:
    """A temporary source folder for jobs of the configuration; `backbones` are more that a search may draw."""
    wanted = requirements(aws.options, {config.backbone, *backbones}, debugger=debugged, search=search)
    with TemporaryDirectory(prefix="whippet-source-") as folder:
        yield stage_source(Path(folder) / "source", wanted)


def estimator(
    aws: Aws[JobOptions],
    config: TrainingConfig,
    name: str,
    source: Path,
    *,
    monitoring: Monitoring = Monitoring(),  # noqa: B008  # frozen
    extra: Mapping[str, Any] | None = None,
    watched: bool = True,
    volume_gb: int = 0,
) -> Any:
    """The SDK's estimator of a job called `name`; the rest is as in `Job` and `Inputs`.

    AwsError for what the SDK refuses, ConfigError for machines that cannot work together.
    """
    with told("the job's settings"):
        from sagemaker.pytorch import PyTorch

        output = aws.uri("jobs")
        settings = debugger.settings(aws.options, output, monitoring) if watched else debugger.nothing()
        return PyTorch(
            entry_point=ENTRY_POINT,
            source_dir=str(source),
            code_location=output,
            output_path=output,
            sagemaker_session=aws.sdk,
            hyperparameters={**config.changed(), **monitoring.changed(), **(extra or {})},
            container_log_level=logging.WARNING,  # else the toolkit prints the whole environment
            metric_definitions=[{"Name": metric, "Regex": regex} for metric, regex in METRICS.items()],
            **_machine(aws, volume_gb),
            **_time(aws, name),
            **_account(aws),
            **settings,
        )


def _machine(aws: Aws[JobOptions], volume_gb: int) -> dict[str, Any]:
    options = aws.options
    return {
        "instance_type": options.instance_type,
        "instance_count": options.instance_count,
        "volume_size": volume_gb or options.volume_gb or volume.SMALLEST,
        "keep_alive_period_in_seconds": options.keep_alive_seconds,
        "framework_version": options.framework_version,
        "py_version": options.py_version,
        "image_uri": options.image_uri or None,
        "distribution": _distribution(aws),
    }


def _distribution(aws: Aws[JobOptions]) -> dict[str, Any] | None:
    """torchrun, where several GPUs work together; with CPUs the SDK refuses it, though torch could."""
    options = aws.options
    gpus = gpu_count(options, aws.region)
    if options.instance_count > 1 and not gpus:
        raise ConfigError(f"instance_count: several machines need GPUs, and {options.instance_type} has none. Take 1")
    return {"torch_distributed": {"enabled": True}} if options.instance_count > 1 or gpus > 1 else None


def gpu_count(options: JobOptions, region: str) -> int:
    """GPUs of a machine by the SDK's table; of one that it does not know at least 1, if its family has any."""
    from sagemaker import instance_types_gpu_info

    known = instance_types_gpu_info.retrieve(region).get(options.instance_type)
    return int(known["Count"]) if known is not None else int(options.has_gpu)


def _time(aws: Aws[JobOptions], name: str) -> dict[str, Any]:
    options = aws.options
    found: dict[str, Any] = {"max_run": options.max_run_seconds, "use_spot_instances": options.spot}
    found["max_retry_attempts"] = options.max_retries or None
    if options.spot:
        # The trainer keeps features and checkpoints in /opt/ml/checkpoints, which is where SageMaker copies it to.
        found |= {"max_wait": options.max_wait_seconds, "checkpoint_s3_uri": aws.uri("checkpoints", name)}
    return found


def _account(aws: Aws[JobOptions]) -> dict[str, Any]:
    options = aws.options
    key = options.kms_key or None
    return {
        "role": options.role or None,
        "tags": options.tag_list() or None,
        "subnets": list(options.subnets) or None,
        "security_group_ids": list(options.security_groups) or None,
        "enable_network_isolation": options.network_isolation or None,
        "encrypt_inter_container_traffic": options.encrypt_traffic or None,
        "output_kms_key": key,
        # AWS refuses a key for disks that a machine has of its own; they are encrypted by hardware.
        "volume_kms_key": key if volume.takes_volume(options.instance_type) else None,
    }


def start(aws: Aws[JobOptions], job: Any, channels: Mapping[str, str], name: str) -> str:
    """Send one job; returns its name. AwsError with what AWS says."""
    with told(f"starting {name}"):
        job.fit(dict(channels), job_name=name, wait=False, logs=False)
    return name


def unique_name(base: str, longest: int = MAX_JOB_NAME) -> str:
    """`BASE-241124-1731-3fa9`: letters, digits and dashes, as AWS wants it, cut to its length."""
    stamp = f"{datetime.now(timezone.utc):%y%m%d-%H%M}-{secrets.token_hex(2)}"
    clean = re.sub(r"[^a-zA-Z0-9]+", "-", base).strip("-") or "whippet"
    return f"{clean[: longest - len(stamp) - 1].rstrip('-')}-{stamp}"


def describe(aws: Aws[JobOptions], name: str) -> dict[str, Any]:
    """DescribeTrainingJob; AwsError with a code for a name that is none."""
    with told(f"looking at {name}"):
        found: dict[str, Any] = aws.sagemaker.describe_training_job(TrainingJobName=name)
    return found


def is_unknown(error: AwsError) -> bool:
    """Whether AWS knows nothing of the name; it says so by two codes, one of which stands for much else."""
    gone = any(said in str(error).lower() for said in ("not found", "not exist", "could not find", "nothing of that"))
    return error.code == "ResourceNotFound" or (error.code == "ValidationException" and gone)
