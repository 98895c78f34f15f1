"""One job, started, followed and brought home: a whole search inside it, or the winner of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from training.config import TrainingConfig
from training.errors import ConfigError
from training.monitor.settings import Monitoring
from training.search.options import SearchOptions

from . import debugger, download, reports, trials
from .errors import AwsError
from .follow import POLL_SECONDS, follow
from .jobs import estimator, gpu_count, is_unknown, prepare, staged, start, unique_name
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
    inputs = prepare(aws, config, data, say)
    name = name or unique_name(f"whippet-search-{config.backbone}")
    values = inputs.config.as_dict()
    # All options of the search, since the job searches only where it is told any.
    extra = {**{each: values[each] for each in given}, **search.as_dict()}
    with staged(aws, inputs.config, backbones, debugged=False, search=True) as source:
        # SageMaker's rules look at one training; a search has many, each with our own rules.
        job = estimator(aws, inputs.config, name, source, monitoring=monitoring, extra=extra, watched=False)
        start(aws, job, inputs.channels, name)
    say(f"{name} has started; its results later: python -m training tune --attach {name}")
    return name


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
    """Train once with a search's winner, under SageMaker's debugger and profiler too; returns the job's name.

    The archive, what it recorded and what SageMaker's rules say land in `output`. This costs money. ConfigError for
    hyperparameters that are none; else errors as AWS says.
    """
    config = TrainingConfig.from_texts(hyperparameters)
    inputs = prepare(aws, config, data, say)
    name = unique_name(f"whippet-{config.backbone}")
    if missing := debugger.left_out(aws.options):
        say(
            f"note: {', '.join(missing)} of SageMaker read metrics that images write up to PyTorch 2.0; "
            "our own rules of these names run in the job"
        )
    with staged(aws, inputs.config, debugged=aws.options.debugger) as source:
        start(aws, estimator(aws, inputs.config, name, source, monitoring=monitoring), inputs.channels, name)
    say(f"{name} has started")
    bring(aws, name, output, say, seconds=seconds)
    return name


def bring(aws: Aws[JobOptions], name: str, output: Path, say: Say, *, seconds: float = POLL_SECONDS) -> None:
    """Follow a job to its end, then its files and the verdicts of SageMaker's rules into `output`."""
    download.results(aws, follow(aws, name, say, seconds=seconds), output, say)
    reports.bring(aws, name, output, say, seconds=seconds)


def attach(
    aws: Aws[JobOptions], name: str, output: Path, say: Say, *, seconds: float = POLL_SECONDS
) -> trials.Search | None:
    """Results of a running or finished tuner so far, or of one job when it has ended, in `output`.

    Of a tuner the table is said, best.json and trials.csv are written, and it is returned as far as it is; a job is
    followed first. AwsError for a name that is neither.
    """
    try:
        search = trials.results(aws, name)
    except AwsError as error:
        if not is_unknown(error):
            raise
        try:
            bring(aws, name, output, say, seconds=seconds)
        except AwsError as other:
            if is_unknown(other):
                raise AwsError(f"{name} is no tuner and no job in {aws.region}. Check the name and --region") from None
            raise
        return None
    for line in search.lines():
        say(line)
    trials.write(search, output, say)
    return search
