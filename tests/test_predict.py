"""Many photos, many threads: one answer each, in order, the same as alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image
from torch import nn

from model_serving.classifier import (
    BadParameter,
    BadRequest,
    Calibration,
    Classifier,
    ClassInfo,
    ModelSpec,
    Preprocessing,
    network,
    passes,
    predict,
)
from model_serving.classifier.errors import RequestError
from model_serving.classifier.predict import Labels
from tests.photos import encode, jpeg


class Counting(nn.Module):
    """Answers with the mean of each channel; notes the photos of each pass, its thread, and threads within it."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.threads: list[tuple[str, int]] = []
        self.fail = False
        self.hold = threading.Event()
        self.hold.set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, 3)."""
        self.hold.wait(10)
        if self.fail:
            raise RuntimeError("out of memory")
        self.batches.append(len(x))
        self.threads.append((threading.current_thread().name.partition("_")[0], torch.get_num_threads()))
        return x.mean(dim=(2, 3))


@pytest.fixture
def net() -> Counting:
    """A network whose passes can be watched."""
    return Counting()


@pytest.fixture
def model(net: Counting) -> Classifier:
    """Three classes, tiny input."""
    classes = tuple(ClassInfo(str(i), f"class {i}") for i in range(3))
    spec = ModelSpec("tiny", "none", classes, preprocessing=Preprocessing(32, 32))
    found = Classifier(lambda: network.Scorer(net, nn.Identity()), spec, threads=LANES)
    net.batches.clear()
    net.threads.clear()
    return found


CHUNK, LANES = passes.IN_A_LANE, 2
PHOTOS = [jpeg((60 + i, 50)) for i in range(42)]


def test_batch_answers_in_order_and_as_alone(model: Classifier) -> None:
    """Many photos at once give what as many calls give."""
    together = model.classify(PHOTOS, 3).results
    for photo, result in zip(PHOTOS, together, strict=True):
        (alone,) = model.classify([photo], 3).results
        assert isinstance(result, Labels)
        assert isinstance(alone, Labels)
        for (a, p), (b, q) in zip(result.predictions, alone.predictions, strict=True):
            assert a == b
            assert p == pytest.approx(q, abs=1e-5)


def test_batch_needs_few_passes(model: Classifier, net: Counting) -> None:
    """Never one by one, never more than a chunk at once, each with one thread, in as many lanes as there are."""
    photos = PHOTOS[: len(PHOTOS) // (CHUNK * LANES) * CHUNK * LANES]
    model.classify(photos)
    assert len(photos) > 20
    assert net.batches == [CHUNK] * (len(photos) // CHUNK)
    assert set(net.threads) == {("lane", 1)}
    assert model.chunk == CHUNK * LANES


class Timed:
    """A forward that takes so long with one thread, and so many times less with several; notes how it ran."""

    def __init__(self, faster: float) -> None:
        self.faster = faster
        self.ran: list[tuple[int, str, int]] = []
        self.hold = threading.Event()
        self.hold.set()

    def __call__(self, pixels: Sequence[int]) -> list[int]:
        """A row each."""
        self.hold.wait(10)
        threads = torch.get_num_threads()
        time.sleep(0.01 if threads == 1 else 0.01 / self.faster)
        self.ran.append((len(pixels), threading.current_thread().name.partition("_")[0], threads))
        return [0] * len(pixels)


def settled(forward: Timed) -> passes.Passes[int, int]:
    """Passes of two threads that have timed a lone photo."""
    found: passes.Passes[int, int] = passes.Passes(forward, CHUNK, LANES, lanes=True)
    found.settle(7)
    forward.ran.clear()
    return found


@pytest.mark.parametrize(("faster", "where"), [(1.8, ("forward", 2)), (1.0, ("lane", 1))])
def test_a_lone_photo_gets_all_threads_where_that_pays(faster: float, where: tuple[str, int]) -> None:
    """And one core, which nobody else can take away, where it does not."""
    forward = Timed(faster)
    runner = settled(forward)
    runner.run([7])
    with runner.expecting(2):  # another is being decoded
        runner.run([7])
    assert forward.ran == [(1, *where), (1, "lane", 1)]


def test_a_lone_photo_that_was_held_up_goes_without_for_a_while() -> None:
    """Threads of one pass wait for each other, and whoever shares the machine makes all of them wait."""
    forward = Timed(1.8)
    runner = settled(forward)
    forward.faster = 0.3
    for _ in range(3):
        runner.run([7])
    assert forward.ran == [(1, "forward", 2), (1, "lane", 1), (1, "lane", 1)]
    for _ in range(passes.WITHOUT - 1):
        runner.run([7])
    assert [where for _, where, _ in forward.ran[3:]] == ["lane"] * (passes.WITHOUT - 2) + ["forward"]


def test_what_comes_while_a_lone_photo_runs_waits_and_is_shared() -> None:
    """Cores are not given twice; then each lane takes its share."""
    forward = Timed(1.8)
    runner = settled(forward)
    forward.hold.clear()
    others = CHUNK * LANES
    with ThreadPoolExecutor(1 + others) as pool:
        futures = [pool.submit(runner.run, [7])]
        while not runner._together:
            time.sleep(0.01)
        futures += [pool.submit(runner.run, [7]) for _ in range(others)]
        while len(runner._waiting) < others:
            time.sleep(0.01)
        forward.hold.set()
        assert [future.result() for future in futures] == [[0]] * (1 + others)
    assert forward.ran == [(1, "forward", 2), (CHUNK, "lane", 1), (CHUNK, "lane", 1)]


def test_a_gpu_runs_one_pass_of_all_that_waits() -> None:
    """Its cores are not ours to divide."""
    seen: list[int] = []

    def forward(pixels: Sequence[int]) -> list[int]:
        seen.append(len(pixels))
        return [0] * len(pixels)

    runner: passes.Passes[int, int] = passes.Passes(forward, 64, 4, lanes=False)
    rows = runner.run([7] * 100)
    assert seen == [64, 36]
    assert rows == [0] * 100


def test_passes_are_filled_up_to_sizes_that_were_run_before(
    model: Classifier, net: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where a new size costs a second: the first request meets none, and no answer changes."""
    expected = model.classify(PHOTOS[:5]).results
    monkeypatch.setattr(predict, "SIZES", {"cpu": (1, 4)})
    monkeypatch.setattr(predict, "IN_A_LANE", 3)
    net.batches.clear()
    filled = Classifier(lambda: network.Scorer(net, nn.Identity()), model.spec, threads=1)
    assert set(net.batches) >= {1, 4}
    net.batches.clear()
    assert filled.classify(PHOTOS[:5]).results == expected
    assert net.batches == [4, 4]


