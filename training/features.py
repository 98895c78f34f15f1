"""Photos -> features, once: read, hash, look up, and send through the backbone what is not known yet."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from model_serving.classifier import RequestError
from model_serving.classifier.preprocess import to_tensor

from . import augment
from .backbone import Extractor
from .cache import FeatureCache
from .distributed import World
from .errors import DataError
from .monitor.monitor import silent
from .monitor.stage import Stage
from .photos import cores

KEEP_SECONDS = 20.0
"""Features are written to the cache this often, so that a killed run loses no more."""

BLOCK = 128
"""Photos that are decoded before they are computed: 20 MB of pixels at 224 a side."""

_NAMED = 5
Advance = Callable[[int], None]
"""Told how many more photos are done."""


@dataclass(frozen=True)
class Photo:
    """A file, its name for people, and the SHA-256 of its content in hexadecimal."""

    path: Path
    name: str
    sha256: str


def identify(files: Sequence[tuple[Path, str]]) -> tuple[list[Photo], dict[str, str]]:
    """Photos of (path, name) in order, and why others cannot be read, by name."""
    photos, problems = [], {}
    with ThreadPoolExecutor(cores()) as pool:
        for (path, name), digest in zip(files, pool.map(_digest, (path for path, _ in files)), strict=True):
            if isinstance(digest, OSError):
                problems[name] = f"The file cannot be read ({digest.strerror})."
            else:
                photos.append(Photo(path, name, digest))
    return photos, problems


def _digest(path: Path) -> str | OSError:
    try:
        with path.open("rb") as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        return error


class FeatureStore:
    """Features of photos by content, out of the cache or freshly computed, and the contents that have none.

    All processes compute and know what is there; the leader alone keeps the rows.
    """

    def __init__(self, extractor: Extractor, folder: Path | None, world: World) -> None:
        self._extractor = extractor
        self._folder = folder
        self._world = world
        self._rows: dict[int, dict[str, torch.Tensor]] = {}
        self._known: dict[int, set[str]] = {}
        self.problems: dict[str, str] = {}
        """Why contents have no features, by SHA-256."""

    def look_up(self, photos: Sequence[Photo], view: int = 0) -> int:
        """Take from the cache what it has of these photos' features; returns how many are left for this process."""
        wanted = {photo.sha256 for photo in photos}
        cache = self._cache(view)
        # One process reads: the folder may be written to meanwhile, and all must know the same.
        rows = cache.load(wanted) if cache and self._world.leads else {}
        self._rows.setdefault(view, {}).update(rows)
        self._known.setdefault(view, set()).update(self._world.broadcast(sorted(rows)))
        return len(self._world.share(self._missing(photos, view)))

    def compute(
        self, photos: Sequence[Photo], view: int = 0, advance: Advance = lambda _: None, watch: Stage | None = None
    ) -> None:
        """Compute the features that were not found by `look_up`, each process a part.

        View 0 is what serving sees, others are augmented. Contents that cannot be decoded go to `problems`.
        """
        hashes: list[str] = []
        rows: list[torch.Tensor] = []
        for part in self._parts(self._world.share(self._missing(photos, view)), view, advance, watch or silent()):
            hashes += part
            rows += part.values()
        # Stacked: a row alone would be sent with the whole batch that it is a view of.
        own = (hashes, torch.stack(rows) if rows else torch.empty(0), self.problems)
        for rank, (found, stacked, problems) in enumerate(self._world.gather(own)):
            self._known[view].update(found)
            self.problems |= problems
            if self._world.leads:
                theirs = dict(zip(found, stacked, strict=True))
                self._rows[view].update(theirs)
                if rank >= self._world.neighbours:  # computed on another machine, perhaps with another disk
                    _keep(theirs, self._cache(view))

    def of(self, photos: Sequence[Photo], view: int = 0) -> torch.Tensor:
        """(N, F) float32, in the leading process; KeyError for a photo that has none."""
        rows = self._rows[view]
        return torch.stack([rows[photo.sha256] for photo in photos])

    def has(self, photo: Photo, view: int = 0) -> bool:
        """Whether the photo has features."""
        return photo.sha256 in self._known[view]

    def _missing(self, photos: Sequence[Photo], view: int) -> list[Photo]:
        """One photo of each content that has no features yet."""
        known = self._known[view]
        return list({photo.sha256: photo for photo in photos if photo.sha256 not in known}.values())

    def _cache(self, view: int) -> FeatureCache | None:
        key = f"{self._extractor.digest}-{view}.{augment.VERSION}" if view else self._extractor.digest
        return FeatureCache(self._folder, key) if self._folder else None

    def _parts(
        self, photos: Sequence[Photo], view: int, advance: Advance, watch: Stage
    ) -> Iterator[dict[str, torch.Tensor]]:
        """Features by hash, in parts that are kept on disk before they are given out."""
        cache, part, since = self._cache(view), dict[str, torch.Tensor](), time.monotonic()
        for hashes, pixels in watch.steps(view, self._decoded(photos, view), whole=True):
            usable = [sha256 for sha256, p in zip(hashes, pixels, strict=True) if p is not None]
            rows = self._extractor([p for p in pixels if p is not None]) if usable else ()
            part |= dict(zip(usable, rows, strict=True))
            watch.lap("forward")
            advance(len(hashes))
            watch.end_step(len(hashes))
            if time.monotonic() - since > KEEP_SECONDS:
                yield _keep(part, cache)
                part, since = {}, time.monotonic()
        yield _keep(part, cache)

    def _decoded(self, photos: Sequence[Photo], view: int) -> Iterator[tuple[list[str], list[torch.Tensor | None]]]:
        """Hashes and pixels by batches that one pass takes, decoded in blocks; for a GPU one block ahead.

        On a CPU decoding and passes take turns, since each wants all cores, and in long ones: after a pass OpenMP's
        threads keep the cores busy for a while in case there is another.
        """
        size, ahead = self._extractor.chunk, 2 if self._extractor.device.type == "cuda" else 1
        pending: deque[tuple[Sequence[Photo], list[Future[torch.Tensor | None]]]] = deque()
        with ThreadPoolExecutor(cores()) as pool:
            for start in range(0, len(photos) + BLOCK * (ahead - 1), BLOCK):
                block = photos[start : start + BLOCK]
                pending.append((block, [pool.submit(self._pixels, photo, view) for photo in block]))
                if len(pending) == ahead:
                    done, futures = pending.popleft()
                    pixels = [future.result() for future in futures]
                    for first in range(0, len(done), size):
                        batch = slice(first, first + size)
                        yield [photo.sha256 for photo in done[batch]], pixels[batch]

    def _pixels(self, photo: Photo, view: int) -> torch.Tensor | None:
        try:
            data = photo.path.read_bytes()
            if view:
                return augment.view(data, self._extractor.preprocessing, f"{photo.sha256}-{view}")
            return to_tensor(data, self._extractor.preprocessing)
        except RequestError as error:
            self.problems[photo.sha256] = error.detail
        except OSError as error:
            self.problems[photo.sha256] = f"The file cannot be read ({error.strerror})."
        return None


def _keep(part: dict[str, torch.Tensor], cache: FeatureCache | None) -> dict[str, torch.Tensor]:
    if cache is not None:
        try:
            cache.add(part)
        except OSError as error:
            raise DataError(
                f"features cannot be kept ({error.strerror}). Choose another folder by --cache DIR, or --no-cache."
            ) from None
    return part


def refuse(problems: dict[str, str], advice: str) -> None:
    """DataError that names photos which cannot be read, if there are any, with what to do."""
    if problems:
        named = "\n".join(f"  {name}: {why}" for name, why in sorted(problems.items())[:_NAMED])
        more = f"\n  and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise DataError(f"{len(problems)} photos cannot be read:\n{named}{more}\n{advice}")
