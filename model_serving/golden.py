"""Golden photos: what the model said of them when it was packed, so that a deployment can be held against it.

    golden/golden.json      per photo: file, true class where it is known, predictions, decision
    golden/000.jpg …        the photos, small, turned upright and without metadata

They decide nothing, so that the version of an archive does not depend on them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from .classifier import Classifier, ClassifierError, Labels, ModelSpec
from .errors import ArchiveError

FOLDER = "golden"
INDEX = "golden.json"

RECORDED = 5
"""Classes a photo of which the score is kept."""

QUALITY = 90

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
"""Of the photos in a folder that somebody names."""

LIMIT = 512
"""Most photos of a folder: a gate sends them several times."""


@dataclass(frozen=True)
class GoldenPhoto:
    """A photo and what was recorded of it: (class_id, score) by falling score, and the decision.

    `class_id` is the true class, None where it is not known.
    """

    name: str
    body: bytes
    class_id: str | None
    predictions: tuple[tuple[str, float], ...]
    decision: str


def record(classifier: Classifier, photos: Iterable[tuple[str, bytes, str | None]]) -> list[GoldenPhoto]:
    """What the model says of photos (name, bytes, true class) now; those that it refuses are left out."""
    given = list(photos)
    results = classifier.classify([body for _, body, _ in given], RECORDED).results
    return [
        GoldenPhoto(name, body, class_id, _predictions(result), result.decision)
        for (name, body, class_id), result in zip(given, results, strict=True)
        if isinstance(result, Labels)
    ]


def _predictions(labels: Labels) -> tuple[tuple[str, float], ...]:
    return tuple((known.class_id, round(score, 6)) for known, score in labels.predictions)


def files(photos: Sequence[GoldenPhoto]) -> dict[str, bytes]:
    """Content of the archive's `golden/` by name; {} without photos."""
    if not photos:
        return {}
    entries = []
    found = {}
    for number, photo in enumerate(photos):
        name = f"{number:03}.jpg"
        found[f"{FOLDER}/{name}"] = photo.body
        entries.append({"file": name, **{key: value for key, value in asdict(photo).items() if key != "body"}})
    index = json.dumps({"photos": entries}, indent=1, ensure_ascii=False) + "\n"
    return {f"{FOLDER}/{INDEX}": index.encode(), **found}


def read(folder: Path) -> list[GoldenPhoto]:
    """Those of an unpacked archive; [] where it has none, ArchiveError where they are damaged."""
    path = folder / FOLDER / INDEX
    if not path.is_file():
        return []
    try:
        return [_read(path.parent, entry) for entry in json.loads(path.read_text(encoding="utf-8"))["photos"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{FOLDER}/{INDEX} cannot be read ({type(error).__name__}). Pack the model again.") from None


def _read(folder: Path, entry: dict[str, object]) -> GoldenPhoto:
    name, true = str(entry["file"]), entry["class_id"]
    if Path(name).name != name:
        raise ValueError(name)
    predictions = tuple((str(class_id), float(score)) for class_id, score in entry["predictions"])  # type: ignore[attr-defined]
    class_id = None if true is None else str(true)
    return GoldenPhoto(
        str(entry["name"]), (folder / name).read_bytes(), class_id, predictions, str(entry["decision"])
    )  # fmt: skip


def from_folder(folder: Path, classifier: Classifier) -> list[GoldenPhoto]:
    """Photos of a folder, with the class where they lie in one folder a class, and what the model says of them now.

    At most LIMIT, spread over the folder, shrunk as those of an archive are. ArchiveError where there is none, or none
    that can be read.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise ArchiveError(f"{folder} holds no photos. Give a folder of JPEG or PNG files, or of one folder a class.")
    count = min(LIMIT, len(found))
    spread = [found[number * len(found) // count] for number in range(count)]
    photos = record(classifier, _named(spread, folder, classifier.spec))
    if not photos:
        raise ArchiveError(f"the model can read no photo of {folder}. Look: python -m training data check {folder}")
    return photos


def _named(paths: Sequence[Path], folder: Path, spec: ModelSpec) -> Iterator[tuple[str, bytes, str | None]]:
    ids = {known.class_id for known in spec.classes}
    for path in paths:
        with suppress(ClassifierError, OSError):
            body = shrunk(path.read_bytes(), spec.preprocessing.resize)
            yield str(path.relative_to(folder)), body, path.parent.name if path.parent.name in ids else None


def drawn(classifier: Classifier, number: int = 8) -> list[GoldenPhoto]:
    """Made-up pictures for archives without any: they tell whether an endpoint computes the same, and no more."""
    photos: Iterator[tuple[str, bytes, None]] = ((f"drawn {n}", _drawing(n), None) for n in range(number))
    return record(classifier, photos)


def _drawing(number: int) -> bytes:
    """A picture of bars and a disc, other colours for each number."""
    first, second = ((37 * number + 20 * channel) % 256 for channel in (1, 7))
    picture = Image.linear_gradient("L").resize((320, 280)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for x in range(0, 320, 16 + 4 * number):
        draw.rectangle((x, 0, x + 8, 280), (first, second, (x + 60 * number) % 256))
    draw.ellipse((60 + 10 * number, 60, 200 + 10 * number, 200), (second, 255 - first, 40))
    return _jpeg(picture)


def shrunk(body: bytes, shorter: int) -> bytes:
    """A photo as it is kept: upright, its shorter side at most that many pixels, without metadata.

    ClassifierError where Pillow cannot read it.
    """
    try:
        with Image.open(io.BytesIO(body)) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ClassifierError(f"a golden photo cannot be read ({type(error).__name__})") from None
    scale = shorter / min(picture.size)
    if scale < 1:
        width, height = picture.size
        picture = picture.resize(
            (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.LANCZOS
        )
    return _jpeg(picture)


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()
