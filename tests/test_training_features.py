"""Features are computed once for each content, survive a kill, and photos that have none are named."""

from __future__ import annotations

import io
import pickle
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from model_serving.classifier import Preprocessing
from tests.labelled import drawing
from training import augment, features
from training.backbone import Extractor
from training.cache import FeatureCache
from training.distributed import World
from training.errors import DataError
from training.features import Advance, FeatureStore, Photo, identify, refuse

ALONE = World(0, 1, torch.device("cpu"))


class Colours(Extractor):
    """Stands in for a network: a photo's features are its mean colours. Counts the photos it is shown."""

    def __init__(self) -> None:
        self.preprocessing = Preprocessing(32, 32)
        self.digest = "colours"
        self.device = torch.device("cpu")
        self.chunk = 4
        self.seen = 0

    def __call__(self, pixels: Sequence[torch.Tensor]) -> torch.Tensor:
        """uint8 (32, 32, 3) each -> (N, 3)."""
        self.seen += len(pixels)
        return torch.stack(list(pixels)).float().mean(dim=(1, 2))


def computed(network: Colours, folder: Path, found: Sequence[Photo], advance: Advance = lambda _: None) -> FeatureStore:
    """A store on `folder/cache` that has the features of these photos."""
    store = FeatureStore(network, folder / "cache", ALONE)
    store.look_up(found)
    store.compute(found, advance=advance)
    return store


@pytest.fixture
def photos(tmp_path: Path) -> list[tuple[Path, str]]:
    """Ten photos, two of them the same."""
    files = []
    for number in range(10):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(drawing("001.Red_square", min(number, 8)))
        files.append((path, path.name))
    return files


def test_each_content_is_computed_once(photos: list[tuple[Path, str]], tmp_path: Path) -> None:
    """Copies share their features; a second store finds all on disk."""
    found, problems = identify(photos)
    assert problems == {}
    first = Colours()
    store = FeatureStore(first, tmp_path / "cache", ALONE)
    store.look_up(found)
    store.compute(found)
    assert first.seen == 9
    rows = store.of(found)
    assert rows.shape == (10, 3)
    assert torch.equal(rows[8], rows[9])
    second = Colours()
    again = FeatureStore(second, tmp_path / "cache", ALONE)
    again.look_up(found)
    again.compute(found)
    assert second.seen == 0
    assert torch.equal(again.of(found), rows)


