"""Between the command line and the library: expected errors as one line and an exit code, and stacks for one run."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

from client.errors import ClientError, UsageError
from client.output import printable
from client.printing import INTERRUPTED, NO_API, SOME_FAILED, USAGE


@contextmanager
def errors(*, debug: bool, verbose: bool = False, quiet: bool = False) -> Iterator[None]:
    """Expected errors as one line and an exit code; with `debug` the traceback before it.

    The log goes to stderr: warnings, more with `verbose` and `debug`, nothing but errors with `quiet`.
    """
    import logging

    # Ours alone: AWS's own would write session tokens, and urllib3 signed addresses.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    level = "DEBUG" if debug else "INFO" if verbose else "ERROR" if quiet else "WARNING"
    logging.getLogger("client").setLevel(level)
    try:
        yield
    except ClientError as error:
        complain(f"{error.detail} {error.hint}", debug=debug)
        raise typer.Exit(USAGE if isinstance(error, UsageError) else NO_API) from None
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(SOME_FAILED) from None
    except OSError as error:
        complain(f"The results cannot be written: {error.strerror}. What is written stays; run it again.", debug=debug)
        raise typer.Exit(SOME_FAILED) from None
    except KeyboardInterrupt:
        complain("interrupted", debug=debug)
        raise typer.Exit(INTERRUPTED) from None


def complain(text: str, *, debug: bool = False) -> None:
    """One error to stderr, whatever is in it."""
    if debug:
        traceback.print_exc()
    shown = "\n".join(printable(line) for line in text.strip().split("\n"))
    print(f"error: {shown}", file=sys.stderr, flush=True)


def leave(code: int) -> None:
    """End now: threads that wait for an answer, a retry or a pipe would hold up a normal exit, or break it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # closed, by the shell or by who read it
            stream.flush()
    os._exit(code)


def check_local(local: bool, model: str | None, elsewhere: str | None) -> None:
    """UsageError where the options of a stack of one's own contradict each other."""
    if model is not None and not local:
        raise UsageError("--model goes with --local.", "Add --local, or drop --model.")
    if local and elsewhere:
        raise UsageError("--local starts its own API.", "Drop --url, --api-key and --profile, or drop --local.")
    if model is not None and not os.path.isfile(model):
        raise UsageError(f"There is no model archive {model}.", "Make one with `python -m model_serving pack`.")


@contextmanager
def own_stack(model: str | None, *, quiet: bool) -> Iterator[tuple[str, str]]:
    """URL and key of a stack that lives as long as this."""
    from client import local

    if not quiet and sys.stderr.isatty():
        print("starting a one-machine stack …", file=sys.stderr, flush=True)
    with local.started(model) as stack:
        yield stack.url, stack.api_key
