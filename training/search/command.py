"""What `python -m training tune` does: a search here, a tuner's jobs, or one job that searches; then the winner."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config import TrainingConfig
from training.errors import ConfigError, TrainingError
from training.monitor.settings import Monitoring

from .options import SearchOptions
from .space import Space, space

Say = Callable[[str], None]
Confirm = Callable[[], bool]
"""Asks the user whether to go on."""


@dataclass(frozen=True)
class Request:
    """A search as it was asked for: texts as they were typed, and where its results go."""

    hyperparameters: Mapping[str, Any]
    options: Mapping[str, Any]
    recording: Mapping[str, Any]
    output: Path
    refit: bool

    @property
    def config(self) -> TrainingConfig:
        """What is not searched."""
        return TrainingConfig.from_texts(self.hyperparameters)

    @property
    def wanted(self) -> SearchOptions:
        """How it is done."""
        return SearchOptions.from_texts(self.options)

    @property
    def monitoring(self) -> Monitoring:
        """What jobs and the refit record."""
        return Monitoring.from_texts(self.recording)

    @property
    def space(self) -> Space:
        """What is searched. ConfigError names a mistake."""
        return space(self.hyperparameters, self.wanted.search, self.config)


def here(request: Request, data: Path, storage: str | None, features: Path | None, split: Mapping[str, Any]) -> None:
    """Search on this machine; `split` are `layout.load`'s arguments beside the folder."""
    from training.data import layout
    from training.run import Place, model_name, run

    _require_libraries()
    from .run import search

    if request.recording and not request.refit:
        name = next(iter(request.recording))
        raise ConfigError(f"{name}: of a trial here its curve is kept and no more. Add --refit, or leave it out.")
    config, dimensions = request.config, request.space
    dataset, name = layout.load(data, **split), data.resolve().name
    best = search(dataset, config, dimensions, request.wanted, request.output, name, storage, features)
    if request.refit and best is not None:
        place = Place(request.output, features, keep_features=features is not None)
        run(dataset, best, model_name(data, best), place, request.monitoring)


def _require_libraries() -> None:
    """Before the work, not after it."""
    for name in ("optuna", "plotly"):
        if importlib.util.find_spec(name) is None:
            raise TrainingError(f"{name} is not installed. Run: pip install 'whippet[train]'")


def on_sagemaker(
    request: Request, data: str, job_texts: Mapping[str, Any], say: Say, confirm: Confirm, *, one_job: bool
) -> None:
    """Say what it costs at most, ask, start, follow, and write what was found into the output."""
    from training.aws import single, trials, tuner
    from training.aws.cost import estimate
    from training.aws.options import JobOptions
    from training.aws.session import connect

    options, wanted, config = JobOptions.from_texts(job_texts), request.wanted, request.config
    dimensions = request.space
    if one_job and request.refit:
        raise ConfigError("refit: a job that searches trains with its winner anyway. Leave it out.")
    if not one_job:
        tuner.check(options, dimensions, wanted)
    aws = connect(options)
    jobs = 1 if one_job else tuner.job_count(options, dimensions, wanted.trials)
    for line in estimate(aws, jobs + request.refit).lines():
        say(line)
    if not confirm():
        say("nothing was started")
        return
    recorded = request.monitoring
    if one_job:
        single.one_job(
            aws, config, wanted, data, request.output, say, given=request.hyperparameters,
            backbones=tuner.backbones(dimensions), monitoring=recorded,
        )  # fmt: skip
        return
    name = tuner.start(aws, config, dimensions, data, wanted, say, monitoring=recorded)
    trials.wait(aws, name, say)
    attached(aws, name, request, data, say)


def attach(
    name: str, request: Request, data: str | None, job_texts: Mapping[str, Any], say: Say, confirm: Confirm
) -> None:
    """Results of a tuner or job that was started before, so far; the winner's refit if that is asked for."""
    from training.aws.cost import estimate
    from training.aws.options import JobOptions
    from training.aws.session import connect

    if request.refit and data is None:
        raise ConfigError("refit: give the photos by --data.")
    aws = connect(JobOptions.from_texts(job_texts))
    if request.refit:
        for line in estimate(aws, 1).lines():
            say(line)
        if not confirm():
            say("nothing was started")
            return
    attached(aws, name, request, data, say)


def attached(aws: Any, name: str, request: Request, data: str | None, say: Say) -> None:
    """Write what a tuner has found, and train with its winner under SageMaker's debugger and profiler."""
    from training.aws import single

    search = single.attach(aws, name, request.output, say)
    if request.refit and data is not None:
        if search is None or search.best is None:
            raise ConfigError(f"refit: {name} has no best trial yet. Attach to it again when one has ended.")
        hyperparameters = {**search.fixed, **search.best.hyperparameters}
        if weights := request.config.weights:
            hyperparameters["weights"] = weights
        single.refit(aws, hyperparameters, data, request.output, say, monitoring=request.monitoring)
