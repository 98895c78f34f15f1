"""Photos into label folders, and back."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest

from client import labels, sorting
from client.errors import UsageError
from client.results import Failure, Outcome
from client.sorting import How, sort_into
from lambda_api.schema import Decision, Prediction
from tests.fake_api import photo


def _outcome(path: Path | str, label: str, decision: Decision = "confident") -> Outcome:
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest() if os.path.isfile(path) else None
    return Outcome(str(path), digest, (Prediction(label, label, 0.9),), decision)


def _tree(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


@pytest.fixture
def photos(tmp_path: Path) -> list[Outcome]:
    """Two beagles with one name in different folders, a pug, an unsure, an unknown and a broken one."""
    for folder in ("a", "b"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
    root = tmp_path / "photos"
    broken = root / "torn.jpg"
    broken.write_bytes(b"\xff\xd8")
    return [
        _outcome(photo(root / "a" / "1.jpg", "red"), "beagle"),
        _outcome(photo(root / "b" / "1.jpg", "blue"), "beagle"),
        _outcome(photo(root / "b" / "2.jpg", "lime"), "pug"),
        _outcome(photo(root / "3.jpg", "gray"), "pug", "unsure"),
        _outcome(photo(root / "4.jpg", "black"), "pug", "unknown"),
        Outcome(str(broken), error=Failure("bad_image", "It is torn.", "")),
    ]


SORTED = ["_failed/torn.jpg", "_unknown/4.jpg", "_unsure/pug/3.jpg", "beagle/1 (2).jpg", "beagle/1.jpg", "pug/2.jpg"]


@pytest.mark.parametrize("how", How)
def test_sorted_and_back(photos: list[Outcome], tmp_path: Path, how: How) -> None:
    """Each photo is in its folder, clashing names are kept apart, and undo brings back what was, with nothing left."""
    root, target = tmp_path / "photos", tmp_path / "sorted"
    before = {name: (root / name).read_bytes() for name in _tree(root)}
    done = sort_into(photos, target, how)
    assert _tree(target) == sorted([*SORTED, sorting.UNDO_FILE])
    assert (target / "beagle" / "1.jpg").read_bytes() == before["a/1.jpg"]
    assert (target / "beagle" / "1 (2).jpg").read_bytes() == before["b/1.jpg"]
    assert _tree(root) == ([] if how is How.move else sorted(before))
    assert not done.problems and done.done.total() == 6
    assert not sorting.undo(target / sorting.UNDO_FILE).problems
    assert {name: (root / name).read_bytes() for name in _tree(root)} == before
    assert not target.exists()


@pytest.mark.parametrize("how", [How.link, How.copy])
def test_again_doubles_nothing(photos: list[Outcome], tmp_path: Path, how: How) -> None:
    """A second run finds each photo there already; a new one comes beside."""
    target = tmp_path / "sorted"
    sort_into(photos, target, how)
    tree = _tree(target)
    assert sort_into(photos, target, how).already == 6
    assert _tree(target) == tree
    new = _outcome(photo(tmp_path / "photos" / "a" / "2.jpg", "white"), "pug")
    assert sort_into([*photos, new], target, how).done.total() == 1
    assert "pug/2 (2).jpg" in _tree(target)


def test_nothing_is_overwritten(photos: list[Outcome], tmp_path: Path) -> None:
    """What lies in a label's folder stays, even where a move would take its name."""
    (tmp_path / "sorted" / "pug").mkdir(parents=True)
    (tmp_path / "sorted" / "pug" / "2.jpg").write_text("mine")
    sort_into(photos, tmp_path / "sorted", How.move)
    assert (tmp_path / "sorted" / "pug" / "2.jpg").read_text() == "mine"
    assert (tmp_path / "sorted" / "pug" / "2 (2).jpg").exists()


def test_undo_leaves_what_has_changed(photos: list[Outcome], tmp_path: Path) -> None:
    """A copy that was edited, one whose original is gone, and a place that is taken again are left, and told."""
    target = tmp_path / "sorted"
    sort_into(photos, target, How.copy)
    (target / "pug" / "2.jpg").write_text("edited")
    os.unlink(photos[0].path)
    undone = sorting.undo(target / sorting.UNDO_FILE)
    assert {Path(path).name for path, _ in undone.problems} == {"2.jpg", "1.jpg"}
    assert _tree(target) == ["beagle/1.jpg", "pug/2.jpg", sorting.UNDO_FILE]
    moved = tmp_path / "moved"
    sort_into([photos[3]], moved, How.move)
    Path(photos[3].path).write_text("new")
    assert sorting.undo(moved / sorting.UNDO_FILE).problems
    assert Path(photos[3].path).read_text() == "new"


