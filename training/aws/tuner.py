"""The search as SageMaker's tuner: the declared ranges in its terms, started once its request has been looked at."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from training.config import TrainingConfig
from training.errors import ConfigError
from training.monitor.settings import Monitoring
from training.search.options import ACCURACY, LOSS, SearchOptions
from training.search.space import Space
from training.settings import Choices, Range, as_text

from .errors import AwsError, told
from .jobs import MAX_TUNER_NAME, Job, built, unique_name
from .options import JobOptions
from .session import Aws
from .upload import Say

OBJECTIVES = {LOSS: ("best:loss", "Minimize"), ACCURACY: ("best:top1", "Maximize")}
"""Metric of our own log by what is searched for; of a job its last value counts, hence the best so far."""

ENDED = ("Completed", "Failed", "Stopped")
"""States in which a tuner does nothing more."""

_MAX_CHOICES = 30
_SHORTEST = 120  # seconds that AWS lets a tuner run at least


def parameters(space: Space) -> dict[str, Any]:
    """The ranges as the SDK's parameters by name; choices as texts that `TrainingConfig.from_texts` reads back.

    ConfigError for what AWS would refuse minutes later: a logarithm of 0, more than 30 choices, a name that is no
    hyperparameter.
    """
    if not space:
        raise ConfigError("nothing to search: no hyperparameter has a range")
    return {name: _parameter(name, range_) for name, range_ in space.items()}


def _parameter(name: str, range_: Range | Choices) -> Any:
    from sagemaker.parameter import CategoricalParameter, ContinuousParameter, IntegerParameter

    options = TrainingConfig.options()
    if name not in options:
        raise ConfigError(f"{name} is no hyperparameter; there are {', '.join(options)}")
    if isinstance(range_, Choices):
        if len(range_.values) > _MAX_CHOICES:
            raise ConfigError(f"{name}: SageMaker takes {_MAX_CHOICES} choices, found {len(range_.values)}")
        return CategoricalParameter([as_text(value) for value in range_.values])
    if range_.log and range_.low <= 0:
        raise ConfigError(f"{name}: a logarithmic range cannot begin at {range_.low:g}. Begin above 0, as 1e-6")
    scaling = "Logarithmic" if range_.log else "Linear"
    if isinstance(options[name].default, int):
        return IntegerParameter(math.ceil(range_.low), math.floor(range_.high), scaling)
    return ContinuousParameter(float(range_.low), float(range_.high), scaling)


def tuner(aws: Aws[JobOptions], job: Any, config: TrainingConfig, space: Space, search: SearchOptions) -> Any:
    """The SDK's `HyperparameterTuner` over an estimator; nothing is sent. ConfigError as `check`."""
    ranges, options = parameters(space), aws.options
    jobs = job_count(options, space, search.trials)
    metric, direction = OBJECTIVES[search.objective]
    with told("the tuner's settings"):
        from sagemaker.tuner import HyperparameterTuner

        return HyperparameterTuner(
            job,
            metric,
            ranges,
            metric_definitions=job.metric_definitions,
            strategy=options.strategy.capitalize(),
            objective_type=direction,
            max_jobs=jobs,
            max_parallel_jobs=min(options.parallel_jobs, jobs),
            max_runtime_in_seconds=max(_SHORTEST, round(search.max_minutes * 60)) if search.max_minutes else None,
            early_stopping_type="Auto" if options.early_stopping else "Off",
            warm_start_config=_warm_start(aws),
            strategy_config=_strategy(aws, config),
            tags=options.tag_list() or None,
        )


def check(options: JobOptions, space: Space, search: SearchOptions) -> None:
    """ConfigError for what AWS would refuse after the photos were uploaded: ranges, or a grid that is none."""
    parameters(space)
    job_count(options, space, search.trials)


