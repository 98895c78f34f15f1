"""`python -m training data check | fetch`: parse, call one function, print."""

from __future__ import annotations

import enum
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from .defaults import DOG_IMAGES_URL, NEAR_BITS, URL_VARIABLE

app = typer.Typer(help="Labelled photos: look them over, or fetch the reference set.", no_args_is_help=True)


class Known(str, enum.Enum):
    """Data sets that can be fetched by name."""

    dogImages = "dogImages"


@app.command()
def check(
    folder: Annotated[
        Path, typer.Argument(help="Folder of class folders, or with train/ valid/ test/.", metavar="DIR")
    ],
    split_seed: Annotated[int, typer.Option(help="Seed of the split, where one is made.")] = 0,
    split_file: Annotated[Path | None, typer.Option(help="A split that training wrote down.")] = None,
    near: Annotated[
        int, typer.Option(help="Bits of 255 in which photos nearly the same differ; -1 finds copies only.", min=-1)
    ] = NEAR_BITS,
    everything: Annotated[bool, typer.Option("--all", help="Show all classes and all names.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON instead.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the report as JSON, too.")] = None,
) -> None:
    """Read every photo and tell what would spoil training; exit 1 if something would.

    python -m training data check dogImages
    """
    from . import screen
    from .check import check as check_folder
    from .jsonfile import to_json, write_json

    with screen.counting() as progress:
        report = check_folder(folder, seed=split_seed, split_file=split_file, near_bits=near, progress=progress)
    if output:
        write_json(report.as_dict(), output)
    if as_json:
        typer.echo(to_json(report.as_dict()))
    else:
        screen.show(report, screen.console(sys.stdout), everything)
    raise typer.Exit(0 if report.ok else 1)


@app.command()
def fetch(
    name: Annotated[Known, typer.Argument(help="dogImages: Udacity's 133 dog breeds, 8,351 photos.", metavar="NAME")],
    folder: Annotated[Path, typer.Argument(help="Where the photos go; must be missing or empty.", metavar="DIR")],
    url: Annotated[str, typer.Option(help="Address of the zip.", envvar=URL_VARIABLE)] = DOG_IMAGES_URL,
    sha256: Annotated[str | None, typer.Option(help="Demand this SHA-256 of the zip, 64 hex digits.")] = None,
) -> None:
    """Download labelled photos and unpack them; run it again to go on after an interruption.

    python -m training data fetch dogImages dogImages
    """
    from . import screen
    from .fetch import fetch as fetch_folder

    with screen.transferring() as progress:
        fetched = fetch_folder(folder, url=url, sha256=sha256, progress=progress, tell=_note)
    done = "is complete already" if fetched.already else f"holds {name.value} now"
    typer.echo(f"{folder} {done}; SHA-256 of the zip: {fetched.sha256}\nnext:")
    typer.echo(f"  python -m training data check {shlex.quote(str(folder))}")
    typer.echo(f"  python -m training fit --data {shlex.quote(str(folder))}")


def _note(text: str) -> None:
    typer.echo(text, err=True)
