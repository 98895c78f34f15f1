"""The options of the command line, declared once. Each is the type of a command's parameter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.output import Format

Paths = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="Files, folders, globs, http(s) URLs, or - for names on stdin."),
]
TopK = Annotated[int, typer.Option("--top-k", min=1, help="Labels for each photo.")]
Concurrency = Annotated[int, typer.Option("--concurrency", min=1, max=256, help="Photos under way at once.")]
LineFormat = Annotated[
    Format | None,
    typer.Option("--format", help="Default: by FILE's suffix; else table on a terminal, jsonl elsewhere."),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write the lines to FILE as they come."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite FILE if it exists.")]
NoShrink = Annotated[bool, typer.Option("--no-shrink", help="Send the files as they are, metadata included.")]
Url = Annotated[
    str | None,
    typer.Option("--url", help="The API's base URL. Else WHIPPET_URL, the profile file, a running stack."),
]
Key = Annotated[
    str | None,
    typer.Option("--api-key", help="The key of that URL. Else WHIPPET_API_KEY, the profile file."),
]
Profile = Annotated[
    str | None,
    typer.Option("--profile", help="Section of the profile file (WHIPPET_PROFILE_FILE) to use."),
]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for each answer.")]
Local = Annotated[bool, typer.Option("--local", help="Start a one-machine stack just for this run.")]
ModelFile = Annotated[
    str | None,
    typer.Option("--model", metavar="FILE", help="With --local: the model archive to serve."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no summary.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks, and log to stderr.")]
Results = Annotated[
    str, typer.Argument(metavar="SOURCE", help="Folder or s3:// prefix of the .out files, the --output of the job.")
]
Photos = Annotated[
    str | None,
    typer.Option("--photos", metavar="INPUT", help="Folder or s3:// prefix of the photos: each gets a line."),
]
Readers = Annotated[int, typer.Option("--concurrency", min=1, max=256, help="Results read at once.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
