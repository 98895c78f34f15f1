"""`python -m local_stack up | samples`: parse, call one function, print."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import StackError
from .stack import KEY_VARIABLE, Description, Options, Stack

app = typer.Typer(help="The whole chain on one machine: no account, no Docker.", no_args_is_help=True)

WORKERS = max(2, min(8, (os.cpu_count() or 1) + 1))
"""One more than the endpoint works on: handlers mostly wait."""

Origins = Annotated[list[str] | None, typer.Option("--allow-origin", help="Web origin that may call; repeatable.")]


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
    allow_origin: Origins = None,
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
    stack = Stack(Options(archive, key, host, port, workers, tuple(allow_origin or ())))
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
        f"logs      {logs}\n\n"
        f"Try: python -m client classify photo.jpg\n"
        f"or:  curl -H 'x-api-key: {running.api_key}' -H 'Content-Type: image/jpeg' "
        f"--data-binary @photo.jpg {running.url}/v1/classify\n\n"
        "Ctrl-C stops it."
    )


@app.command()
def samples() -> None:
    """Print the paths of sample photos, one a line.

    python -m local_stack samples
    """
    from . import models

    for path in models.samples():
        typer.echo(path)


@app.command(hidden=True)
def gateway(
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 4,
    allow_origin: Origins = None,
) -> None:
    """The gateway part, started by `up` with its key and the function's environment."""
    from starlette.applications import Starlette

    from model_serving import hosting

    from . import template
    from .gateway import Gateway, application

    listener, url = hosting.bind(host, port)
    hosting.announce(json.dumps({"url": url}))
    hosting.end_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    origins = tuple(allow_origin or ())
    api = template.load(AllowedOrigins=",".join(origins))
    os.environ.update(api.environment)
    served = Gateway(api, os.environ.pop(KEY_VARIABLE), workers, origins)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await served.warm()
        yield
        served.close()

    routes: Any = application(served).routes
    hosting.run(Starlette(routes=routes, lifespan=lifespan), listener)
