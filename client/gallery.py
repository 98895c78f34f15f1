"""One HTML page to look at results: thumbnails, filters by label, score and decision, and what failed.

The page stands alone: thumbnails, style and script are inside, and a policy forbids it every request. Photos come in
groups of two data blocks each, their facts as JSON and their thumbnails as lines of base64, which the page decodes when
they come into view; gallery.js makes elements only for what can be seen.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO
from urllib.parse import quote

from client import files, pool, sources
from client.errors import ClientError
from client.output import json_line, printable
from client.results import Outcome
from client.thumbnails import thumbnail

GROUP = 100
"""Photos in a group: the page decodes the thumbnails of a whole one, some 0.4 MB, when it shows the first of them."""

PREDICTIONS = 20
"""Labels of a photo in the page at most; of the others it says how many there are."""

_DATA = "<!-- photos -->"

_MADE_HERE, _HEAD_BYTES = b'<meta name="generator" content="whippet">', 1 << 14
"""What a page says of its origin, and within how many bytes."""


def is_page(path: Path) -> bool:
    """Whether a file is a page that was made here; False where it cannot be read."""
    try:
        with open(path, "rb") as page:
            return _MADE_HERE in page.read(_HEAD_BYTES)
    except OSError:
        return False


def write(
    outcomes: Iterable[Outcome],
    path: Path,
    *,
    force: bool,
    timeout: float = 30.0,
    concurrency: int = 4,
    progress: Callable[[], None] | None = None,
) -> int:
    """Write the page whole or not at all, and return how many photos are in it; some 4.5 kB each.

    Thumbnails are made of the photos where their names say they are, in `concurrency` threads; one that cannot be had
    has the reason in its place. `timeout` in seconds is for photos named by URL, `progress` is called after each
    photo. UsageError where the file exists and `force` is off, or where it cannot be written.
    """
    head, foot = _frame()
    work = partial(_tile, folder=os.path.abspath(path.parent), timeout=timeout)
    with files.in_place_of(path, force=force) as part, closing(pool.in_order(work, outcomes, concurrency)) as tiles:
        with open(part, "w", encoding="utf-8", newline="\n") as page:
            page.write(head)
            photos = sum(_write_group(page, group) for group in _groups(_told(tiles, progress)))
            page.write(foot)
    return photos


class _Tile(NamedTuple):
    """What the page knows of a photo, and its thumbnail in base64, empty where there is none."""

    facts: dict[str, Any]
    thumbnail: str


def _frame() -> tuple[str, str]:
    """The page before and after its photos. Only our own script and style run: the policy has their hashes."""
    style, script = _asset("gallery.css"), _asset("gallery.js")
    policy = (
        f"default-src 'none'; img-src data:; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    page = _asset("gallery.html")
    for name, text in (("policy", policy), ("style", style), ("script", script)):
        page = page.replace(f"<!-- {name} -->", text)
    head, _, foot = page.partition(_DATA)
    return head, foot


def _asset(name: str) -> str:
    return resources.files("client").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _groups(tiles: Iterator[_Tile]) -> Iterator[list[_Tile]]:
    return iter(lambda: list(islice(tiles, GROUP)), [])


def _told(tiles: Iterator[_Tile], progress: Callable[[], None] | None) -> Iterator[_Tile]:
    for tile in tiles:
        if progress is not None:
            progress()
        yield tile


def _write_group(page: TextIO, tiles: list[_Tile]) -> int:
    facts = json_line([tile.facts for tile in tiles]).replace("<", "\\u003c")  # no name can end the element
    page.write(f'<script type="application/json" class="facts">{facts}</script>\n')
    thumbnails = "\n".join(tile.thumbnail for tile in tiles)
    page.write(f'<script type="text/plain" class="pictures">{thumbnails}</script>\n')
    return len(tiles)


def _tile(outcome: Outcome, folder: str, timeout: float) -> _Tile:
    facts = _facts(outcome, folder)
    if not outcome.ok and outcome.sha256 is None:
        return _Tile(facts, "")  # it could not be read then: a photo behind a dead URL would cost its timeout once more
    try:
        data = sources.read_again(outcome.path, timeout)
        small = thumbnail(data)
    except ClientError as error:
        return _Tile(facts | {"note": printable(error.detail)}, "")
    if outcome.sha256 not in (None, hashlib.sha256(data).hexdigest()):
        facts["note"] = "The file has changed since it was classified."
    return _Tile(facts, base64.b64encode(small).decode())


def _facts(outcome: Outcome, folder: str) -> dict[str, Any]:
    """For the page's script; what is shown of it is printable."""
    shown = outcome.predictions[:PREDICTIONS]
    facts: dict[str, Any] = {
        "name": printable(outcome.path),
        "decision": "failed" if outcome.error else outcome.decision or "undecided",
        "predictions": [[printable(p.label), printable(p.class_id), _finite(p.score)] for p in shown],
    }
    if len(outcome.predictions) > PREDICTIONS:
        facts["more"] = len(outcome.predictions) - PREDICTIONS
    if outcome.model:
        facts["model"] = printable(f"{outcome.model} {outcome.version or ''}".strip())
    if outcome.error:
        facts["failure"] = [printable(text) for text in (outcome.error.code, outcome.error.detail, outcome.error.hint)]
    if address := _address(outcome.path, folder):
        facts["address"] = address
    return facts


def _finite(score: float) -> float:
    """JSON has no other numbers."""
    return score if math.isfinite(score) else 0.0


def _address(name: str, folder: str) -> str | None:
    """The photo's address relative to the page, so that both can be moved together; None for what is no file here."""
    if not os.path.isfile(name):
        return None
    try:
        relative = os.path.relpath(name, folder)
    except ValueError:  # another drive of Windows
        return Path(name).absolute().as_uri()
    return "./" + quote(os.fsencode(relative.replace(os.sep, "/")))
