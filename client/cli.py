"""The command line: read the options, make one library call, print.

Exit codes: 0 all classified, 1 some photos failed, 2 usage, 3 API unreachable or key refused,
130 interrupted. Heavy modules are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import typer

from client import options
from client.errors import ClientError, UsageError
from client.output import json_line, printable
from client.settings import DEFAULT_CONCURRENCY, DEFAULT_TIMEOUT
from lambda_api.schema import DEFAULT_TOP_K

if TYPE_CHECKING:
    from client.api import Client

SOME_FAILED, USAGE, NO_API, INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    help="Label photos through the API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def classify(
    paths: options.Paths,
    top_k: options.TopK = DEFAULT_TOP_K,
    concurrency: options.Concurrency = DEFAULT_CONCURRENCY,
    lines: options.LineFormat = None,
    output: options.Output = None,
    force: options.Force = False,
    no_shrink: options.NoShrink = False,
    url: options.Url = None,
    api_key: options.Key = None,
    profile: options.Profile = None,
    timeout: options.Timeout = DEFAULT_TIMEOUT,
    local: options.Local = False,
    model: options.ModelFile = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Label photos: one line each, as they are done.

    Example: python -m client classify photos/ -o labels.jsonl
    """
    with _errors(debug), ExitStack() as stack:
        _check_local(local, model, url or api_key or profile)
        from client.api import Client
        from client.command import Batch, Job

        batch = Batch(Job.of(paths, output, lines, top_k, quiet=quiet, force=force))
        if local:
            url, api_key = stack.enter_context(_own_stack(model, quiet))
        client = stack.enter_context(
            Client(
                url,
                api_key,
                profile=profile,
                top_k=top_k,
                concurrency=concurrency,
                timeout=timeout,
                shrink=not no_shrink,
            )
        )
        client.preflight()
        code = batch.run(client)
    raise typer.Exit(code)


@app.command()
def results(
    source: options.Results,
    photos: options.Photos = None,
    lines: options.LineFormat = None,
    output: options.Output = None,
    force: options.Force = False,
    concurrency: options.Readers = 32,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Turn what a Batch Transform job left into the lines of `classify`, sorted by path.

    Example: python -m client results s3://bucket/labels --photos s3://bucket/photos -o labels.jsonl
    """
    with _errors(debug):
        from client.command import Job
        from client.output import check_file
        from client.transform_results import Results

        job = Job.of([], output, lines, DEFAULT_TOP_K, quiet=quiet, force=force)
        if output is not None:
            check_file(output, force=force)
        code = Results(source, photos, concurrency).run(job)
    raise typer.Exit(code)


@app.command()
def health(
    url: options.Url = None,
    api_key: options.Key = None,
    profile: options.Profile = None,
    timeout: options.Timeout = DEFAULT_TIMEOUT,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Say whether the API and its model endpoint answer.

    Example: python -m client health
    """
    with _client(url, api_key, profile, timeout, debug) as client:
        answer = client.health()
    if json:
        _print_json(answer)
    else:
        name, version = printable(answer.model.name), printable(answer.model.version)
        typer.echo(f"ok: {name} {version} answers at {client.url}")


@app.command()
def model(
    url: options.Url = None,
    api_key: options.Key = None,
    profile: options.Profile = None,
    timeout: options.Timeout = DEFAULT_TIMEOUT,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Describe the model, its classes and the API's limits.

    Example: python -m client model --json
    """
    with _client(url, api_key, profile, timeout, debug) as client:
        answer = client.model()
    if json:
        _print_json(answer)
        return
    some = ", ".join(printable(c.label) for c in answer.classes[:5])
    limits = answer.limits
    typer.echo(f"model    {printable(answer.name)}\nversion  {printable(answer.version)}")
    typer.echo(f"classes  {len(answer.classes):,}: {some}{' …' if len(answer.classes) > 5 else ''}")
    typer.echo(f"input    shorter side {answer.input.resize} px, centre {answer.input.crop} px")
    sizes = f"{limits.image_bytes:,} bytes and {limits.pixels:,} pixels a photo"
    typer.echo(f"limits   {sizes}, top {limits.top_k:,}")


def main() -> None:
    """Run the command line of this process and end it with its exit code."""
    for name in ("SIGTERM", "SIGHUP"):  # end a run as cleanly as Ctrl-C does, a stack of --local included
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup has its way
            signal.signal(number, signal.default_int_handler)
    warnings.filterwarnings("ignore", module=r"PIL\b")  # about broken metadata, between the result lines
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a text file in a process
    try:
        app()
    except KeyboardInterrupt:
        _leave(INTERRUPTED)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _leave(INTERRUPTED)
        raise


def _leave(code: int) -> None:
    """End now: threads that wait for an answer or a retry would hold up a normal exit for minutes."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def _client(url: str | None, api_key: str | None, profile: str | None, timeout: float, debug: bool) -> Iterator[Client]:
    with _errors(debug):
        from client.api import Client

        with Client(url, api_key, profile=profile, timeout=timeout) as client:
            yield client


@contextmanager
def _errors(debug: bool) -> Iterator[None]:
    """Expected errors as one line and an exit code; with `debug` the traceback before it."""
    if debug:
        import logging

        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    try:
        yield
    except ClientError as error:
        _complain(f"{error.detail} {error.hint}", debug)
        raise typer.Exit(USAGE if isinstance(error, UsageError) else NO_API) from None
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(SOME_FAILED) from None
    except OSError as error:
        _complain(f"The results cannot be written: {error.strerror}.", debug)
        raise typer.Exit(SOME_FAILED) from None
    except KeyboardInterrupt:
        _complain("interrupted", debug)
        raise typer.Exit(INTERRUPTED) from None


def _complain(text: str, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    shown = "\n".join(printable(line) for line in text.strip().split("\n"))
    print(f"error: {shown}", file=sys.stderr, flush=True)


def _check_local(local: bool, model: str | None, elsewhere: str | None) -> None:
    if model is not None and not local:
        raise UsageError("--model goes with --local.", "Add --local, or drop --model.")
    if local and elsewhere:
        raise UsageError("--local starts its own API.", "Drop --url, --api-key and --profile, or drop --local.")
    if model is not None and not os.path.isfile(model):
        raise UsageError(f"There is no model archive {model}.", "Make one with `python -m model_serving pack`.")


@contextmanager
def _own_stack(model: str | None, quiet: bool) -> Iterator[tuple[str, str]]:
    from client import local

    if not quiet and sys.stderr.isatty():
        print("starting a one-machine stack …", file=sys.stderr, flush=True)
    with local.started(model) as stack:
        yield stack.url, stack.api_key


def _print_json(value: object) -> None:
    typer.echo(json_line(dataclasses.asdict(value)))  # type: ignore[call-overload]  # a dataclass of the contract
