"""`python -m model_serving deploy`: parse, call one function, print."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from training.flags import with_settings
from training.settings import as_text

from .options import EndpointOptions

if TYPE_CHECKING:
    from training.aws.session import Aws

app = typer.Typer(help="A model behind a SageMaker endpoint.")


@app.command()
@with_settings(options=EndpointOptions)
def deploy(
    options: dict[str, Any],
    endpoint: Annotated[str, typer.Option(help="Name of the endpoint, new or to be updated in place.")],
    archive: Annotated[Path | None, typer.Argument(help="A model.tar.gz.", metavar="FILE")] = None,
    approved: Annotated[
        str | None, typer.Option(help="Instead of FILE: the newest approved model of this registry group.")
    ] = None,
    golden: Annotated[
        Path | None, typer.Option(help="Photos for the gate, or one folder of them a class; else the archive's own.")
    ] = None,
    no_gate: Annotated[bool, typer.Option("--no-gate", help="Ask for one answer only before traffic shifts.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write what the gate found to this JSON file.")] = None,
    register: Annotated[str | None, typer.Option(help="Register the model in this group once it serves.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the requests as JSON and make nothing.")] = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take over an endpoint that was not made by this command.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before machines are paid for.")] = False,
) -> None:
    """Serve an archive on SageMaker: create the endpoint, or update it in place behind an accuracy gate.

    python -m model_serving deploy model.tar.gz --endpoint dogs
    """
    from training.aws.session import connect
    from training.errors import ConfigError

    from . import deploy as deployment
    from .kept import resolved

    if (archive is None) == (approved is None):
        raise ConfigError("deploy: give the FILE of an archive, or --approved GROUP")
    wanted = deployment.Wanted(endpoint, golden, not no_gate, report)
    aws = connect(EndpointOptions.from_texts(options))
    with _archive(aws, archive, approved) as path:
        live = None if dry_run and not _asked(aws) else _live(endpoint, aws)
        aws, kept = resolved(aws, options, live, adopt=adopt)
        if dry_run:
            made = deployment.prepare(_nowhere(aws), path, wanted, _note, send=False)
            typer.echo(json.dumps(deployment.requests(made, live), indent=1))
            return
        _tell(aws, kept, live is None)
        if not yes and not typer.confirm("deploy?", err=True):
            raise typer.Abort
        made = deployment.prepare(aws, path, wanted, typer.echo)
        deployment.deploy(made, live)
        if register:
            _register(aws, path, register)


@contextmanager
def _archive(aws: Aws[EndpointOptions], archive: Path | None, approved: str | None) -> Iterator[Path]:
    if archive is not None:
        from model_serving.errors import ArchiveError

        if not archive.is_file():
            raise ArchiveError(
                f"{archive} does not exist. Make one: python -m model_serving pack --output FILE, or train one"
            )
        yield archive
        return
    from .registry import newest_approved

    with TemporaryDirectory(prefix="whippet-approved-") as folder:
        yield newest_approved(aws, str(approved), Path(folder))


def _live(endpoint: str, aws: Aws[EndpointOptions]) -> dict[str, Any] | None:
    from .endpoint import describe, require_name

    require_name(endpoint)
    return describe(aws, endpoint)


def _asked(aws: Aws[EndpointOptions]) -> bool:
    """Whether there are credentials to look with; without them a dry run shows a first deployment."""
    if aws.boto.get_credentials() is not None:
        return True
    _note("note: without AWS credentials this is shown as a first deployment")
    return False


def _nowhere(aws: Aws[EndpointOptions]) -> Aws[EndpointOptions]:
    """Without a bucket of the user's: SageMaker's own would be made only to be named."""
    bucket = aws.options.bucket or f"sagemaker-{aws.region}-ACCOUNT"
    return replace(aws, options=replace(aws.options, bucket=bucket))


def _note(line: str) -> None:
    typer.echo(line, err=True)


def _tell(aws: Aws[EndpointOptions], kept: Mapping[str, Any], new: bool) -> None:
    from .package import PATCHES_ENDED
    from .prices import monthly

    if kept:
        flags = " ".join(f"--{name.replace('_', '-')} {as_text(value)}" for name, value in kept.items())
        typer.echo(f"kept from what is live: {flags}")
    if aws.options.runtime == "pytorch" and not aws.options.image_uri:
        typer.echo(PATCHES_ENDED)
    for line in monthly(aws, aws.options):
        typer.echo(line)
    if not new:
        typer.echo("      while it is updated, a candidate and the new machines run beside the old ones")


def _register(aws: Aws[EndpointOptions], archive: Path, group: str) -> None:
    from .registry import register

    typer.echo(f"registered: {register(aws, archive, group, say=typer.echo)}")
