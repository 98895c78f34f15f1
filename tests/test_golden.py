"""Golden photos: kept with what the model says, read back, made where there are none; and training keeps them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from model_serving import golden
from model_serving.archive import unpacked
from model_serving.classifier import Classifier, ClassifierError, ModelSpec
from model_serving.errors import ArchiveError
from tests.labelled import make_folders
from tests.photos import encode, jpeg, sample_image
from training.config import TrainingConfig
from training.data import layout
from training.run import Place, run


@pytest.fixture(scope="module")
def classifier(unpacked: Path) -> Classifier:
    """The default model."""
    return Classifier.load(unpacked)


def test_what_is_recorded_is_read_back(classifier: Classifier, tmp_path: Path) -> None:
    """Photos, true classes and answers; what the model refuses is left out."""
    photos = [("cup/a.jpg", jpeg(), "n07920052"), ("none", b"no photo", None), ("b.jpg", jpeg((300, 300)), None)]
    recorded = golden.record(classifier, photos)
    assert [photo.name for photo in recorded] == ["cup/a.jpg", "b.jpg"]
    assert recorded[0].predictions[0][0] == "n07920052"
    assert len(recorded[0].predictions) == golden.RECORDED
    for name, content in golden.files(recorded).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert golden.read(tmp_path) == recorded


def test_archives_without_any(unpacked: Path, classifier: Classifier) -> None:
    """Nothing is read; made-up pictures differ from each other and are labelled."""
    assert golden.read(unpacked) == []
    assert golden.files([]) == {}
    drawn = golden.drawn(classifier)
    assert len({photo.body for photo in drawn}) == len(drawn) == 8
    assert len({photo.predictions for photo in drawn}) == 8


@pytest.mark.parametrize(
    "index",
    ["{", "[]", '{"photos": [{"file": "../x", "class_id": null, "predictions": [], "name": "", "decision": ""}]}'],
)
def test_damaged_ones_are_refused(index: str, tmp_path: Path) -> None:
    """One line, and no file outside of the folder is read."""
    (tmp_path / "golden").mkdir()
    (tmp_path / "x").write_bytes(b"secret")
    (tmp_path / "golden" / "golden.json").write_text(index)
    with pytest.raises(ArchiveError, match=r"golden/golden\.json cannot be read"):
        golden.read(tmp_path)


def test_photos_of_a_folder(classifier: Classifier, tmp_path: Path) -> None:
    """The true class is the folder's name where the model knows it."""
    for name in ("n07920052/a.jpg", "mine/b.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(jpeg())
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "mine" / "broken.jpg").write_bytes(b"no photo")
    found = golden.from_folder(tmp_path, classifier)
    assert [(photo.name, photo.class_id) for photo in found] == [("mine/b.jpg", None), ("n07920052/a.jpg", "n07920052")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArchiveError, match="holds no photos"):
        golden.from_folder(tmp_path / "empty", classifier)


def test_photos_of_a_large_folder(classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spread over all classes, and small enough to be sent."""
    monkeypatch.setattr(golden, "LIMIT", 4)
    for number in range(7):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg((900, 900)))
    found = golden.from_folder(tmp_path, classifier)
    assert [photo.name for photo in found] == ["0.jpg", "1.jpg", "3.jpg", "5.jpg"]
    with Image.open(io.BytesIO(found[0].body)) as picture:
        assert picture.size == (classifier.spec.preprocessing.resize,) * 2


def test_kept_photos_are_small_upright_and_anonymous() -> None:
    """No place, no camera; the turn is done."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera of somebody"
    kept = golden.shrunk(encode(sample_image().resize((1200, 800)), exif=exif), 256)
    with Image.open(io.BytesIO(kept)) as picture:
        assert picture.size == (256, 384)
        assert not picture.getexif()
    with pytest.raises(ClassifierError, match="cannot be read"):
        golden.shrunk(b"no photo", 256)


@pytest.mark.parametrize(("count", "kept"), [(4, 4), (2, 2), (0, 0)])
def test_training_keeps_some(count: int, kept: int, tmp_path: Path) -> None:
    """Test photos of as many classes as there are photos, with the trained model's own answers; or none."""
    photos = make_folders(tmp_path / "bars", {"train": 4, "valid": 2, "test": 2})
    config = TrainingConfig(backbone="efficientnet_lite0", crop=64, resize=72, epochs=2, golden=count)
    run(layout.load(photos), config, "bars", Place(tmp_path / "run", keep_features=False))
    with unpacked(tmp_path / "run" / "model.tar.gz") as folder:
        found = golden.read(folder)
        assert len(found) == kept
        assert (folder / "golden").exists() == bool(kept)
        names = {info.class_id for info in ModelSpec.load(folder / "model.json").classes}
        assert len({photo.class_id for photo in found}) == min(kept, len(names))
        assert all(photo.class_id == photo.name.split("/")[1] for photo in found)
        answers = Classifier.load(folder).classify([photo.body for photo in found]).results
    for photo, answer in zip(found, answers, strict=True):
        assert not isinstance(answer, Exception)
        assert photo.decision == answer.decision
        assert photo.predictions[0][0] == answer.predictions[0][0].class_id
        assert photo.predictions[0][1] == pytest.approx(answer.predictions[0][1], abs=1e-4)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]["n"] == 6
