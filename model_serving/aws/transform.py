"""Millions of photos in S3 through a model, without an endpoint: a Batch Transform job, followed to its end.

    survey        the photos: how many, how large, what would spoil the job      photos.py
    estimate      what it costs                                                  here
    start         archive -> S3 -> model -> job                                  here
    follow        until it has ended; its model is removed                       transform_job.py

Each photo is one request; the container gathers those that are under way into one forward pass. A photo that cannot
be read is answered as a result, since one refused of a million ends the job as failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from training.aws.errors import told
from training.aws.pricelist import Price
from training.aws.session import Aws
from training.aws.upload import Say
from training.errors import ConfigError
from training.settings import Range, setting

from . import endpoint, package, prices
from .model_options import ModelOptions
from .photos import Survey
from .transform_job import Job

PAYLOAD_TOTAL_MB = 100
"""Requests at once x their largest size is at most this (AWS's limit)."""

MAX_PAYLOAD_MB = 25
"""What the container takes: `package.MAX_BODY`."""

CONTENT_TYPE = "application/octet-stream"
"""Of every request: the model tells a photo's kind by its bytes, and a prefix may hold several kinds."""

ENVIRONMENT = {"WHIPPET_ERRORS_AS_RESULTS": "1"}
"""Of the job beside its model's: what cannot be classified is answered as a result with status 200."""


@dataclass(frozen=True)
class TransformOptions(ModelOptions):
    """What a Batch Transform job runs on."""

    NOUN: ClassVar[str] = "option of Batch Transform"
    PANEL: ClassVar[str] = "Batch Transform"

    instance_type: str = setting("ml.m5.xlarge", "Machine of the job.")
    instance_count: int = setting(1, "Machines, which share the photos.", allowed=Range(1, 100))
    max_payload_mb: int = setting(6, "Largest photo, in megabytes.", allowed=Range(1, MAX_PAYLOAD_MB))
    concurrency: int = setting(
        0, "Photos under way at once on a machine; 0 is two batches of the container.", allowed=Range(0, 100)
    )
    retries: int = setting(3, "Tries more for a photo whose request fails.", allowed=Range(0, 3))
    timeout_seconds: int = setting(120, "Seconds for a request.", allowed=Range(1, 3600))
    seconds_per_photo: float = setting(
        prices.SECONDS_A_PHOTO, "Seconds of work a photo, for the estimate.", allowed=Range(0.0001, 60)
    )

    def __post_init__(self) -> None:
        """ConfigError too for what does not go together."""
        super().__post_init__()
        if self.concurrency * self.max_payload_mb > PAYLOAD_TOTAL_MB:
            raise ConfigError(
                f"concurrency: times --max-payload-mb it is {self.concurrency * self.max_payload_mb} MB, "
                f"and AWS takes {PAYLOAD_TOTAL_MB} at most. Lower one of them"
            )
        if self.runtime == "ray" and self.endpoint().has_gpu:
            raise ConfigError(
                f"runtime: Batch Transform has no driver for Ray Serve's image on {self.instance_type}. "
                "Take --runtime pytorch, or a machine without GPU"
            )

    @property
    def at_once(self) -> int:
        """Requests under way on a machine: one batch is gathered while another is worked on, within AWS's limit."""
        batches = 2 * package.BATCH["gpu" if self.endpoint().has_gpu else "cpu"]
        return self.concurrency or max(1, min(batches, PAYLOAD_TOTAL_MB // self.max_payload_mb))


@dataclass(frozen=True)
class Estimate:
    """Hours of machines and dollars: photos x seconds, and the time in which machines start."""

    photos: int
    options: TransformOptions
    price: Price | None

    @property
    def hours(self) -> float:
        """Photos x seconds / 3,600, and some minutes of each machine; machines share the photos."""
        starting = self.options.instance_count * prices.START_MINUTES / 60
        return self.photos * self.options.seconds_per_photo / 3600 + starting

    def lines(self) -> Iterator[str]:
        """For people: the amount first, then what it assumes."""
        options = self.options
        machines = f"{options.instance_count} x {options.instance_type}"
        each = self.hours / options.instance_count
        if self.price is None:
            yield f"cost: unknown, since the price of {options.instance_type} is; about {self.hours:.2f} hours of it"
        else:
            yield f"cost: about {self.hours * self.price.dollars:,.2f} dollars, in about {each:.2f} hours on {machines}"
            yield f"      {self.price.dollars:g} dollars an hour ({self.price.source})"
        yield (
            f"      assumed: {options.seconds_per_photo:g} s a photo (measure, and give --seconds-per-photo) "
            f"and {prices.START_MINUTES} minutes to start"
        )
        yield prices.NOT_COUNTED


def estimate(aws: Aws[TransformOptions], survey: Survey) -> Estimate:
    """By today's prices. Never an error: a price that cannot be asked is looked up."""
    price = prices.hourly(aws, aws.options.instance_type, prices.TRANSFORM)
    return Estimate(survey.photos, aws.options, price)


def start(aws: Aws[TransformOptions], archive: Path, survey: Survey, output: str, say: Say) -> Job:
    """Archive, model and job; what was made is removed again where the job cannot be started.

    ArchiveError for what is no archive, AwsError for what AWS says.
    """
    options = aws.options.endpoint()
    hosted = package.hosted(aws, archive, "transform", options)
    name = endpoint.unique_name(
        re.sub(r"[^a-zA-Z0-9]+", "-", hosted.spec.name).strip("-") or "model", hosted.spec.version
    )
    model = endpoint.model_request(aws, hosted, options, name, send=True)
    cleanup = endpoint.Cleanup(say)
    with told(f"creating the model {name}"):
        aws.sagemaker.create_model(**model)
    cleanup.add(f"model {name}", lambda: aws.sagemaker.delete_model(ModelName=name))
    try:
        with told(f"starting {name}"):
            _send(aws, name, survey.uri, output, package.tags(options, hosted.spec))
    except BaseException:
        cleanup.run()
        raise
    say(f"{name}: started on {survey.photos:,} photos")
    return Job(name, survey.photos, output)


def request(aws: Aws[TransformOptions], name: str, uri: str, output: str, tags: list[dict[str, str]]) -> Any:
    """The SDK's transformer and the arguments of its `transform`; nothing is sent."""
    from sagemaker.transformer import Transformer

    options = aws.options
    transformer = Transformer(
        model_name=name,
        instance_count=options.instance_count,
        instance_type=options.instance_type,
        strategy="SingleRecord",
        output_path=output,
        output_kms_key=options.kms_key or None,
        accept="application/json",
        max_concurrent_transforms=options.at_once,
        max_payload=options.max_payload_mb,
        tags=tags,
        env=dict(ENVIRONMENT),
        sagemaker_session=aws.sdk,
        volume_kms_key=None if endpoint.LOCAL_DISK.match(options.instance_type) else options.kms_key or None,
    )
    client = {"InvocationsTimeoutInSeconds": options.timeout_seconds, "InvocationsMaxRetries": options.retries}
    return transformer, {
        "data": uri,
        "data_type": "S3Prefix",
        "content_type": CONTENT_TYPE,
        "split_type": None,
        "job_name": name,
        "model_client_config": client,
        "wait": False,
        "logs": False,
    }


def _send(aws: Aws[TransformOptions], name: str, uri: str, output: str, tags: list[dict[str, str]]) -> None:
    transformer, arguments = request(aws, name, uri, output, tags)
    transformer.transform(**arguments)
