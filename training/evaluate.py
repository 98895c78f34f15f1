"""An archive and labelled photos -> predictions as the endpoint would make them, metrics and a report."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from PIL import Image

from model_serving.classifier import Classifier, Outputs, RequestError
from model_serving.classifier.preprocess import FORMATS, orientation, to_tensor

from .data.layout import Example
from .evaluation.predictions import Predictions
from .features import refuse

BATCH = 64


@dataclass(frozen=True)
class _Photo:
    """What is needed of one file: pixels (crop, crop, 3), width and height as displayed, EXIF orientation."""

    pixels: torch.Tensor
    size: tuple[int, int]
    orientation: int


def predict(
    classifier: Classifier,
    examples: Sequence[Example],
    *,
    skip_unreadable: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> Predictions:
    """The raw answers of a model on labelled photos; an example's label -1 says "none of the classes".

    DataError names photos that cannot be read, unless they are to be skipped.
    """
    problems: dict[str, str] = {}
    kept: list[Example] = []
    photos: list[_Photo] = []
    outputs: list[Outputs] = []
    for batch, read in _read(classifier, examples):
        usable = [(e, photo) for e, photo in zip(batch, read, strict=True) if isinstance(photo, _Photo)]
        problems |= {e.name: photo for e, photo in zip(batch, read, strict=True) if isinstance(photo, str)}
        for start in range(0, len(usable), classifier.chunk):
            outputs.append(classifier.outputs([photo.pixels for _, photo in usable[start : start + classifier.chunk]]))
        kept += [example for example, _ in usable]
        photos += [_Photo(torch.empty(0), photo.size, photo.orientation) for _, photo in usable]
        advance(len(batch))
    if not skip_unreadable:
        refuse(problems, "Remove or replace them, or add --skip-unreadable.")
    classes = len(classifier.spec.classes)
    return Predictions(
        names=tuple(example.name for example in kept),
        paths=tuple(example.path for example in kept),
        labels=torch.tensor([example.label for example in kept], dtype=torch.int64),
        logits=torch.cat([part.logits for part in outputs]) if outputs else torch.empty(0, classes),
        known=torch.cat([part.known for part in outputs]) if outputs else torch.empty(0),
        sizes=torch.tensor([photo.size for photo in photos], dtype=torch.int64).reshape(-1, 2),
        orientations=torch.tensor([photo.orientation for photo in photos], dtype=torch.int64),
    )


def _read(
    classifier: Classifier, examples: Sequence[Example]
) -> Iterator[tuple[Sequence[Example], list[_Photo | str]]]:
    """Photos by batches, decoded in threads; a text says why one cannot be read."""

    def read(example: Example) -> _Photo | str:
        try:
            data = example.path.read_bytes()
            pixels = to_tensor(data, classifier.spec.preprocessing)
        except RequestError as error:
            return error.detail
        except OSError as error:
            return f"The file cannot be read ({error.strerror})."
        return _Photo(pixels, *_header(data))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(examples), BATCH):
            batch = examples[start : start + BATCH]
            yield batch, list(pool.map(read, batch))


def _header(data: bytes) -> tuple[tuple[int, int], int]:
    """Width and height as displayed, and the EXIF orientation, of a photo that was decoded."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        (width, height), turn = image.size, orientation(image)
    return ((height, width) if turn >= 5 else (width, height)), turn
