"""`python -m local_stack up | samples`: parse, call one function, print."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from . import parts
from .errors import StackError
from .stack import KEY_VARIABLE, Description, Options, Stack

app = typer.Typer(help="The whole chain on one machine: no account, no Docker.", no_args_is_help=True)

WORKERS = max(2, min(8, (os.cpu_count() or 1) + 1))
"""One more than the endpoint works on: handlers mostly wait."""


def main() -> None:
    """Run the command line; expected errors are one line and exit 1."""
    from model_serving.errors import ServingError

    try:
        app()
    except (StackError, ServingError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)  # stopped before it was ready


@app.command()
def up(
    model: Annotated[Path | None, typer.Option(help="A model.tar.gz; the default model without it.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the API; 0 takes a free one.", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Requests worked on at once.", min=1)] = WORKERS,
    api_key: Annotated[
        str | None, typer.Option(envvar=KEY_VARIABLE, help="The API's key; made up if left out.")
    ] = None,
    allow_origin: parts.Origins = None,
    webhook_origin: parts.WebhookOrigins = None,
    no_jobs: Annotated[bool, typer.Option("--no-jobs", help="Without uploads and jobs: less to start.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Say it as one JSON line when ready.")] = False,
) -> None:
    """Start endpoint and API, say how to reach them, run until Ctrl-C.

    python -m local_stack up
    """
    from .models import default_archive

    stops = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    for number in stops:
        signal.signal(number, signal.default_int_handler)
    archive = (model or default_archive()).absolute()
    if not archive.is_file():
        raise StackError(f"{archive} does not exist. Make one: python -m model_serving pack --output FILE")
    key = api_key or secrets.token_urlsafe(24)
    origins, webhooks = tuple(allow_origin or ()), tuple(webhook_origin or ())
    stack = Stack(Options(archive, key, host, port, workers, origins, webhooks, not no_jobs))
    for number in stops:
        signal.signal(number, lambda *_: stack.request_stop())
    failed = True
    try:
        _tell(stack.start(), stack.logs, as_json)
        stack.wait()
        failed = False
    except StackError as error:
        raise StackError(f"{error}\nThe stack has stopped; its logs are in {stack.logs}") from None
    finally:
        stack.stop()
        stack.discard(keep_logs=failed)


def _tell(running: Description, logs: Path, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(running)))
        return
    typer.echo(
        f"API       {running.url}\n"
        f"key       {running.api_key}\n"
        f"endpoint  {running.endpoint_url}/invocations\n"
        f"model     {running.model}\n"
        f"{_storage(running)}"
        f"logs      {logs}\n\n"
        f"Try: python -m client classify photo.jpg\n"
        f"or:  curl -H 'x-api-key: {running.api_key}' -H 'Content-Type: image/jpeg' "
        f"--data-binary @photo.jpg {running.url}/v1/classify\n\n"
        "Ctrl-C stops it."
    )


def _storage(running: Description) -> str:
    secret = running.webhook_secret
    lines = {"storage": running.storage_url, "webhooks": secret and f"signed with {secret}"}
    return "".join(f"{name:<10}{value}\n" for name, value in lines.items() if value)


@app.command()
def samples() -> None:
    """Print the paths of sample photos, one a line.

    python -m local_stack samples
    """
    from . import models

    for path in models.samples():
        typer.echo(path)


parts.register(app)
