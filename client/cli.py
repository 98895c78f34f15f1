"""The command line: read the options, make one library call, print.

Exit codes: 0 all classified, 1 some photos failed, 2 usage, 3 API unreachable or key refused,
130 interrupted. Heavy modules are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import dataclasses
import io
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import typer

from client import options
from client.errors import UsageError
from client.output import json_line, printable
from client.settings import DEFAULT_CONCURRENCY, DEFAULT_PATIENCE, DEFAULT_TIMEOUT
from client.shell import check_local, errors, leave, own_stack
from client.sorting import How
from lambda_api.schema import DEFAULT_TOP_K

if TYPE_CHECKING:
    from client.api import Client

app = typer.Typer(
    help="Label photos through the API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "WHIPPET"},
)


@app.command()
def classify(
    paths: options.Paths = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    files_from: options.FilesFrom = None,
    since: options.Since = None,
    hidden: options.Hidden = False,
    top_k: options.TopK = DEFAULT_TOP_K,
    lines: options.LineFormat = None,
    output: options.Output = None,
    force: options.Force = False,
    retry_failed: options.RetryFailed = False,
    no_shrink: options.NoShrink = False,
    sort_into: options.SortInto = None,
    how: options.HowToSort = How.link,
    gallery: options.Gallery = None,
    keywords: options.Keywords = None,
    min_confidence: options.MinConfidence = None,
    only: options.Only = None,
    summary: options.Summary = False,
    dry_run: options.DryRun = False,
    max_failures: options.MaxFailures = None,
    url: options.Url = None,
    api_key: options.Key = None,
    profile: options.Profile = None,
    timeout: options.Timeout = DEFAULT_TIMEOUT,
    patience: options.Patience = DEFAULT_PATIENCE,
    concurrency: options.Concurrency = DEFAULT_CONCURRENCY,
    rate: options.Rate = None,
    local: options.Local = False,
    model: options.ModelFile = None,
    quiet: options.Quiet = False,
    json: options.JsonSummary = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Label photos: one line each, as they are done. With -o FILE.jsonl the same command goes on where it ended.

    Example: python -m client classify photos/ -o labels.jsonl
    """
    with errors(debug=debug, verbose=verbose, quiet=quiet or json), ExitStack() as stack:
        check_local(local, model, url or api_key or profile)
        from client.after import Wishes
        from client.command import Batch, Choices, MaxFailures
        from client.printing import Printing
        from client.rules import Rules, parse_since
        from client.sources import Listing
        from client.views import Filter, LabelCounts

        after = parse_since(since, time.time()) if since else None
        rules = Rules(tuple(include or ()), tuple(exclude or ()), after, hidden)
        listing = partial(Listing, _paths(paths, files_from), rules, files_from)
        printing = Printing.of(output, lines, top_k, quiet=quiet, force=force, json=json)
        wanted = Filter(min_confidence, frozenset(only or ()))
        wishes = Wishes(wanted, sort_into, how, gallery, keywords, force, timeout)
        stop_at = MaxFailures.parse(max_failures) if max_failures else None
        choices = Choices(retry_failed, stop_at, wishes, LabelCounts() if summary else None)
        pace = {"timeout": timeout, "patience": patience, "concurrency": concurrency, "rate": rate}
        if dry_run:
            from client.estimate import tell

            tell(
                listing(),
                url,
                api_key,
                profile,
                shrink=not no_shrink,
                json=json,
                top_k=top_k,
                journal=output if printing.is_journal and not force else None,
                retry_failed=retry_failed,
                **pace,
            )
            raise typer.Exit
        sources = listing()
        batch = Batch(printing, choices, sources)
        if local:
            url, api_key = stack.enter_context(own_stack(model, quiet=quiet))
        client = stack.enter_context(_connected(url, api_key, profile, shrink=not no_shrink, top_k=top_k, **pace))
        code = batch.run(client, count=listing() if sources.cheap and not quiet and not json else None)
    raise typer.Exit(code)


