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
from pathlib import Path
from typing import Annotated, Optional

import typer

from client.errors import ClientError, UsageError

SOME_FAILED, USAGE, NO_API, INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    help="Label photos through the API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# typer reads these annotations at run time, where Python 3.10 wants Optional for its own types
Url = Annotated[Optional[str], typer.Option("--url", help="The API's base URL. Else WHIPPET_URL, profile, running stack.")]
Key = Annotated[Optional[str], typer.Option("--api-key", help="Its key. Else WHIPPET_API_KEY, profile.")]
Profile = Annotated[Optional[str], typer.Option("--profile", help="Section of the profile file to use.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for an answer, a try.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and what goes over the wire.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def classify(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders, globs, URLs, or - for names on stdin.")],
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="Labels a photo.")] = 5,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, max=256, help="Photos under way at once.")] = 4,
    format: Annotated[Optional["Format"], typer.Option("--format", help="Default: a table on a terminal, else jsonl; with -o by suffix.")] = None,
    output: Annotated[Optional[Path], typer.Option("--output", "-o", metavar="FILE", help="Write the lines to FILE as they come.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    no_shrink: Annotated[bool, typer.Option("--no-shrink", help="Send files as they are, metadata included.")] = False,
    url: Url = None,
    api_key: Key = None,
    profile: Profile = None,
    timeout: Timeout = 30.0,
    local: Annotated[bool, typer.Option("--local", help="Start a one-machine stack just for this run.")] = False,
    model: Annotated[Optional[str], typer.Option("--model", metavar="FILE", help="With --local: the model archive to serve.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no summary.")] = False,
    debug: Debug = False,
) -> None:
    """Label photos: one line each, as they are done.

    Example: python -m client classify photos/ -o labels.jsonl
    """
    with _errors(debug), ExitStack() as stack:
        _check_local(local, model, url, api_key, profile)
        from client.api import Client
        from client.command import Batch, Job

        batch = Batch(Job.of(paths, output, format, top_k, quiet=quiet, force=force))
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
