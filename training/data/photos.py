"""What is to be said of single photos: unreadable, tiny, misnamed, turned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from model_serving.classifier import Preprocessing
from model_serving.classifier.preprocess import FORMATS

from .files import PHOTO_SUFFIXES
from .finding import INFO, PROBLEM, WARNING, Finding, number
from .look import Look

USELESS_SIDE = 32
"""Photos with a shorter side below so many pixels show the network little but its own enlargement."""

MANY_PIXELS = 16_000_000
"""An unusable photo of more pixels is likely refused for their number."""

_CROP = Preprocessing().crop


def of_photos(looks: Mapping[str, Look]) -> Iterator[Finding]:
    """Findings about single photos; `looks` maps a photo's name to its look."""
    # A photo of a few pixels is refused as well, with a reason of its own for each size: tiny says enough.
    yield from _unreadable({name: seen for name, seen in looks.items() if seen.error and not _is_useless(seen)})
    yield from _tiny(looks)
    readable = {name: seen for name, seen in looks.items() if not seen.error}
    yield from _misnamed(readable)
    turned = [name for name, seen in readable.items() if seen.orientation != 1]
    yield from _if_any(turned, "orientation", "{} with an orientation tag, which is obeyed", "", INFO)


def _unreadable(looks: Mapping[str, Look]) -> Iterator[Finding]:
    by_reason: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, seen in looks.items():
        by_reason[(seen.error, _mend(name, seen))].append(name)
    for (error, mend), names in sorted(by_reason.items()):
        yield from _if_any(names, "unreadable", f"{{}} cannot be used: {error.rstrip('.')}", mend, PROBLEM)


def _mend(name: str, seen: Look) -> str:
    promised = PHOTO_SUFFIXES.get(_suffix(name))
    if promised == "":
        return "Export them as JPEG."
    if "HEIF" in (seen.media, promised) and "HEIF" not in FORMATS:
        return "Install the extra that reads them: pip install 'whippet[heic]'."
    if seen.size[0] * seen.size[1] > MANY_PIXELS:
        return "Scale them down; the network sees a few hundred pixels a side."
    return "Open them in a viewer: save again what shows, remove what does not."


def _tiny(looks: Mapping[str, Look]) -> Iterator[Finding]:
    useless = [name for name, seen in looks.items() if _is_useless(seen)]
    fact = f"{{}} with a shorter side below {USELESS_SIDE} pixels"
    yield from _if_any(useless, "tiny", fact, "Remove them, or find the originals.", PROBLEM)
    small = [name for name, seen in looks.items() if USELESS_SIDE <= min(seen.size) < _CROP and not seen.error]
    fact = f"{{}} with a shorter side below the {_CROP} pixels that the network sees"
    yield from _if_any(small, "small", fact, "They are enlarged; larger originals would teach more.", WARNING)


def _is_useless(seen: Look) -> bool:
    return 0 < min(seen.size) < USELESS_SIDE


def _misnamed(looks: Mapping[str, Look]) -> Iterator[Finding]:
    """Readable photos whose suffix promises another format."""
    by_kind: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, seen in looks.items():
        promised = PHOTO_SUFFIXES.get(_suffix(name))
        if promised and seen.media and promised != seen.media:
            by_kind[(_suffix(name), seen.media)].append(name)
    for (suffix, media), names in sorted(by_kind.items()):
        fact, mend = f"{{}} called {suffix} and really {media}", "They work here; other programs may refuse them."
        yield from _if_any(names, "suffix", fact, mend, WARNING)


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _if_any(names: Iterable[str], kind: str, fact: str, mend: str, level: str) -> Iterator[Finding]:
    """One finding that counts its photos, if there are any."""
    if found := tuple(names):
        yield Finding(kind, fact.format(number(len(found), "photo")), mend, found, level)
