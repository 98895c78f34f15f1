"""Labelled folders -> datasets: both layouts, channels, the split and everything that is refused."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from model_serving.classifier import ClassInfo
from tests.conftest import photo_folder
from training.data import layout
from training.data.layout import Dataset, Example, evaluation_examples, load, load_channels, photos_of, write_split
from training.data.names import class_infos
from training.data.partition import partition
from training.errors import ConfigError, DataError


def fill(root: Path, names: Iterable[str]) -> Path:
    """Files of those names, each with its own content; a name that ends in / is an empty folder."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
        else:
            path.write_bytes(name.encode("utf-8", "surrogateescape"))
    return root


def photos(folder: str, count: int) -> list[str]:
    """`count` names of photos in a class folder."""
    return [f"{folder}/{number:03}.jpg" for number in range(count)]


def names(examples: Iterable[Example]) -> list[str]:
    """The names of examples."""
    return [example.name for example in examples]


def by_split(dataset: Dataset) -> dict[str, list[str]]:
    """The names of each split."""
    return {split: names(dataset.split(split)) for split in layout.SPLITS}


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    """A folder as dogImages is laid out."""
    parts = (
        photos(f"{split}/{name}", 2) for split in layout.SPLITS for name in ("014.Basenji", "001.American_bulldog")
    )
    return fill(tmp_path / "dogImages", (name for part in parts for name in part))


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """One folder of class folders."""
    return fill(tmp_path / "pets", [*photos("cat", 20), *photos("dog", 30), *photos("owl", 3), *photos("eel", 2)])


def refused(root: Path) -> str:
    """The message with which a folder is refused."""
    with pytest.raises(DataError) as caught:
        load(root)
    return str(caught.value)


def test_folders_of_splits(splits: Path) -> None:
    """train/ valid/ test/ are taken as they are: sorted classes with readable labels, stable names."""
    dataset = load(splits)
    expected = (ClassInfo("001.American_bulldog", "American bulldog"), ClassInfo("014.Basenji", "Basenji"))
    assert dataset.classes == expected
    assert names(dataset.valid) == [
        "valid/001.American_bulldog/000.jpg",
        "valid/001.American_bulldog/001.jpg",
        "valid/014.Basenji/000.jpg",
        "valid/014.Basenji/001.jpg",
    ]
    assert [example.label for example in dataset.test] == [0, 0, 1, 1]
    assert dataset.train[0].path.read_bytes() == b"train/001.American_bulldog/000.jpg"
    assert dataset.generated == ()
    assert dataset.counts()["train"] == {"001.American_bulldog": 2, "014.Basenji": 2}
    assert len(list(dataset)) == 12


@pytest.mark.parametrize("called", ["val", "validation", "Valid"])
def test_other_names_of_valid(splits: Path, called: str) -> None:
    """val and validation mean valid, in any case, and names say valid."""
    expected = names(load(splits).valid)
    (splits / "valid").rename(splits / called)
    assert names(load(splits).valid) == expected


def test_test_is_optional(splits: Path) -> None:
    """Without test/ there is no test split, and none is made."""
    (splits / "test").rename(splits.parent / "elsewhere")
    assert load(splits).test == ()


def test_valid_is_split_off_train(tmp_path: Path) -> None:
    """Without valid/ it comes out of train/, class by class; test/ stays."""
    root = fill(tmp_path / "a", [*photos("train/cat", 20), *photos("train/dog", 10), *photos("test/dog", 4)])
    dataset = load(root, fractions=(0.2, 0.3))
    assert dataset.generated == ("valid",)
    assert dataset.counts()["valid"] == {"cat": 4, "dog": 2}
    assert dataset.counts()["train"] == {"cat": 16, "dog": 8}
    assert len(dataset.test) == 4
    assert all(name.startswith("train/") for name in names(dataset.valid))