def test_without_a_folder_nothing_is_kept(photos: list[tuple[Path, str]], tmp_path: Path) -> None:
    """The features are there all the same."""
    found, _ = identify(photos)
    store = FeatureStore(Colours(), None, ALONE)
    store.look_up(found)
    store.compute(found)
    assert store.of(found).shape == (10, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{n}.jpg" for n in range(10)]


def test_a_killed_run_keeps_what_it_had(
    photos: list[tuple[Path, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts are written while the rest is still computed."""
    monkeypatch.setattr(features, "KEEP_SECONDS", 0.0)
    found, _ = identify(photos)
    dying = Colours()

    def killed(more: int) -> None:
        if dying.seen >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        computed(dying, tmp_path, found, killed)
    heir = Colours()
    computed(heir, tmp_path, found)
    assert heir.seen == 9 - 4


def test_damaged_files_of_the_cache_are_no_harm(photos: list[tuple[Path, str]], tmp_path: Path) -> None:
    """Torn or foreign ones count as absent and go away."""
    found, _ = identify(photos)
    computed(Colours(), tmp_path, found)
    (kept,) = (tmp_path / "cache" / "colours").glob("*.pt")
    kept.write_bytes(kept.read_bytes()[:100])
    (kept.parent / "other.pt").write_text("{}")
    third = Colours()
    computed(third, tmp_path, found)
    assert third.seen == 9
    assert len(FeatureCache(tmp_path / "cache", "colours").load({photo.sha256 for photo in found})) == 9
    assert not (kept.parent / "other.pt").exists()


def test_views_differ_and_come_back(photos: list[tuple[Path, str]], tmp_path: Path) -> None:
    """Augmented features are others than plain ones, the same for the same view, and cached apart."""
    found, _ = identify(photos)
    store = FeatureStore(Colours(), tmp_path / "cache", ALONE)
    for view in (0, 1, 2):
        store.look_up(found, view)
        store.compute(found, view)
    plain, one, two = (store.of(found, view) for view in (0, 1, 2))
    assert not torch.equal(plain, one)
    assert not torch.equal(one, two)
    fresh = FeatureStore(Colours(), None, ALONE)
    fresh.look_up(found, 2)
    fresh.compute(found, 2)
    assert torch.equal(fresh.of(found, 2), two)


def test_unreadable_photos_are_named_and_the_others_kept(photos: list[tuple[Path, str]], tmp_path: Path) -> None:
    """All of them at once, with why, and what to do."""
    photos[3][0].write_text("call the vet")
    photos[5][0].write_bytes(photos[5][0].read_bytes()[:200])
    photos[6][0].unlink()
    found, gone = identify(photos)
    assert list(gone) == ["6.jpg"]
    store = FeatureStore(Colours(), tmp_path / "cache", ALONE)
    store.look_up(found)
    store.compute(found)
    assert sorted(store.problems) == sorted(photo.sha256 for photo in (found[3], found[5]))
    assert [store.has(photo) for photo in found[2:5]] == [True, False, True]
    with pytest.raises(DataError, match=r"7 photos cannot be read:\n  0: no(.|\n)*and 2 more\nMend them\."):
        refuse({str(number): "no" for number in range(7)}, "Mend them.")


def test_a_part_lies_inside_the_photo() -> None:
    """Of any shape, also where no part of the wanted ratio fits."""
    for width, height in ((100, 80), (30, 500), (500, 30), (8, 8)):
        for seed in range(50):
            left, top, right, bottom = augment.part(width, height, random.Random(seed))
            assert 0 <= left < right <= width + 1e-9
            assert 0 <= top < bottom <= height + 1e-9
            assert 0.74 < (right - left) / (bottom - top) < 1.34
            assert (right - left) * (bottom - top) >= 0.34 * width * height or max(width, height) > 2 * min(
                width, height
            )


def test_strong_views_are_seeded_too() -> None:
    """Colours change with the seed, not with how often or where it is computed."""
    data, preprocessing = drawing("003.Blue_bar", 1), Preprocessing(32, 32)
    before = torch.random.get_rng_state()
    views = [augment.view(data, preprocessing, f"seed-{i}", strong=True) for i in (1, 1, 2, 3)]
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    assert views[0].shape == (32, 32, 3)
    assert views[0].dtype == torch.uint8
    assert torch.equal(torch.random.get_rng_state(), before)


def test_half_of_the_views_are_mirrored() -> None:
    """A photo that is dark on the left is so on the right in about every second view."""
    image = Image.new("RGB", (100, 100), "white")
    image.paste("black", (0, 0, 50, 100))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    views = [augment.view(buffer.getvalue(), Preprocessing(32, 32), seed).float() for seed in range(60)]
    mirrored = sum(bool(view[:, 0].mean() > view[:, -1].mean()) for view in views)
    assert 15 < mirrored < 45


class Others(World):
    """Stands for two processes on two machines: collects what this one sends, and lets another answer."""

    sent: list[bytes]
    others: list[Any]

    def __init__(self, rank: int, others: Sequence[Any] = ()) -> None:
        super().__init__(rank, 2, torch.device("cpu"))
        object.__setattr__(self, "sent", [])
        object.__setattr__(self, "others", list(others))

    def gather(self, value: Any) -> list[Any]:
        """This one's and the other's, by rank."""
        self.sent.append(pickle.dumps(value))
        other = self.others.pop(0)
        return [value, other] if self.rank == 0 else [other, value]

    def broadcast(self, value: Any) -> Any:
        """As if the leader knew nothing."""
        return value


def test_what_processes_send_is_as_large_as_their_features(photos: list[tuple[Path, str]], tmp_path: Path) -> None:
    """A row is a view of its batch, and would be sent with all of it. What another machine computed is kept here."""
    found, _ = identify(photos)
    theirs: Any = (["ff" * 32], torch.ones(1, 3), {})
    world = Others(0, [theirs])
    store = FeatureStore(Colours(), tmp_path / "cache", world)
    store.look_up(found)
    store.compute(found)
    assert len(world.sent[0]) < 5 * (64 + 12 + 40) + 1000
    assert torch.equal(store.of([Photo(tmp_path, "", "ff" * 32)]), torch.ones(1, 3))
    assert FeatureCache(tmp_path / "cache", "colours").load({"ff" * 32})


def test_a_cache_that_cannot_be_read_just_now_is_left_alone(
    photos: list[tuple[Path, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is damaged is removed, not what a passing error hides; others may read what one wrote."""
    found, _ = identify(photos)
    computed(Colours(), tmp_path, found)
    (kept,) = (tmp_path / "cache" / "colours").glob("*.pt")
    assert kept.stat().st_mode & 0o777 == 0o644

    def fail(*_: Any, **__: Any) -> None:
        raise PermissionError("closed")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", fail)
        assert FeatureCache(tmp_path / "cache", "colours").load({found[0].sha256}) == {}
    assert FeatureCache(tmp_path / "cache", "colours").load({found[0].sha256})