def test_errors_stay_in_their_place(model: Classifier) -> None:
    """A bad photo, and one that was an error before, spoil no other."""
    results = model.classify([PHOTOS[0], b"nothing", BadRequest("b64", "hint"), PHOTOS[1]]).results
    kinds = [type(r).__name__ for r in results]
    assert kinds == ["Labels", "UnsupportedMedia", "BadRequest", "Labels"]


def test_only_errors(model: Classifier, net: Counting) -> None:
    """Without a usable photo there is no pass at all."""
    assert all(isinstance(r, RequestError) for r in model.classify([b"", b"x"]).results)
    assert net.batches == []


def test_threads_share_passes(model: Classifier, net: Counting) -> None:
    """Callers that wait are served together, and each gets its own answer."""
    photos = [torch.full((32, 32, 3), i, dtype=torch.uint8) for i in range(64)]
    net.hold.clear()
    with ThreadPoolExecutor(64) as pool:
        futures = [pool.submit(model.outputs, [photo]) for photo in photos]
        while len(model._passes._waiting) < 64 - 2 * LANES:
            time.sleep(0.01)
        time.sleep(0.1)  # all wait but those in the held passes
        net.hold.set()
        rows = [future.result() for future in futures]
    assert len(net.batches) <= 64 // CHUNK + LANES + 1
    for photo, row in zip(photos, rows, strict=True):
        assert torch.allclose(row.logits, model.outputs([photo]).logits, atol=1e-6)


def test_a_failed_pass_fails_its_own_callers_only(model: Classifier, net: Counting) -> None:
    """The next request works again."""
    net.fail = True
    with pytest.raises(RuntimeError, match="out of memory"):
        model.classify(PHOTOS[:2])
    net.fail = False
    assert len(model.classify(PHOTOS[:2]).results) == 2


def test_top_k(model: Classifier) -> None:
    """At most as many as asked and as there are; nonsense is refused."""
    (two,), (all_,) = (model.classify(PHOTOS[:1], k).results for k in (2, 1000))
    assert isinstance(two, Labels)
    assert isinstance(all_, Labels)
    assert [len(two.predictions), len(all_.predictions)] == [2, 3]
    assert sum(score for _, score in all_.predictions) == pytest.approx(1, abs=1e-5)
    for nonsense in (0, -1, 1001):
        with pytest.raises(BadParameter):
            model.classify(PHOTOS[:1], nonsense)


def test_a_photo_like_none_of_the_classes_is_unknown() -> None:
    """The decision goes by likeness to the class means, not by the score, which is high for both photos here."""
    calibration = Calibration(temperature=0.1, confident=0.6, known=0.9, known_by="similarity")
    classes = (ClassInfo("bright", "bright"), ClassInfo("dark", "dark"))
    spec = ModelSpec("tiny", "none", classes, preprocessing=Preprocessing(32, 32), calibration=calibration)
    means = torch.nn.functional.normalize(torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]), dim=1)
    head = nn.Linear(3, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[9.0, 9.0, 9.0], [-9.0, -9.0, -9.0]]))
    model = Classifier(lambda: network.Scorer(Counting(), head, means), spec)
    white, yellow = (encode(Image.new("RGB", (40, 40), colour)) for colour in ("white", "yellow"))
    known, stranger = model.classify([white, yellow]).results
    assert isinstance(known, Labels)
    assert isinstance(stranger, Labels)
    assert stranger.predictions[0][1] > 0.9
    assert (known.decision, stranger.decision) == ("confident", "unknown")