def test_class_folders_are_split(classes: Path) -> None:
    """Every photo lands in one split; three of a class serve all splits, two serve train and valid."""
    dataset = load(classes, fractions=(0.1, 0.2))
    assert dataset.generated == ("train", "valid", "test")
    assert dataset.counts()["valid"] == {"cat": 2, "dog": 3, "owl": 1, "eel": 1}
    assert dataset.counts()["test"] == {"cat": 4, "dog": 6, "owl": 1, "eel": 0}
    assert sorted(names(dataset)) == sorted(str(p.relative_to(classes)) for p in classes.rglob("*.jpg"))


def test_split_depends_on_nothing_but_seed_and_names(
    classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither place, order of the file system nor other classes change it; the seed does."""
    first = by_split(load(classes, seed=1))
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: random.sample(found := real(path), len(found)))
    other = fill(tmp_path / "other", [*photos("cat", 20), *photos("dog", 30), *photos("owl", 3), *photos("ant", 9)])
    second = by_split(load(other, seed=1))
    for split, found in first.items():
        assert [n for n in found if n[:3] in ("cat", "dog", "owl")] == [n for n in second[split] if n[:3] != "ant"]
    assert by_split(load(classes, seed=2)) != first


def test_an_added_photo_moves_few(classes: Path) -> None:
    """A split made again after one more photo keeps nearly all others where they were."""
    before = load(classes)
    fill(classes, ["dog/new.jpg"])
    after = load(classes)
    moved = set(names(before.train)) ^ (set(names(after.train)) - {"dog/new.jpg"})
    assert len(moved) <= 2


def test_copies_stay_together(tmp_path: Path) -> None:
    """Photos of the same content are never on two sides of a made split, not even in two classes."""
    root = fill(tmp_path / "a", [*photos("cat", 12), *photos("dog", 12)])
    for number in range(0, 12, 2):
        (root / f"cat/{number + 1:03}.jpg").write_bytes((root / f"cat/{number:03}.jpg").read_bytes())
    for number in range(0, 12, 4):
        (root / f"dog/{number:03}.jpg").write_bytes((root / f"cat/{number:03}.jpg").read_bytes())
    for seed in range(20):
        dataset = load(root, seed=seed, fractions=(0.4, 0.3))
        contents = [{example.path.read_bytes() for example in dataset.split(split)} for split in layout.SPLITS]
        assert len(set.union(*contents)) == sum(map(len, contents))


def test_copies_are_left_to_train(tmp_path: Path) -> None:
    """Where there are single photos enough, valid and test are made of them: a copy would count twice in a figure."""
    root = fill(tmp_path / "a", [*photos("cat", 12), *photos("dog", 12)])
    for number in range(0, 6, 2):
        (root / f"cat/{number + 1:03}.jpg").write_bytes((root / f"cat/{number:03}.jpg").read_bytes())
    copies = {f"cat/{number:03}.jpg" for number in range(6)}
    for seed in range(20):
        assert copies <= set(names(load(root, seed=seed).train))


def test_partition_ignores_the_order_of_examples(classes: Path) -> None:
    """The same examples in another order are split the same, copies among them."""
    for number in range(0, 20, 2):
        (classes / f"cat/{number + 1:03}.jpg").write_bytes((classes / f"cat/{number:03}.jpg").read_bytes())
    examples = list(load(classes))
    expected = partition(examples, ["cat", "dog", "eel", "owl"], 0, (0.4, 0.4))
    for seed in range(5):
        shuffled = random.Random(seed).sample(examples, len(examples))
        assert partition(shuffled, ["cat", "dog", "eel", "owl"], 0, (0.4, 0.4)) == expected


def test_all_copied(tmp_path: Path) -> None:
    """A class whose every photo lies there twice is still split, pair by pair."""
    root = fill(tmp_path / "a", [*photos("cat", 8), *photos("dog", 8)])
    for number in range(0, 8, 2):
        (root / f"cat/{number + 1:03}.jpg").write_bytes((root / f"cat/{number:03}.jpg").read_bytes())
    assert load(root).counts()["valid"] == {"cat": 2, "dog": 1}


def test_fractions(classes: Path) -> None:
    """A test fraction of 0 makes no test split; fractions that leave nothing are refused."""
    dataset = load(classes, fractions=(0.1, 0))
    assert dataset.test == ()
    assert dataset.generated == ("train", "valid")
    for fractions in ((0.0, 0.1), (0.5, 0.5), (0.1, -0.1), (float("nan"), 0.1)):
        with pytest.raises(ConfigError, match="fractions"):
            load(classes, fractions=fractions)


def test_channels(splits: Path) -> None:
    """Three folders by themselves give the same names as the folder that holds them."""
    whole = load(splits)
    separate = load_channels(splits / "train", splits / "valid", splits / "test")
    assert by_split(separate) == by_split(whole)
    alone = load_channels(splits / "train", None, None)
    assert alone.generated == ("valid",)
    assert len(alone.valid) == 2
    with pytest.raises(DataError, match="same folder"):
        load_channels(splits / "train", splits / "train", None)


def test_split_file(classes: Path, tmp_path: Path) -> None:
    """A written split is followed whatever seed is given, and is readable JSON."""
    first, file = load(classes, seed=7), tmp_path / "out" / "split.json"
    write_split(first, file)
    assert set(json.loads(file.read_text("utf-8"))) == {"seed", "classes", "train", "valid", "test"}
    again = load(classes, seed=8, split_file=file)
    assert by_split(again) == by_split(first)
    assert again.seed == 7
    assert again.generated == ()
    assert [p.name for p in file.parent.iterdir()] == ["split.json"]


def test_split_file_that_does_not_fit(classes: Path, tmp_path: Path) -> None:
    """Photos that only one side knows, and photos listed twice, are told."""
    file = tmp_path / "split.json"
    write_split(load(classes), file)
    content = json.loads(file.read_text("utf-8"))
    content["test"].append(content["train"][0])
    file.write_text(json.dumps(content), encoding="utf-8")
    (classes / content["valid"][0]).unlink()
    fill(classes, ["dog/new.jpg"])
    with pytest.raises(DataError) as caught:
        load(classes, split_file=file)
    lines = str(caught.value).splitlines()
    assert "1 photo of" in lines[1] and content["valid"][0] in lines[1]
    assert "not in" in lines[2] and "dog/new.jpg" in lines[2]
    assert "listed twice" in lines[3] and content["train"][0] in lines[3]


def test_split_file_without_a_class(classes: Path, tmp_path: Path) -> None:
    """A split that leaves a class nothing to learn from or to validate on is refused."""
    file = tmp_path / "split.json"
    write_split(load(classes), file)
    content = json.loads(file.read_text("utf-8"))
    content["test"] += [name for name in content["valid"] if name.startswith("owl")]
    content["valid"] = [name for name in content["valid"] if not name.startswith("owl")]
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=r"1 class without a photo in valid of .*: owl"):
        load(classes, split_file=file)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"train": [1], "valid": [], "test": []}', "\xff"])
def test_no_split_file(classes: Path, tmp_path: Path, text: str) -> None:
    """What is no split file is refused, not guessed at."""
    file = tmp_path / "split.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"split\.json"):
        load(classes, split_file=file)


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("014.Basenji", "Basenji"),
        ("001.American_bulldog", "American bulldog"),
        ("n02085620-Chihuahua", "Chihuahua"),
        ("n02085620-Shih-Tzu", "Shih-Tzu"),
        ("01_beagle", "beagle"),
        ("10-speed", "10-speed"),
        ("3.5mm_jack", "3.5mm jack"),
        ("2024", "2024"),
        ("007.", "007."),
        ("n02085620", "n02085620"),
        ("__", "__"),
        ("a__b", "a b"),
    ],
)
def test_display_name(folder: str, label: str) -> None:
    """Numbering and WordNet ids go, numbers that are part of a name stay, nothing becomes empty."""
    assert layout.display_name(folder) == label


def test_shared_display_names() -> None:
    """Two folders that would read the same keep their own names."""
    assert [info.label for info in class_infos(["2.Beagle", "1.Beagle", "3.Pug"])] == ["1.Beagle", "2.Beagle", "Pug"]


def test_what_is_a_photo(tmp_path: Path) -> None:
    """Suffix or first bytes make a photo, broken or not; hidden and other files are counted and left out."""
    wanted = ["cat/1.JPG", "cat/deep/er/2.webp", "cat/raw.CR2", "dog/3.jpeg", "dog/5.jfif"]
    others = ["cat/.hidden.jpg", "cat/Thumbs.db", "cat/notes.txt", "dog/noise", "dog/__MACOSX/x.jpg", "README.md"]
    root = fill(tmp_path / "a", [*wanted, *others, ".git/x.jpg", "@eaDir/y.jpg"])
    (root / "dog/without_suffix").write_bytes(b"\xff\xd8\xff\xe0 broken")
    (root / "dog/photo.jpg_large").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (root / "dog/notes.zip").write_bytes(b"\xff\xd8\xff\xe0 told by its suffix")
    dataset = load(root)
    assert sorted(names(dataset)) == sorted([*wanted, "dog/without_suffix", "dog/photo.jpg_large"])
    assert dataset.ignored == len(others) + 3


def test_links(tmp_path: Path) -> None:
    """Links are followed; one that leads back up does not go round; one that leads nowhere is a broken photo."""
    root = fill(tmp_path / "a", [*photos("cat", 3), *photos("dog", 3)])
    fill(tmp_path / "store", photos("owls", 3))
    (root / "owl").symlink_to(tmp_path / "store" / "owls")
    (root / "cat" / "up").symlink_to(root)
    (root / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    dataset = load(root)
    total = {
        info.class_id: sum(dataset.counts()[split][info.class_id] for split in layout.SPLITS)
        for info in dataset.classes
    }
    assert total == {"cat": 3, "dog": 4, "owl": 3}


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    """A named pipe called .jpg would wait for its writer."""
    root = fill(tmp_path / "a", [*photos("cat", 3), *photos("dog", 3)])
    os.mkfifo(root / "cat" / "pipe.jpg")
    os.mkfifo(root / "cat" / "pipe")
    assert load(root).ignored == 2


def test_names_of_any_bytes(tmp_path: Path) -> None:
    """Undecodable file names and line breaks survive the split file; messages show them escaped."""
    odd = [os.fsdecode(b"cat/\xe9t\xe9.jpg"), "cat/a\nb.jpg", "cat/Größe.jpg"]
    root = fill(tmp_path / "a", [*odd, *photos("dog", 3)])
    dataset, file = load(root), tmp_path / "split.json"
    write_split(dataset, file)
    assert by_split(load(root, split_file=file)) == by_split(dataset)
    assert "Größe" in file.read_text("utf-8")
    fill(root, [os.fsdecode(b"\xff\n.jpg")])
    message = refused(root)
    assert "\\udcff\\n.jpg" in message
    message.encode("utf-8")


def test_undecodable_class_names(tmp_path: Path) -> None:
    """A class name goes into JSON as text, so its folder must be named in UTF-8."""
    root = fill(tmp_path / "a", [*photos(os.fsdecode(b"\xe9"), 3), *photos("dog", 3)])
    assert "UTF-8" in refused(root) and "\\udce9" in refused(root)


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        (
            ["1.jpg", "2.jpg"],
            ["2 photos of", "in no class folder: 1.jpg, 2.jpg", "Make a folder for each class", "Beagle/"],
        ),
        (
            ["train/1.jpg", "train/2.jpg"],
            ["in no class folder: train/1.jpg", "Make a folder for each class", "valid/  (the same)"],
        ),
        (["a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg", "5.jpg"], ["1 photo of", "lies in no class folder: 5.jpg"]),
        ([], ["no class folders", "Make one for each class"]),
        (["notes.txt"], ["no class folders"]),
        (["a/", "b/"], ["no photo in them"]),
        (["a/1.jpg", "a/2.jpg", "b/", "c/"], ["2 class folders", "hold no photo: b, c", "remove the folder"]),
        (["a/1.jpg", "a/2.jpg"], ["one class only: a", "at least two"]),
        (["a/1.jpg", "a/2.jpg", "b/1.jpg"], ["too few different photos", "class: b", "at least 3"]),
        ([*photos("Cat", 3), *photos("cat", 3)], ["differ only in case: Cat, cat"]),
        (["valid/a/1.jpg", "test/a/1.jpg"], ["test/, valid/ and no train/"]),
        (["cat/1.jpg", "dog/1.jpg", "Test/1.jpg"], ["has Test/ and no train/", "needs another one"]),
        (["dogImages/train/a/1.jpg", "dogImages/train/b/1.jpg"], ["nothing but dogImages/", "Give ", "dogImages."]),
        ([*photos("train/a", 2), *photos("val/a", 2), *photos("valid/a", 2)], ["both val/ and valid/"]),
    ],
)
def test_refused_folders(tmp_path: Path, files: list[str], parts: list[str]) -> None:
    """What would spoil training is refused with the fact, the names and the mend."""
    root = tmp_path / "a"
    root.mkdir()
    message = refused(fill(root, files))
    for part in parts:
        assert part in message


def test_classes_that_differ_between_splits(tmp_path: Path) -> None:
    """Classes missing on either side are told with the mend, and so is a name in another case."""
    files = [f"train/{name}/1.jpg" for name in ("Beagle", "Boxer", "Pug")]
    files += ["valid/beagle/1.jpg", "valid/Boxer/1.jpg", "valid/Lynx/1.jpg", "valid/Pug/", "test/Ox/1.jpg"]
    root = fill(tmp_path / "a", files)
    lines = refused(root).splitlines()
    assert lines[0] == "4 problems with the data:"
    assert '"beagle" what train/ writes "Beagle"' in lines[1]
    assert "1 class of valid/ is not in train/: Lynx" in lines[2]
    assert "missing in valid/: Pug. Move some photos of Pug there, or remove the folder valid" in lines[3]
    assert "1 class of test/ is not in train/: Ox" in lines[4]


def test_all_problems_at_once(tmp_path: Path) -> None:
    """Every problem has its line, with the first names and how many more."""
    root = fill(tmp_path / "a", [*(f"{n}.jpg" for n in range(9)), *photos("cat", 3), "dog/", "eel/1.jpg"])
    lines = refused(root).splitlines()
    assert lines[0] == "3 problems with the data:"
    assert "0.jpg, 1.jpg, 2.jpg and 6 more" in lines[1]


def test_root_that_is_none(tmp_path: Path) -> None:
    """A missing folder and a file are told apart."""
    assert "does not exist" in refused(tmp_path / "gone")
    fill(tmp_path, ["file"])
    assert "is a file" in refused(tmp_path / "file")


def test_closed_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may not be listed is a problem, not an empty one."""
    root = fill(tmp_path / "a", [*photos("cat", 3), *photos("dog", 3), *photos("dog/more", 3)])
    real = os.listdir

    def listdir(path: Path) -> list[str]:
        if path.name == "more":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    assert "may not be listed: dog/more" in refused(root)
    with pytest.raises(DataError, match="more may not be listed"):
        photos_of(root)


CLASSES = tuple(ClassInfo(name, name) for name in ("001.American_bulldog", "014.Basenji", "016.Beagle"))


def test_evaluation_takes_test(splits: Path) -> None:
    """Of a folder with test/ that is evaluated, labelled as the model counts its classes, not as the folder does."""
    examples = evaluation_examples(splits, CLASSES[1:] + CLASSES[:1])
    assert [(example.name, example.label) for example in examples] == [
        ("test/001.American_bulldog/000.jpg", 2),
        ("test/001.American_bulldog/001.jpg", 2),
        ("test/014.Basenji/000.jpg", 0),
        ("test/014.Basenji/001.jpg", 0),
    ]


def test_evaluation_of_class_folders(splits: Path) -> None:
    """Class folders are evaluated as they are; classes of the model may be missing."""
    assert names(evaluation_examples(splits / "valid", CLASSES))[0] == "001.American_bulldog/000.jpg"


def test_evaluation_by_split_file(classes: Path, tmp_path: Path) -> None:
    """A split file says which photos were kept for testing; others may be there or not."""
    dataset, file = load(classes), tmp_path / "split.json"
    write_split(dataset, file)
    dataset.train[0].path.unlink()
    fill(classes, ["cat/new.jpg"])
    assert evaluation_examples(classes, dataset.classes, file) == dataset.test
    dataset.test[0].path.unlink()
    with pytest.raises(DataError, match=f"not in the folder: {dataset.test[0].name}"):
        evaluation_examples(classes, dataset.classes, file)


def test_evaluation_refuses(splits: Path, tmp_path: Path) -> None:
    """Unknown classes are named with the nearest one; no photos and no test/ are told."""
    fill(splits, ["test/014.Basenjy/1.jpg", "test/Zebra/1.jpg"])
    with pytest.raises(DataError) as caught:
        evaluation_examples(splits, CLASSES)
    assert "no class 014.Basenjy. Is it 014.Basenji?" in str(caught.value)
    assert "no class Zebra. The model knows 001.American_bulldog, 014.Basenji" in str(caught.value)
    with pytest.raises(DataError, match="no photos to evaluate"):
        evaluation_examples(fill(tmp_path / "empty", ["014.Basenji/"]), CLASSES)
    with pytest.raises(DataError, match="no test/"):
        evaluation_examples(fill(tmp_path / "b", ["train/014.Basenji/1.jpg"]), CLASSES)


def test_photos_of_a_folder(tmp_path: Path) -> None:
    """All photos below a folder in the order of their names; a folder without is told."""
    root = fill(tmp_path / "a", ["b/1.jpg", "a.png", "notes.txt", "b/c/2.webp"])
    assert photos_of(root) == [root / "a.png", root / "b/1.jpg", root / "b/c/2.webp"]
    with pytest.raises(DataError, match="no photos"):
        photos_of(fill(tmp_path / "none", ["notes.txt"]))
    with pytest.raises(DataError, match="does not exist"):
        photos_of(tmp_path / "gone")


def test_fingerprint(tmp_path: Path) -> None:
    """Equal names and contents give equal fingerprints in any order; a change of either changes it."""
    file = fill(tmp_path, ["a.jpg"]) / "a.jpg"
    assert layout.content_hash(file) == hashlib.sha256(b"a.jpg").hexdigest()
    hashes = {"a.jpg": layout.content_hash(file), os.fsdecode(b"\xff.jpg"): "00" * 32}
    found = layout.fingerprint(hashes)
    assert len(found) == 12 and int(found, 16) >= 0
    assert layout.fingerprint(dict(reversed(hashes.items()))) == found
    assert layout.fingerprint({**hashes, "a.jpg": "11" * 32}) != found
    assert layout.fingerprint({"b.jpg" if name == "a.jpg" else name: h for name, h in hashes.items()}) != found


def test_real_photos() -> None:
    """The dog photos load as they are, with every class in every split."""
    dataset = load(photo_folder("dogs"))
    assert len(dataset.classes) == 35
    assert all(count for split in dataset.counts().values() for count in split.values())
    assert dataset.classes[0] == ClassInfo("001.American_bulldog", "American bulldog")
