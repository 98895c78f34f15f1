"""`python -m model_serving pack | check | serve`, and what is about AWS: parse, call one function, print."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from .aws import deploy_cli, manage_cli

app = typer.Typer(help="Model archives: make one, prove that it works, serve it.", no_args_is_help=True)
app.add_typer(deploy_cli.app)
app.add_typer(manage_cli.app)


def main() -> None:
    """Run the command line; expected errors are one line and exit 1."""
    from .errors import ServingError

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except ServingError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        # ClassifierError lives beside torch, which is only imported once a command has needed it; AWS's errors are
        # shared with training.
        if type(error).__module__.endswith(("classifier.errors", "training.errors", "training.aws.errors")):
            _fail(str(error))
        raise


def _fail(message: str) -> None:
    typer.echo(f"error: {message}", err=True)
    sys.exit(1)


@app.command()
def pack(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the model.tar.gz goes.")],
    weights: Annotated[Path | None, typer.Option(help="A state_dict saved by torch.save.")] = None,
    spec: Annotated[Path | None, typer.Option(help="A model.json: name, backbone, classes, …")] = None,
) -> None:
    """Pack an archive; without --weights and --spec the default ImageNet model.

    python -m model_serving pack --output model.tar.gz
    """
    from . import archive, defaults
    from .classifier import pretrained, read_weights
    from .classifier.network import LITE0

    if (weights is None) != (spec is None):
        raise typer.BadParameter("--weights and --spec go together", param_hint="--weights/--spec")
    if weights and spec:
        packed = archive.pack(defaults.complete_spec(spec), read_weights(weights), output)
    else:
        packed = archive.pack(defaults.default_spec(), pretrained.weights(LITE0), output)
    size = output.stat().st_size / 1e6
    typer.echo(f"{output}: {packed.name} {packed.version}, {len(packed.classes)} classes, {size:.1f} MB")


@app.command()
def check(
    archive: Annotated[Path, typer.Argument(help="A model.tar.gz.", metavar="FILE")],
) -> None:
    """Open an archive, run its hooks as a container would, report every check; exit 1 if one fails.

    python -m model_serving check model.tar.gz
    """
    from .doctor import examine

    failed = total = 0
    for result in examine(archive):
        total += 1
        failed += not result.ok
        detail = f": {result.detail}" if result.detail else ""
        typer.echo(f"{'ok  ' if result.ok else 'FAIL'} {result.name}{detail}")
    typer.echo(f"{total - failed} of {total} checks passed")
    raise typer.Exit(1 if failed else 0)


class Engine(str, Enum):
    """What serves an archive here."""

    WHIPPET = "whippet"
    RAY = "ray"


ONLY = {Engine.WHIPPET: ("workers", "queue", "name"), Engine.RAY: ("replicas", "cpus", "gpus", "threads", "address")}
"""Options of `serve` that one engine alone obeys."""


@app.command()
def serve(
    context: typer.Context,
    archive: Annotated[Path, typer.Argument(help="A model.tar.gz.", metavar="FILE")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8080,
    workers: Annotated[int, typer.Option(help="Requests worked on at once.", min=1)] = 8 * (os.cpu_count() or 1),
    queue: Annotated[int, typer.Option(help="Requests that may wait; more get 503.", min=0)] = 100,
    name: Annotated[str, typer.Option(help="Name of the endpoint.")] = "whippet",
    engine: Annotated[
        Engine, typer.Option(help="Our own server, or Ray Serve, which also runs on a cluster.")
    ] = Engine.WHIPPET,
    replicas: Annotated[str, typer.Option(help="With Ray: MIN:MAX copies of the model, by what waits.")] = "1:1",
    cpus: Annotated[float, typer.Option(help="With Ray: CPUs that a replica reserves.", min=0)] = 1,
    gpus: Annotated[float, typer.Option(help="With Ray: GPUs of a replica; 0.25 is four on one.", min=0)] = 0,
    threads: Annotated[int, typer.Option(help="With Ray: threads of a replica's network; 0 is all.", min=0)] = 0,
    address: Annotated[str, typer.Option(help="With Ray: a running cluster, as auto or HOST:6379.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Say the address as one JSON line.")] = False,
    with_parent: Annotated[bool, typer.Option(help="Stop when standard input closes.", hidden=True)] = False,
) -> None:
    """Serve an archive on this machine with SageMaker's wire shape, until Ctrl-C.

    python -m model_serving serve model.tar.gz --port 8080
    """
    from . import deployment, hosting
    from .archive import unpacked
    from .errors import ArchiveError

    other = Engine.RAY if engine is Engine.WHIPPET else Engine.WHIPPET
    if idle := next((name for name in ONLY[other] if _typed(context, name)), None):
        raise typer.BadParameter(f"it is for --engine {other.value}", param_hint=f"--{idle}")
    if not archive.is_file():
        raise ArchiveError(f"{archive} does not exist. Make one: python -m model_serving pack --output FILE")
    if engine is Engine.RAY:
        wanted = deployment.Replicas.of(replicas, cpus=cpus, gpus=gpus, threads=threads)
        raise typer.Exit(deployment.serve(archive, host, port, wanted, address))
    listener, url = hosting.bind(host, port)
    # The address is told before the model is loaded: what depends on it can start meanwhile.
    hosting.announce(json.dumps({"url": url, "name": name}) if as_json else f"{url}/invocations (loading …)")
    if with_parent:
        hosting.end_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    with unpacked(archive) as folder:
        _serve(folder, listener, workers, queue, name)


def _typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _serve(folder: Path, listener: socket.socket, workers: int, queue: int, name: str) -> None:
    from . import hosting
    from .server import Hooks, application

    hosting.run(application(Hooks(folder), workers, queue, name), listener)
