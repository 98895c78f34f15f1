"""From photo bytes to labelled scores: decode in threads, one forward pass for all that wait."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from . import memory, network, preprocess
from .errors import BadParameter, RequestError, WeightsError
from .passes import CHUNK, IN_A_LANE, Passes
from .spec import ClassInfo, ModelSpec

MAX_TOP_K = 1000
DEFAULT_TOP_K = 5

SIZES = {"cuda": (1, 2, 4, 8, 16, 32, 64)}
"""Photos in a pass, by the kind of device. A GPU's library compiles convolutions for each size that it has not met,
which takes 1.7 s for EfficientNet-Lite0 on an H100, where a pass takes 3 to 10 ms. So passes are filled up to one of
these, and all of them are run once before the first request."""


@dataclass(frozen=True)
class Labels:
    """The best classes of one photo by falling calibrated score, and what to make of them."""

    predictions: tuple[tuple[ClassInfo, float], ...]
    decision: str


@dataclass(frozen=True)
class Answer:
    """One result or error a photo, in order, and wall times in milliseconds."""

    results: tuple[Labels | RequestError, ...]
    timings_ms: dict[str, float]


@dataclass(frozen=True)
class _Row:
    """What the network says of one photo: logits (classes,) and known score (); and seconds that decoding took."""

    logits: torch.Tensor
    known: torch.Tensor
    decode: float


@dataclass(frozen=True)
class Outputs:
    """What the network says of N photos, on the CPU: raw logits (N, classes), and known scores (N,)."""

    logits: torch.Tensor
    known: torch.Tensor

    @classmethod
    def of(cls, rows: Sequence[_Row]) -> Outputs:
        """In their order."""
        return cls(torch.stack([row.logits for row in rows]), torch.stack([row.known for row in rows]))


class Classifier:
    """A network with its spec. Safe to call from several threads: their photos share cores and forward passes.

    `threads` are those that may compute at a time, by default what torch takes (OMP_NUM_THREADS, else all cores).
    """

    def __init__(
        self, build: Callable[[], network.Scorer], spec: ModelSpec, device: str = "cpu", threads: int = 0
    ) -> None:
        self.spec = spec
        self.device = torch.device(device)
        on_cpu = self.device.type == "cpu"
        threads = threads or torch.get_num_threads()
        memory.keep_activations()
        chunk = IN_A_LANE if on_cpu else CHUNK.get(self.device.type, CHUNK["cpu"])
        self._passes: Passes[bytes | torch.Tensor, _Row | RequestError] = Passes(
            self._rows, chunk, threads, lanes=on_cpu
        )
        self.chunk = chunk * max(1, self._passes.lanes)
        self._sizes = SIZES.get(self.device.type, ())
        self._decoders = None if on_cpu else ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")
        self._network = self._passes.build(lambda: build().to(self.device))
        side = spec.preprocessing.crop
        # Not torch.zeros, which would compute here, with a team of helpers for this thread.
        black = torch.frombuffer(bytearray(3 * side**2), dtype=torch.uint8).view(side, side, 3)
        self._passes.settle(black)
        for size in self._sizes:
            self._passes.run([black] * size)
        memory.give_back()

    @classmethod
    def load(cls, model_dir: Path, device: str = "cpu") -> Classifier:
        """Read `model.json` and `model.pt` of an unpacked archive; SpecError or WeightsError if they are wrong."""
        spec = ModelSpec.load(model_dir / "model.json")
        return cls(lambda: network.scorer(spec, read_weights(model_dir / "model.pt")), spec, device)

    def classify(self, items: Sequence[bytes | RequestError], top_k: int = DEFAULT_TOP_K) -> Answer:
        """Labels, or the error, of every photo. Items that are errors already stay what they are.

        BadParameter unless 1 <= top_k <= MAX_TOP_K; more than the classes gives all classes.
        """
        require_top_k(top_k)
        started = time.perf_counter()
        results: list[Labels | RequestError] = []
        decode = 0.0
        with self._passes.expecting(len(items)):
            for start in range(0, len(items), self.chunk):
                rows, ahead = self._asked(items[start : start + self.chunk])
                found = [row for row in rows if isinstance(row, _Row)]
                labels = iter(self._label(found, top_k) if found else ())
                decode += ahead + sum(row.decode for row in found) / max(1, min(len(found), self._passes.lanes))
                results += [row if isinstance(row, RequestError) else next(labels) for row in rows]
        forward = time.perf_counter() - started - decode
        return Answer(tuple(results), {"decode": round(decode * 1e3, 1), "forward": round(forward * 1e3, 1)})

    def _asked(self, items: Sequence[bytes | RequestError]) -> tuple[list[_Row | RequestError], float]:
        """A row or an error for each, and seconds of decoding before the pass: a GPU must not wait for photos."""
        started = time.perf_counter()
        photos: Sequence[bytes | torch.Tensor | RequestError] = items
        if self._decoders is not None:
            photos = list(self._decoders.map(self._pixels, items))
        ahead = time.perf_counter() - started
        rows = iter(self._passes.run([photo for photo in photos if not isinstance(photo, RequestError)]))
        return [photo if isinstance(photo, RequestError) else next(rows) for photo in photos], ahead

    def _rows(self, photos: Sequence[bytes | torch.Tensor]) -> list[_Row | RequestError]:
        """One pass over photos, which are decoded first unless they are."""
        pixels, seconds = [], []
        for photo in photos:
            started = time.perf_counter()
            pixels.append(self._pixels(photo))
            seconds.append(time.perf_counter() - started)
        usable = [p for p in pixels if isinstance(p, torch.Tensor)]
        if not usable:
            return [p for p in pixels if isinstance(p, RequestError)]
        logits, known = self._forward(usable)
        rows = iter(zip(logits, known, strict=True))
        return [
            p if isinstance(p, RequestError) else _Row(*next(rows), s) for p, s in zip(pixels, seconds, strict=True)
        ]

    def _pixels(self, item: bytes | torch.Tensor | RequestError) -> torch.Tensor | RequestError:
        if isinstance(item, (RequestError, torch.Tensor)):
            return item
        try:
            return preprocess.to_tensor(item, self.spec.preprocessing)
        except RequestError as error:
            return error

    def _label(self, rows: Sequence[_Row], top_k: int) -> list[Labels]:
        outputs = Outputs.of(rows)
        probabilities = (outputs.logits / self.spec.calibration.temperature).softmax(dim=1)
        scores, indices = probabilities.topk(min(top_k, probabilities.shape[1]), dim=1)
        classes, decide = self.spec.classes, self.spec.calibration.decide
        return [
            Labels(tuple((classes[i], s) for i, s in zip(index, score, strict=True)), decide(score[0], known))
            for index, score, known in zip(indices.tolist(), scores.tolist(), outputs.known.tolist(), strict=True)
        ]

    def outputs(self, pixels: Sequence[torch.Tensor]) -> Outputs:
        """Photos as uint8 (crop, crop, 3) -> what the network says of each, `chunk` of them at a time at best.

        Raises what the network raises, for the photos of that pass alone.
        """
        rows = self._passes.run(pixels)
        return Outputs.of([row for row in rows if isinstance(row, _Row)])

    def _forward(self, pixels: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """(crop, crop, 3) uint8 each -> logits (N, classes) and known scores (N,), on the CPU."""
        photos = len(pixels)
        filled = next((size for size in self._sizes if size >= photos), photos)
        with torch.inference_mode():
            batch = torch.stack([*pixels, *[pixels[0]] * (filled - photos)])
            logits, known = self._network(preprocess.normalise(batch.to(self.device), self.spec.preprocessing))
            logits = logits[:photos].float().cpu()
            if known is None:
                known = (logits / self.spec.calibration.temperature).softmax(dim=1).amax(dim=1)
            return logits, known[:photos].cpu()


def require_top_k(top_k: int) -> None:
    """BadParameter unless 1 <= top_k <= MAX_TOP_K."""
    if not 1 <= top_k <= MAX_TOP_K:
        raise BadParameter(f"top_k is {top_k}.", f"Take a whole number from 1 to {MAX_TOP_K}.")


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A plain state_dict from a file, never unpickling code; WeightsError if it is none."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{path.name} is missing") from None
    except Exception as error:
        # torch.load raises whatever zipfile, pickle or its own checks raise.
        raise WeightsError(f"{path.name} is no file of plain weights ({type(error).__name__})") from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path.name} holds no state_dict of tensors")
    return state