def job_count(options: JobOptions, space: Space, trials: int) -> int:
    """Jobs that a tuner starts: the trials, or all points of a grid, whose number AWS wants to hear.

    ConfigError for a grid that is none.
    """
    if options.strategy != "grid":
        return trials
    if ranges := [name for name, range_ in space.items() if not isinstance(range_, Choices)]:
        raise ConfigError(f"strategy: a grid takes choices only, and {ranges[0]} is a range. Take bayesian")
    points = math.prod(len(range_.values) for range_ in space.values() if isinstance(range_, Choices))
    if points > trials:
        raise ConfigError(f"trials: the grid has {points} points, more than {trials}. Give --trials {points}")
    return points


def _strategy(aws: Aws[JobOptions], config: TrainingConfig) -> Any:
    if aws.options.strategy != "hyperband":
        return None
    from sagemaker.tuner import HyperbandStrategyConfig, StrategyConfig

    # A resource is one value of the objective, which our log has once an epoch; at the maximum a job is ended.
    epochs = config.epochs + (config.finetune_epochs if config.finetunes else 0)
    return StrategyConfig(HyperbandStrategyConfig(max_resource=epochs, min_resource=1))


def _warm_start(aws: Aws[JobOptions]) -> Any:
    options = aws.options
    if not options.warm_start:
        return None
    from sagemaker.tuner import WarmStartConfig, WarmStartTypes

    identical = options.warm_start_type == "identical"
    kind = WarmStartTypes.IDENTICAL_DATA_AND_ALGORITHM if identical else WarmStartTypes.TRANSFER_LEARNING
    return WarmStartConfig(kind, parents=set(options.warm_start))


def start(
    aws: Aws[JobOptions],
    config: TrainingConfig,
    space: Space,
    data: str | Path,
    search: SearchOptions,
    say: Say,
    *,
    monitoring: Monitoring = Monitoring(),  # noqa: B008  # frozen
    name: str = "",
) -> str:
    """Upload photos and code, start a tuner, and return its name; this costs money.

    Its jobs have no debugger or profiler of SageMaker, which has none for a tuner's; our own recording runs in each.
    ConfigError as `check`; AwsError with what AWS says.
    """
    check(aws.options, space, search)
    _check_parents(aws, OBJECTIVES[search.objective][0])
    name = name or unique_name(f"whippet-{config.backbone}", MAX_TUNER_NAME)
    if aws.options.debugger or aws.options.profiler:
        say("note: SageMaker debugs and profiles no tuner's jobs; our own rules run in each, SageMaker's in the refit")
    job = Job(config, data, monitoring, backbones=backbones(space), watched=False)
    with built(aws, job, name, say) as made:
        found = tuner(aws, made.estimator, config, space, search)
        with told(f"starting {name}"):
            found.fit(dict(made.inputs.channels), job_name=name, wait=False)
    say(f"{name} has started; to look at it: python -m training tune --attach {name}")
    return name


def backbones(space: Space) -> tuple[str, ...]:
    """Those that a search may draw beside the configuration's."""
    drawn = space.get("backbone")
    return tuple(map(str, drawn.values)) if isinstance(drawn, Choices) else ()


def _check_parents(aws: Aws[JobOptions], metric: str) -> None:
    """AWS starts a warm start only from tuners that have ended, and that searched for the same."""
    for parent in aws.options.warm_start:
        found = describe_tuner(aws, parent)
        if found["HyperParameterTuningJobStatus"] not in ENDED:
            raise AwsError(f"warm_start: {parent} has not ended yet. Wait for it, or stop it")
        searched = found["HyperParameterTuningJobConfig"].get("HyperParameterTuningJobObjective", {}).get("MetricName")
        if searched != metric:
            raise AwsError(f"warm_start: {parent} searched for {searched}, and this one for {metric}. Take the same")


def describe_tuner(aws: Aws[JobOptions], name: str) -> dict[str, Any]:
    """DescribeHyperParameterTuningJob; AwsError with a code for a name that is none."""
    with told(f"looking at {name}"):
        found: dict[str, Any] = aws.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    return found