@app.command()
def watch(
    folder: options.Watched,
    include: options.Include = None,
    exclude: options.Exclude = None,
    hidden: options.Hidden = False,
    settle: options.Settle = 2.0,
    poll: options.Poll = None,
    top_k: options.TopK = DEFAULT_TOP_K,
    lines: options.LineFormat = None,
    output: options.Output = None,
    force: options.Force = False,
    no_shrink: options.NoShrink = False,
    min_confidence: options.MinConfidence = None,
    only: options.Only = None,
    url: options.Url = None,
    api_key: options.Key = None,
    profile: options.Profile = None,
    timeout: options.Timeout = DEFAULT_TIMEOUT,
    patience: options.Patience = DEFAULT_PATIENCE,
    concurrency: options.Concurrency = DEFAULT_CONCURRENCY,
    rate: options.Rate = None,
    local: options.Local = False,
    model: options.ModelFile = None,
    quiet: options.Quiet = False,
    json: options.JsonSummary = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Label the photos in a folder, then new ones as they arrive, until Ctrl-C.

    Example: python -m client watch incoming/ -o labels.jsonl
    """
    with errors(debug=debug, verbose=verbose, quiet=quiet or json), ExitStack() as stack:
        check_local(local, model, url or api_key or profile)
        from client import watching
        from client.after import Wishes
        from client.command import Batch, Choices
        from client.printing import Printing
        from client.rules import Rules
        from client.views import Filter

        rules = Rules(tuple(include or ()), tuple(exclude or ()), None, hidden)
        printing = Printing.of(output, lines, top_k, quiet=quiet, force=force, json=json)
        batch = Batch(printing, Choices(wishes=Wishes(Filter(min_confidence, frozenset(only or ())))))
        stop = threading.Event()
        sources = watching.watch(folder, rules=rules, settle=settle, poll=poll, stop=stop)
        if local:
            url, api_key = stack.enter_context(own_stack(model, quiet=quiet))
        pace = {"top_k": top_k, "timeout": timeout, "patience": patience, "concurrency": concurrency, "rate": rate}
        client = stack.enter_context(_connected(url, api_key, profile, shrink=not no_shrink, **pace))
        stack.callback(stop.set)
        code = batch.run(client, sources)
    raise typer.Exit(code)


@app.command()
def results(
    source: options.Results,
    photos: options.Photos = None,
    lines: options.LineFormat = None,
    output: options.Output = None,
    force: options.Force = False,
    sort_into: options.SortInto = None,
    how: options.HowToSort = How.link,
    gallery: options.Gallery = None,
    keywords: options.Keywords = None,
    min_confidence: options.MinConfidence = None,
    only: options.Only = None,
    failed: options.Failed = False,
    summary: options.Summary = False,
    concurrency: options.Readers = 32,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Make a table, CSV, JSON Lines, Parquet, a page or folders of results that are there.

    SOURCE is what `classify -o` wrote, or what a Batch Transform job left, whose lines come sorted by path.

    Example: python -m client results labels.jsonl --format csv -o labels.csv
    """
    with errors(debug=debug):
        from client.after import Wishes
        from client.saved import Saved
        from client.views import Filter

        wanted = Filter(min_confidence, frozenset(only or ()), failed)
        wishes = Wishes(wanted, sort_into, how, gallery, keywords, force)
        saved = Saved(source, photos, concurrency, wishes, summary=summary)
        code = saved.run(output, lines, quiet=quiet, force=force)
    raise typer.Exit(code)


@app.command()
def undo(file: options.UndoFile, debug: options.Debug = False) -> None:
    """Take back what --sort-into did: moved photos go back, links and copies go away.

    Example: python -m client undo sorted/undo.jsonl
    """
    with errors(debug=debug):
        from client import undoing

        undone = undoing.undo(file)
        typer.echo(undone.summary(), err=True)
    raise typer.Exit(1 if undone.problems else 0)


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
    with errors(debug=debug), _connected(url, api_key, profile, timeout=timeout) as client:
        answer = client.health()
        where = client.url
    if json:
        _print_json(answer)
    else:
        name, version = printable(answer.model.name), printable(answer.model.version)
        typer.echo(f"ok: {name} {version} answers at {where}")


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
    with errors(debug=debug), _connected(url, api_key, profile, timeout=timeout) as client:
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
    from client.printing import INTERRUPTED

    for name in ("SIGTERM", "SIGHUP"):  # end a run as cleanly as Ctrl-C does, a stack of --local included
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup has its way
            signal.signal(number, signal.default_int_handler)
    warnings.filterwarnings("ignore", module=r"PIL\b")  # about broken metadata, between the result lines
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where the shell has closed it
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except KeyboardInterrupt:
        leave(INTERRUPTED)
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else int(end.code is not None))


@contextmanager
def _connected(url: str | None, api_key: str | None, profile: str | None, **pace: object) -> Iterator[Client]:
    from client.api import Client

    with Client(url, api_key, profile=profile, **pace) as client:  # type: ignore[arg-type]  # typed by the options
        if "top_k" in pace:
            client.preflight()
        yield client


def _paths(paths: list[str] | None, files_from: str | None) -> list[str]:
    if not paths and files_from is None:
        raise UsageError("There is no PATH.", "Name files or folders, or --files-from FILE.")
    return paths or []


def _print_json(value: object) -> None:
    typer.echo(json_line(dataclasses.asdict(value)))  # type: ignore[call-overload]  # a dataclass of the contract
