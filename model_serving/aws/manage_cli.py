"""`python -m model_serving describe | delete | cost | list | register | transform`: parse, call one function, print."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from training.flags import with_settings

from .model_options import ModelOptions
from .options import EndpointOptions
from .prices import CostOptions
from .transform import TransformOptions

if TYPE_CHECKING:
    from training.aws.session import Aws

    from .transform_job import Job

app = typer.Typer(help="Endpoints that run, their cost, the registry, and photos by the million.")

Name = Annotated[str, typer.Argument(help="The endpoint.", metavar="NAME")]
Archive = Annotated[Path, typer.Argument(help="A model.tar.gz.", metavar="FILE")]
Region = Annotated[str, typer.Option(help="AWS region; by default that of the AWS configuration.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command()
def describe(name: Name, region: Region = "", as_json: Json = False) -> None:
    """Say what an endpoint serves, on what, how well, and for how many dollars.

    python -m model_serving describe dogs
    """
    from .describe import describe as look

    found = look(_connect(region), name)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=1))
        return
    for line in found.lines():
        typer.echo(line)


@app.command()
def delete(
    name: Name,
    region: Region = "",
    keep_model: Annotated[bool, typer.Option("--keep-model", help="Leave its models.")] = False,
    foreign: Annotated[bool, typer.Option("--foreign", help="Also one that is none of ours.")] = False,
    yes: Yes = False,
) -> None:
    """Remove an endpoint with its configurations, models, autoscaling and alarms; say what else costs money.

    python -m model_serving delete dogs
    """
    from . import remove

    aws = _connect(region)
    wanted = remove.plan(aws, name, keep_model=keep_model, foreign=foreign)
    for line in wanted.lines():
        typer.echo(line)
    _confirm("remove these?", yes)
    remove.delete(aws, wanted, typer.echo)
    for line in wanted.costly:
        typer.echo(f"still costs money: {line}")


@app.command()
@with_settings(options=CostOptions)
def cost(options: dict[str, Any]) -> None:
    """Compare an endpoint on machines, a serverless one and Batch Transform, and say where they break even.

    python -m model_serving cost --instance-type ml.m5.xlarge --seconds-per-photo 0.05
    """
    from .prices import compare

    wanted = CostOptions.from_texts(options)
    for line in compare(_connect(wanted.region), wanted).lines():
        typer.echo(line)


@app.command("list")
def list_endpoints(
    idle: Annotated[int | None, typer.Option(help="Only those without a request for so many days.", min=1)] = None,
    foreign: Annotated[bool, typer.Option("--all", help="Endpoints that are not ours, too.")] = False,
    region: Region = "",
    as_json: Json = False,
) -> None:
    """List our endpoints with their cost and last request.

    python -m model_serving list --idle 7
    """
    from . import idle as endpoints

    aws = _connect(region)
    found = endpoints.listed(aws, foreign=foreign)
    chosen = found if idle is None else endpoints.idle(found, idle)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(one) for one in chosen], indent=1))
        return
    if chosen:
        for line in endpoints.lines(chosen):
            typer.echo(line)
    if idle is not None:
        typer.echo(endpoints.conclusion(chosen, idle, aws.region))
    elif not chosen:
        typer.echo("no endpoints" if foreign else "no endpoints of ours; --all lists the others")


@app.command()
@with_settings(options=ModelOptions)
def register(
    options: dict[str, Any],
    archive: Archive,
    group: Annotated[str, typer.Option(help="Group of the registry, which is made if it is not there.")],
    approve: Annotated[bool, typer.Option("--approve", help="As approved, for `deploy --approved`.")] = False,
) -> None:
    """Put an archive into SageMaker's Model Registry, with its metrics; `deploy --approved GROUP` takes it from there.

    python -m model_serving register model.tar.gz --group dogs
    """
    from training.aws.session import connect

    from .registry import register as put

    _require_archive(archive)
    typer.echo(put(connect(ModelOptions.from_texts(options)), archive, group, approve=approve, say=_note))


@app.command()
@with_settings(options=TransformOptions)
def transform(
    options: dict[str, Any],
    archive: Annotated[Path | None, typer.Argument(help="A model.tar.gz.", metavar="FILE")] = None,
    source: Annotated[str | None, typer.Option("--input", help="s3:// prefix of the photos.")] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="s3:// prefix for the results.")] = None,
    attach: Annotated[str | None, typer.Option(help="Follow a job that was started before.")] = None,
    keep_model: Annotated[bool, typer.Option("--keep-model", help="Leave the job's model on SageMaker.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Start it and do not wait.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do and cost; start nothing.")] = False,
    yes: Yes = False,
) -> None:
    """Classify the photos of an S3 prefix by a Batch Transform job; `client results` makes lines of what it leaves.

    python -m model_serving transform model.tar.gz --input s3://bucket/photos --output s3://bucket/labels
    """
    from training.aws.session import connect
    from training.errors import ConfigError

    from . import transform_job as jobs

    aws = connect(TransformOptions.from_texts(options))
    if attach is not None:
        if archive or source or output or dry_run or detach:
            raise ConfigError("attach: follows a job as it was started. Leave out FILE, --input and the like")
        job = jobs.attached(aws, attach)
    else:
        if archive is None or source is None or output is None:
            raise ConfigError("transform: give the FILE of an archive, --input s3://… and --output s3://…")
        started = _transform(aws, archive, source, output, dry_run=dry_run, yes=yes)
        if started is None:
            return
        job = started
    if detach:
        for line in jobs.later(job, aws.region):
            typer.echo(line)
        return
    try:
        jobs.follow(aws, job, typer.echo)
    finally:
        if not keep_model and jobs.ended(aws, job):
            jobs.remove_model(aws, job, typer.echo)
    typer.echo(f"results: {job.results}")


def _transform(
    aws: Aws[TransformOptions], archive: Path, source: str, output: str, *, dry_run: bool, yes: bool
) -> Job | None:
    """The started job; None for a dry run."""
    from . import photos
    from . import transform as batch
    from .package import PATCHES_ENDED

    _require_archive(archive)
    survey = photos.survey(aws, source, output, aws.options.max_payload_mb)
    if aws.options.runtime == "pytorch" and not aws.options.image_uri:
        typer.echo(PATCHES_ENDED)
    for line in (*survey.lines(), *batch.estimate(aws, survey).lines()):
        typer.echo(line)
    if dry_run:
        typer.echo("nothing was started")
        return None
    _confirm("start?", yes)
    return batch.start(aws, archive, survey, photos.folder(output).rstrip("/"), typer.echo)


def _require_archive(archive: Path) -> None:
    from model_serving.errors import ArchiveError

    if not archive.is_file():
        raise ArchiveError(f"{archive} does not exist. Make one: python -m model_serving pack --output FILE")


def _connect(region: str) -> Aws[EndpointOptions]:
    from training.aws.session import connect

    return connect(EndpointOptions(region=region))


def _confirm(question: str, yes: bool) -> None:
    if not yes and not typer.confirm(question, err=True):
        raise typer.Abort


def _note(line: str) -> None:
    typer.echo(line, err=True)
