"""The options of the command line, declared once. Each is the type of a command's parameter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client import settings
from client.keywords import KeywordPlace
from client.output import Format
from client.sorting import How

_CHOICE, _RESULTS, _API = "Which photos", "What becomes of results", "API and pace"

Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATH...",
        help="Files, folders, globs, .zip and .tar archives, s3:// prefixes, http(s) URLs, or - for names on stdin.",
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include", metavar="GLOB", help="Only photos that match one, as in .gitignore.", rich_help_panel=_CHOICE
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="GLOB", help="No photos that match one.", rich_help_panel=_CHOICE),
]
FilesFrom = Annotated[
    str | None,
    typer.Option(
        "--files-from",
        metavar="FILE",
        help="Names from FILE (- is stdin), one a line or separated by NUL.",
        rich_help_panel=_CHOICE,
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Only photos changed since 2026-11-01, or for 36h, 2d, 3w.",
        rich_help_panel=_CHOICE,
    ),
]
Hidden = Annotated[bool, typer.Option("--hidden", help="Hidden files and folders too.", rich_help_panel=_CHOICE)]
TopK = Annotated[int, typer.Option("--top-k", min=1, help="Labels for each photo.")]
LineFormat = Annotated[
    Format | None,
    typer.Option(
        "--format",
        envvar=[f"WHIPPET_{command}_FORMAT" for command in ("CLASSIFY", "WATCH", "RESULTS")],
        show_envvar=False,
        help="Default: by FILE's suffix; else table on a terminal, jsonl elsewhere.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Lines to FILE as they come. JSON Lines are gone on with."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite FILE if it exists.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Photos that failed before once more.")]
NoShrink = Annotated[bool, typer.Option("--no-shrink", help="Send the files as they are, metadata included.")]
SortInto = Annotated[
    Path | None,
    typer.Option("--sort-into", metavar="DIR", help="Photos into a folder for each label.", rich_help_panel=_RESULTS),
]
HowToSort = Annotated[How, typer.Option("--how", help="How they get there.", rich_help_panel=_RESULTS)]
MinConfidence = Annotated[
    float | None,
    typer.Option("--min-confidence", min=0, max=1, help="Only photos with this score.", rich_help_panel=_RESULTS),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="LABEL", help="Only photos with this label.", rich_help_panel=_RESULTS),
]
Gallery = Annotated[
    Path | None,
    typer.Option("--gallery", metavar="FILE", help="One HTML page to look at them all.", rich_help_panel=_RESULTS),
]
Keywords = Annotated[
    KeywordPlace | None,
    typer.Option("--keywords", help="Labels as keywords, beside the photos or inside them.", rich_help_panel=_RESULTS),
]
Summary = Annotated[
    bool, typer.Option("--summary", help="At the end, how many photos have which label.", rich_help_panel=_RESULTS)
]
Failed = Annotated[
    bool, typer.Option("--failed", help="Only photos that have no labels, and why.", rich_help_panel=_RESULTS)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Send nothing: say how many, how long, for how much.")]
MaxFailures = Annotated[
    str | None, typer.Option("--max-failures", metavar="N|P%", help="Stop when more photos fail than that.")
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url", help="The API's base URL. Else WHIPPET_URL, the profile file, a running stack.", rich_help_panel=_API
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--api-key", help="The key of that URL. Else WHIPPET_API_KEY, the profile file.", rich_help_panel=_API
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        help="Section of the profile file (WHIPPET_PROFILE_FILE) to use.",
        is_eager=True,
        callback=settings.defaults_from_profile,
        rich_help_panel=_API,
    ),
]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.1, max=86_400, help="Seconds to wait for each answer.", rich_help_panel=_API)
]
Patience = Annotated[
    float, typer.Option("--patience", min=0, help="Seconds to wait for an API that is down.", rich_help_panel=_API)
]
Concurrency = Annotated[
    int, typer.Option("--concurrency", min=1, max=256, help="Requests under way at most.", rich_help_panel=_API)
]
Rate = Annotated[float | None, typer.Option("--rate", min=0.01, help="Photos a second at most.", rich_help_panel=_API)]
Local = Annotated[
    bool, typer.Option("--local", help="Start a one-machine stack just for this run.", rich_help_panel=_API)
]
ModelFile = Annotated[
    str | None,
    typer.Option("--model", metavar="FILE", help="With --local: the model archive to serve.", rich_help_panel=_API),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say on stderr what the run decides.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks, and log to stderr.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JsonSummary = Annotated[bool, typer.Option("--json", help="Lines and summary as JSON.")]
Results = Annotated[
    str,
    typer.Argument(metavar="SOURCE", help="A file of results, or a folder or s3:// prefix of a job's .out files."),
]
Photos = Annotated[
    str | None,
    typer.Option("--photos", metavar="INPUT", help="Folder or s3:// prefix of the photos: each gets a line."),
]
Readers = Annotated[int, typer.Option("--concurrency", min=1, max=256, help="Results read at once.")]
UndoFile = Annotated[Path, typer.Argument(metavar="FILE", help="The undo file of --sort-into, or its folder.")]
Watched = Annotated[Path, typer.Argument(metavar="DIR", help="The folder whose new photos are classified.")]
Settle = Annotated[float, typer.Option("--settle", min=0, help="Seconds a file must stand still first.")]
Poll = Annotated[
    float | None, typer.Option("--poll", min=0.1, help="Look every so many seconds: for disks on the network.")
]
