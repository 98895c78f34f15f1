"""One job for a search: a whole search inside it, or the winner of one; and whatever was started, by its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from training.config import TrainingConfig
from training.errors import ConfigError
from training.monitor.settings import Monitoring
from training.search.options import SearchOptions

from . import trials
from .errors import AwsError
from .follow import POLL_SECONDS
from .jobs import Job, gpu_count, is_unknown, unique_name
from .launch import bring, launch
from .options import JobOptions
from .session import Aws
from .upload import Say


def start_search(
    aws: Aws[JobOptions],
    config: TrainingConfig,
    search: SearchOptions,
    data: str | Path,
    say: Say,
    *,
    given: Iterable[str] = (),
    backbones: Iterable[str] = (),
    monitoring: Monitoring = Monitoring(),  # noqa: B008  # frozen
    name: str = "",
) -> str:
    """Start one job that searches by itself, on features computed once; returns its name. This costs money.

    `given` are hyperparameters that keep the configuration's value, though it may be the default; `backbones` those
    that the search may draw. ConfigError for several machines; else errors as AWS says.
    """
    if aws.options.instance_count > 1:
        raise ConfigError("instance_count: a search inside one job runs on one machine. Take 1, or no --one-job")
    if (gpus := gpu_count(aws.options, aws.region)) > 1:
        raise ConfigError(
            f"instance_type: a search inside one job uses one GPU, and {aws.options.instance_type} has {gpus}. "
            "Take ml.g4dn.xlarge or another with one, or no --one-job"
        )
    # All options of the search, since the job searches only where it is told any.
    extra = {**search.as_dict(), **{each: config.as_dict()[each] for each in given if each != "weights"}}
    # SageMaker's rules look at one training; a search has many, each with our own rules.
    job = Job(config, data, monitoring, extra, tuple(backbones), watched=False, searches=True)
    return launch(aws, job, name or unique_name(f"whippet-search-{config.backbone}"), say)


def one_job(
    aws: Aws[JobOptions],
    config: TrainingConfig,
    search: SearchOptions,
    data: str | Path,
    output: Path,
    say: Say,
    *,
    given: Iterable[str] = (),
    backbones: Iterable[str] = (),
    monitoring: Monitoring = Monitoring(),  # noqa: B008  # frozen
    seconds: float = POLL_SECONDS,
) -> str:
    """`start_search`, followed to its end, with all it wrote in `output`; returns its name. Errors as its parts."""
    name = start_search(
        aws, config, search, data, say, given=given, backbones=backbones, monitoring=monitoring
    )  # fmt: skip
    bring(aws, name, output, say, seconds=seconds)
    return name


def refit(
    aws: Aws[JobOptions],
    hyperparameters: Mapping[str, Any],
    data: str | Path,
    output: Path,
    say: Say,
    *,
    monitoring: Monitoring = Monitoring(),  # noqa: B008  # frozen
    seconds: float = POLL_SECONDS,
) -> str:
    """`launch` with a search's winner, followed to its end, with all it wrote in `output`; returns the job's name.

    ConfigError for hyperparameters that are none; else errors as AWS says.
    """
    name = launch(aws, Job(TrainingConfig.from_texts(hyperparameters), data, monitoring), "", say)
    bring(aws, name, output, say, seconds=seconds)
    return name


def attach(
    aws: Aws[Any], name: str, output: Path, say: Say, *, register: str = "", seconds: float = POLL_SECONDS
) -> trials.Search | None:
    """Results of a running or finished tuner so far, or of one job when it has ended, in `output`.

    Of a tuner the table is said, best.json and trials.csv are written, and it is returned as far as it is; a job is
    followed first. AwsError for a name that is neither; ConfigError for a tuner that is to be registered.
    """
    try:
        search = trials.results(aws, name)
    except AwsError as error:
        if not is_unknown(error):
            raise
        try:
            bring(aws, name, output, say, register=register, seconds=seconds)
        except AwsError as other:
            if is_unknown(other):
                raise AwsError(f"{name} is no tuner and no job in {aws.region}. Check the name and --region") from None
            raise
        return None
    if register:
        raise ConfigError(f"register: {name} is a tuner, whose jobs have no model. Add it to `launch` of its best.json")
    for line in search.lines():
        say(line)
    trials.write(search, output, say)
    return search
