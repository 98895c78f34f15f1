"""The golden photos of a deployment, and the endpoints that they are sent through."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_serving.golden import GoldenPhoto
from training.aws.errors import AwsError, told
from training.aws.session import Aws
from training.aws.upload import Say
from training.errors import ConfigError

from . import endpoint
from .gate import REQUESTS, Report, Sample, answers_as_recorded, judge
from .invoke import PATIENCE_SECONDS, THREADS, Answered, Client, latencies
from .options import EndpointOptions
from .package import Hosted
from .waiting import POLL_SECONDS, Update, wait

if TYPE_CHECKING:
    from model_serving.classifier import ModelSpec

MISSED = "GateMiss"
"""Code of the error of a model that the gate refuses."""


CANDIDATE = "candidate"


@dataclass(frozen=True)
class Pace:
    """Seconds between two looks at an endpoint, those that its first answer may take, and requests for the latency."""

    poll: float = POLL_SECONDS
    patience: float = PATIENCE_SECONDS
    requests: int = REQUESTS
    longer: float = 5.0
    """Minutes that an update is waited for beyond AWS's own limit, at which it rolls back."""
    removal: float = endpoint.REMOVAL_SECONDS


@dataclass(frozen=True)
class Deployment:
    """All that is decided before anything is made."""

    aws: Aws[EndpointOptions]
    hosted: Hosted
    names: endpoint.Names
    photos: tuple[GoldenPhoto, ...]
    gated: bool
    say: Say
    pace: Pace
    report: Path | None = None

    @property
    def options(self) -> EndpointOptions:
        """Of the endpoint."""
        return self.aws.options

    @property
    def version(self) -> str:
        """Of the model that is deployed."""
        return self.hosted.spec.version

    def wait(self, name: str, minutes: float = 0.0, update: Update | None = None) -> dict[str, Any]:
        """Until an endpoint is in service; `minutes` come on top of those of the options."""
        most = self.options.max_wait_minutes + minutes
        return wait(self.aws, name, self.say, minutes=most, seconds=self.pace.poll, update=update)

    def cleanup(self) -> endpoint.Cleanup:
        """Nothing yet."""
        return endpoint.Cleanup(self.say, self.pace.poll, self.pace.removal)

    @property
    def threads(self) -> int:
        """Requests at once."""
        return min(THREADS, self.options.max_concurrency) if self.options.serverless_mb else THREADS


def golden_photos(archive: Path, folder: Path | None, say: Say) -> tuple[GoldenPhoto, ...]:
    """Those of a folder, as the model labels them here and now; else those of the archive; else made-up pictures."""
    from model_serving import golden
    from model_serving.archive import unpacked
    from model_serving.classifier import Classifier

    with unpacked(archive) as model:
        if folder is not None:
            return tuple(golden.from_folder(folder, Classifier.load(model)))
        if found := golden.read(model):
            return tuple(found)
        say(
            "note: the archive has no golden photos; made-up pictures tell whether the endpoint computes what this "
            "machine does, and no more. Give --golden DIR"
        )
        return tuple(golden.drawn(Classifier.load(model)))


def candidate(made: Deployment, live: str, others: endpoint.Cleanup) -> Report:
    """The verdict on the new model behind an endpoint of its own, which is removed again whatever happens.

    Where it cannot be, its model is taken from what the `others` remove.
    """
    name = endpoint.unique_name(made.names.endpoint, CANDIDATE)
    _tell_of_others(made, f"{name.rsplit('-', 3)[0]}-")
    names = endpoint.Names(name, name, made.names.model)
    cleanup = made.cleanup()
    try:
        endpoint.configure(made.aws, endpoint.config_request(made.hosted, made.options, names, 1), cleanup)
        endpoint.create(made.aws, endpoint.create_request(made.hosted, made.options, names), cleanup)
        made.wait(name)
        answer(made, name)
        return _verdict(made, name, live)
    finally:
        try:
            cleanup.run()
        finally:
            if cleanup.made:
                others.keep(f"model {names.model}")


def _tell_of_others(made: Deployment, beginning: str) -> None:
    """A deployment that was killed has left its candidate, which is billed; or another one is going on.

    Long names are cut, so that `beginning` may be another endpoint's, too. Whoever may not list is told nothing.
    """
    try:
        with told(f"looking for {beginning}…"):
            found = made.aws.sagemaker.list_endpoints(NameContains=beginning)["Endpoints"]
    except AwsError:
        return
    for name in (each["EndpointName"] for each in found if each["EndpointName"].startswith(beginning)):
        made.say(
            f"warning: {name} is there already, and is billed. If no other deployment goes on: "
            f"{endpoint.by_hand(made.aws, name)}"
        )


def alone(made: Deployment) -> Report:
    """The verdict on a first deployment: the endpoint itself, which nobody calls yet."""
    return _verdict(made, made.names.endpoint, "")


def answer(made: Deployment, name: str) -> None:
    """One real request, answered by the new model; else AwsError."""
    found = Client(made.aws, name).first(
        made.photos[0].body, made.say, patience=made.pace.patience, seconds=min(5.0, made.pace.poll)
    )
    if found.version != made.version:
        raise AwsError(
            f"{name} answers as {found.name} {found.version}, and {made.version} was deployed. "
            "Does its container read our archive?",
            MISSED,
        )


def after_shift(made: Deployment) -> Report:
    """The labels once more, through the endpoint that everybody calls."""
    sample = Sample(tuple(Client(made.aws, made.names.endpoint).ask_all(made.photos, made.threads)))
    return answers_as_recorded(made.photos, sample, made.version, made.options)


def _verdict(made: Deployment, name: str, live: str) -> Report:
    new, old = Client(made.aws, name), Client(made.aws, live) if live else None
    answers = new.ask_all(made.photos, made.threads)
    served = old.ask_all(made.photos, made.threads) if old is not None else []
    if old is not None and not any(isinstance(one, Answered) for one in served):
        made.say(f"note: {live} answers none of the photos ({served[0]}), so there is nothing live to compare with")
        old = None
    times = latencies([new] if old is None else [new, old], made.photos, made.pace.requests)
    report = judge(
        made.photos,
        Sample(tuple(answers), tuple(times[0])),
        made.version,
        _classes(made.hosted.spec),
        made.options,
        None if old is None else Sample(tuple(served), tuple(times[1])),
    )
    for line in report.lines():
        made.say(line)
    _write(made, report)
    return report


def _classes(spec: ModelSpec) -> Sequence[str]:
    return [known.class_id for known in spec.classes]


def require_writable(path: Path) -> None:
    """ConfigError before anything is made, rather than after; a report that is there stays until there is another."""
    _write_text(path, "", "a")


def _write(made: Deployment, report: Report) -> None:
    if made.report is None:
        return
    model = {"name": made.hosted.spec.name, "version": made.version}
    content = {"endpoint": made.names.endpoint, "model": model, **report.as_dict()}
    _write_text(made.report, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _write_text(path: Path, text: str, mode: str = "w") -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open(mode, encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise ConfigError(f"report: {path} cannot be written ({error.strerror})") from None