def test_undo_twice_and_after_a_kill(photos: list[Outcome], tmp_path: Path) -> None:
    """A step that was noted and not done, and a torn last line, are nothing to take back."""
    target = tmp_path / "sorted"
    sort_into(photos[:1], target, How.move)
    with (target / sorting.UNDO_FILE).open("a") as file:
        step = {"did": "move", "to": str(target / "x.jpg"), "from": str(tmp_path / "y.jpg")}
        file.write(json.dumps(step) + '\n{"did": "mo')
    assert sorting.undo(target / sorting.UNDO_FILE).taken_back == 1
    assert Path(photos[0].path).exists()
    with pytest.raises(UsageError):
        sorting.undo(target / sorting.UNDO_FILE)


def test_members_of_archives_are_copied(tmp_path: Path) -> None:
    """What is no file of its own comes as a copy, whatever way was wished, and goes again."""
    photo(tmp_path / "a.jpg")
    with zipfile.ZipFile(tmp_path / "holiday.zip", "w") as archive:
        archive.write(tmp_path / "a.jpg", "beach/a.jpg")
    done = sort_into([_outcome(f"{tmp_path}/holiday.zip/beach/a.jpg", "pug")], tmp_path / "sorted", How.move)
    assert done.done == {"copy": 1}
    assert (tmp_path / "sorted" / "pug" / "a.jpg").read_bytes() == (tmp_path / "a.jpg").read_bytes()
    assert sorting.undo(tmp_path / "sorted" / sorting.UNDO_FILE).taken_back == 1


def test_photos_that_are_gone_are_told(photos: list[Outcome], tmp_path: Path) -> None:
    """One that was deleted since stops none of the others."""
    os.unlink(photos[2].path)
    done = sort_into(photos, tmp_path / "sorted")
    assert [path for path, _ in done.problems] == [photos[2].path]
    assert done.done.total() == 5
    assert "1 left where they are" in done.summary()


def test_a_target_among_the_photos(tmp_path: Path) -> None:
    """Photos that lie in the sorted folder already are not sorted into it once more."""
    first = _outcome(photo(tmp_path / "a.jpg"), "pug")
    sort_into([first], tmp_path / "sorted", How.move)
    again = _outcome(tmp_path / "sorted" / "pug" / "a.jpg", "beagle")
    assert sort_into([again], tmp_path / "sorted", How.move).already == 1
    assert (tmp_path / "sorted" / "pug" / "a.jpg").exists()


def test_no_undo_file(tmp_path: Path) -> None:
    """Neither a missing nor a foreign file is worked on."""
    (tmp_path / "notes.txt").write_text("hello")
    for name in ("notes.txt", "missing"):
        with pytest.raises(UsageError):
            sorting.undo(tmp_path / name)


@pytest.mark.parametrize(
    "label", ["a/b", "..", ".", "", "CON", "com1.txt", "x" * 300, "a\x00b", "trailing. ", "_unsure", ".hidden", "C:\\x"]
)
def test_folder_names_are_safe(label: str) -> None:
    """Whatever a class is called, its folder is one plain name."""
    name = labels.safe(label)
    assert name and len(name) <= 110 and not set(name) & set('/\\:*?"<>|\x00')
    assert name not in (".", "..") and not name.startswith((".", "_")) and name == name.rstrip(" .")
    assert name.upper() not in ("CON", "COM1.TXT")


def test_different_labels_have_different_folders() -> None:
    """Those that differ in capitals, in signs that no folder can have, or far behind."""
    names = labels.FolderNames()
    found = ["Cat", "cat", "a/b", "a:b", "a_b", "x" * 120, "x" * 121, "é", "e\u0301"]
    folders = [
        names.of(Outcome("p", predictions=(Prediction(each, each, 1.0),), decision="confident"))[0] for each in found
    ]
    assert len({folder.casefold() for folder in folders}) == len(found)
    assert folders[0] == "Cat"
