"""From photo bytes to labelled scores: decode in threads, one forward pass for all that wait."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from . import network, preprocess
from .errors import BadParameter, RequestError, WeightsError
from .spec import ClassInfo, ModelSpec

CHUNK = 16
"""Most photos in one forward pass: more gains nothing on a CPU and holds the others up."""

MAX_TOP_K = 1000
DEFAULT_TOP_K = 5


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


class _Ticket:
    """Pixels that wait for a forward pass, and what came of it."""

    def __init__(self, pixels: torch.Tensor) -> None:
        self.pixels = pixels  # (N, crop, crop, 3) uint8
        self.outcome: torch.Tensor | Exception | None = None  # (N, classes) float32


class Classifier:
    """A network with its spec. Safe to call from several threads: their photos share forward passes.

    Whoever holds the turn runs one pass over everything that has queued up meanwhile, so batches form by
    themselves under load and nobody waits for a timer.
    """

    def __init__(self, net: nn.Module, spec: ModelSpec, device: str = "cpu") -> None:
        self.spec = spec
        self.device = torch.device(device)
        self._network = network.optimise(net, spec.preprocessing.crop).to(self.device)
        self._decoders = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")
        self._waiting: deque[_Ticket] = deque()
        self._turn = threading.Lock()

    @classmethod
    def load(cls, model_dir: Path, device: str = "cpu") -> Classifier:
        """Read `model.json` and `model.pt` of an unpacked archive; SpecError or WeightsError if they are wrong."""
        spec = ModelSpec.load(model_dir / "model.json")
        net = network.build(spec.backbone, spec.head, len(spec.classes))
        network.load_weights(net, read_weights(model_dir / "model.pt"))
        return cls(net, spec, device)

    def classify(self, items: Sequence[bytes | RequestError], top_k: int = DEFAULT_TOP_K) -> Answer:
        """Labels, or the error, of every photo. Items that are errors already stay what they are.

        BadParameter unless 1 <= top_k <= MAX_TOP_K; more than the classes gives all classes.
        """
        if not 1 <= top_k <= MAX_TOP_K:
            raise BadParameter(f"top_k is {top_k}.", f"Take a whole number from 1 to {MAX_TOP_K}.")
        started = time.perf_counter()
        results: list[Labels | RequestError] = []
        forward = 0.0
        for pixels in _chunks(self._decode(items)):
            usable = [p for p in pixels if isinstance(p, torch.Tensor)]
            before = time.perf_counter()
            labels = iter(self._label(torch.stack(usable), top_k) if usable else ())
            forward += time.perf_counter() - before
            results += [p if isinstance(p, RequestError) else next(labels) for p in pixels]
        decode = time.perf_counter() - started - forward
        return Answer(tuple(results), {"decode": round(decode * 1e3, 1), "forward": round(forward * 1e3, 1)})

    def _decode(self, items: Sequence[bytes | RequestError]) -> Iterable[torch.Tensor | RequestError]:
        """Pixels in order, decoded ahead in threads (the decoders release the GIL); one photo stays here."""
        return map(self._pixels, items) if len(items) == 1 else self._decoders.map(self._pixels, items)

    def _pixels(self, item: bytes | RequestError) -> torch.Tensor | RequestError:
        if isinstance(item, RequestError):
            return item
        try:
            return preprocess.to_tensor(item, self.spec.preprocessing)
        except RequestError as error:
            return error

    def _label(self, pixels: torch.Tensor, top_k: int) -> list[Labels]:
        probabilities = self.probabilities(pixels)
        scores, indices = probabilities.topk(min(top_k, probabilities.shape[1]), dim=1)
        classes, decide = self.spec.classes, self.spec.calibration.decide
        return [
            Labels(tuple((classes[i], s) for i, s in zip(index, score, strict=True)), decide(score[0]))
            for index, score in zip(indices.tolist(), scores.tolist(), strict=True)
        ]

    def probabilities(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (N, crop, crop, 3) -> calibrated probabilities (N, classes) on the CPU, rows sum to 1."""
        ticket = _Ticket(pixels)
        self._waiting.append(ticket)
        with self._turn:
            while ticket.outcome is None:
                self._run(self._take())
        if isinstance(ticket.outcome, Exception):
            raise ticket.outcome
        return ticket.outcome

    def _take(self) -> list[_Ticket]:
        """The oldest tickets that fit into one pass, at least one."""
        batch = [self._waiting.popleft()]
        photos = len(batch[0].pixels)
        while self._waiting and photos + len(self._waiting[0].pixels) <= CHUNK:
            batch.append(self._waiting.popleft())
            photos += len(batch[-1].pixels)
        return batch

    def _run(self, batch: list[_Ticket]) -> None:
        """Fill in every ticket's outcome; a failed pass (out of memory) fails each of them, not the next."""
        try:
            rows = self._forward(torch.cat([ticket.pixels for ticket in batch]))
        except Exception as error:
            for ticket in batch:
                ticket.outcome = error
            return
        start = 0
        for ticket in batch:
            ticket.outcome = rows[start : start + len(ticket.pixels)]
            start += len(ticket.pixels)

    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            logits = self._network(preprocess.normalise(pixels.to(self.device), self.spec.preprocessing))
            probabilities: torch.Tensor = (logits.float() / self.spec.calibration.temperature).softmax(dim=1)
            return probabilities.cpu()


def _chunks(
    items: Iterable[torch.Tensor | RequestError],
) -> Iterable[list[torch.Tensor | RequestError]]:
    chunk: list[torch.Tensor | RequestError] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


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
