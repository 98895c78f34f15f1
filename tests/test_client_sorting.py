"""Photos into label folders."""

from __future__ import annotations

import errno
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from client import disk, labels
from client.errors import UsageError
from client.results import Failure, Outcome
from client.sorting import UNDO_FILE, How, sort_into, undo
from lambda_api.schema import Prediction
from tests.fake_api import photo
from tests.sorted_photos import SORTED, contents, outcome, some_photos, tree


@pytest.fixture
def photos(tmp_path: Path) -> list[Outcome]:
    """Some, in `photos`."""
    return some_photos(tmp_path / "photos")


@pytest.mark.parametrize("how", How)
def test_sorted_and_back(photos: list[Outcome], tmp_path: Path, how: How) -> None:
    """Each photo is in its folder, clashing names are kept apart, and undo brings back what was, with nothing left."""
    root, target = tmp_path / "photos", tmp_path / "sorted"
    before = contents(root)
    done = sort_into(photos, target, how)
    failed = {"_failed/torn.jpg"} if how is How.move else set()
    assert tree(target) == sorted({*SORTED, UNDO_FILE} - failed)
    assert (target / "beagle" / "1.jpg").read_bytes() == before["a/1.jpg"]
    assert (target / "beagle" / "1 (2).jpg").read_bytes() == before["b/1.jpg"]
    assert tree(root) == (["torn.jpg"] if how is How.move else sorted(before))
    assert not done.problems and done.done == 6 - len(failed)
    assert f"{done.done} {'linked' if how is How.link else 'copied' if how is How.copy else 'moved'}" in done.summary()
    assert undo(target / UNDO_FILE).taken_back == done.done
    assert contents(root) == before
    assert not target.exists()


def test_links_hold_whatever_is_moved(photos: list[Outcome], tmp_path: Path) -> None:
    """They take no space, and neither folder needs the other's name."""
    sort_into(photos, tmp_path / "sorted")
    link = tmp_path / "elsewhere" / "pug" / "2.jpg"
    assert os.path.samefile(photos[2].path, tmp_path / "sorted" / "pug" / "2.jpg")
    (tmp_path / "sorted").rename(tmp_path / "elsewhere")
    (tmp_path / "photos").rename(tmp_path / "old")
    assert link.read_bytes() == (tmp_path / "old" / "b" / "2.jpg").read_bytes()


def test_copies_keep_their_times(photos: list[Outcome], tmp_path: Path) -> None:
    """Programs sort photos by them."""
    os.utime(photos[0].path, (1e9, 1e9))
    sort_into(photos, tmp_path / "sorted", How.copy)
    assert (tmp_path / "sorted" / "beagle" / "1.jpg").stat().st_mtime == 1e9


@pytest.mark.parametrize("how", How)
@pytest.mark.parametrize("forgotten", [False, True])
def test_again_doubles_nothing(photos: list[Outcome], tmp_path: Path, how: How, forgotten: bool) -> None:
    """A second run finds each photo there, with its undo file and without; a new one with an old name comes beside."""
    target = tmp_path / "sorted"
    sort_into(photos, target, how)
    if forgotten:
        (target / UNDO_FILE).unlink()
    before = set(tree(target)) - {UNDO_FILE}
    again = sort_into(photos, target, how)
    if forgotten and how is How.move:
        assert len(again.problems) == 5
    else:
        assert again.counts["already"] == (5 if how is How.move else 6)
    assert set(tree(target)) - {UNDO_FILE} == before
    new = outcome(photo(tmp_path / "photos" / "a" / "2.jpg", "white"), "pug")
    assert sort_into([*photos, new], target, how).done == 1
    assert set(tree(target)) - {UNDO_FILE} == {*before, "pug/2 (2).jpg"}


@pytest.mark.parametrize("how", [How.link, How.copy])
def test_another_label_takes_it_elsewhere(photos: list[Outcome], tmp_path: Path, how: How) -> None:
    """A failed photo that was tried again, and one that a new model calls otherwise, do not stay where they were."""
    target, root = tmp_path / "sorted", tmp_path / "photos"
    sort_into(photos, target, how)
    now = [outcome(root / "torn.jpg", "pug"), replace(photos[2], predictions=(Prediction("boxer", "n2", 0.8),))]
    assert sort_into(now, target, how).done == 2
    kept = set(SORTED) - {"_failed/torn.jpg", "pug/2.jpg"}
    assert set(tree(target)) == {*kept, "pug/torn.jpg", "boxer/2.jpg", UNDO_FILE}
    assert not (target / "_failed").exists()
    assert not undo(target / UNDO_FILE).problems
    assert not target.exists()


def test_a_changed_photo_replaces_its_copy(photos: list[Outcome], tmp_path: Path) -> None:
    """But not one that was edited."""
    target = tmp_path / "sorted"
    sort_into(photos, target, How.copy)
    (target / "pug" / "2.jpg").write_text("edited here")
    for one in photos[0], photos[2]:
        photo(Path(one.path), "white")
    sort_into(photos, target, How.copy)
    assert (target / "beagle" / "1.jpg").read_bytes() == Path(photos[0].path).read_bytes()
    assert (target / "pug" / "2.jpg").read_text() == "edited here"
    assert (target / "pug" / "2 (2).jpg").read_bytes() == Path(photos[2].path).read_bytes()


def test_links_that_become_moves(photos: list[Outcome], tmp_path: Path) -> None:
    """After a look at the links the photos themselves are moved; all goes back at once."""
    root, target = tmp_path / "photos", tmp_path / "sorted"
    before = contents(root)
    sort_into(photos, target)
    assert sort_into(photos, target, How.move).counts == {"move": 5, "failed": 1}
    assert tree(root) == ["torn.jpg"]
    assert not undo(target / UNDO_FILE).problems
    assert contents(root) == before and not target.exists()


@pytest.mark.parametrize("how", How)
def test_nothing_is_overwritten(photos: list[Outcome], tmp_path: Path, how: How) -> None:
    """What lies in a label's folder stays, whatever comes."""
    (tmp_path / "sorted" / "pug").mkdir(parents=True)
    (tmp_path / "sorted" / "pug" / "2.jpg").write_text("mine")
    sort_into(photos, tmp_path / "sorted", how)
    assert (tmp_path / "sorted" / "pug" / "2.jpg").read_text() == "mine"
    assert (tmp_path / "sorted" / "pug" / "2 (2).jpg").exists()
    undo(tmp_path / "sorted" / UNDO_FILE)
    assert tree(tmp_path / "sorted") == ["pug/2.jpg"]


@pytest.mark.parametrize("how", How)
def test_where_there_are_no_links(
    photos: list[Outcome], tmp_path: Path, how: How, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory cards have neither kind: photos are copied and moved all the same, and the summary says so."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "not here")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "symlink", refuse)
    before = contents(tmp_path / "photos")
    done = sort_into(photos, tmp_path / "sorted", how)
    assert not done.problems
    assert ("6 copied, since no links can be made there" in done.summary()) == (how is How.link)
    assert (tmp_path / "sorted" / "beagle" / "1 (2).jpg").read_bytes() == before["b/1.jpg"]
    assert not undo(tmp_path / "sorted" / UNDO_FILE).problems
    assert contents(tmp_path / "photos") == before and not (tmp_path / "sorted").exists()


@pytest.mark.parametrize("how", How)
def test_linked_photos(tmp_path: Path, how: How) -> None:
    """A link among the photos is never moved, which would break it; what it leads to is what is linked and copied."""
    photo(tmp_path / "real.jpg")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").symlink_to("../real.jpg")
    done = sort_into([outcome(tmp_path / "photos" / "a.jpg", "pug")], tmp_path / "sorted", how)
    assert done.counts == {"copy" if how is How.copy else "link": 1}
    assert (tmp_path / "photos" / "a.jpg").is_symlink()
    assert (tmp_path / "sorted" / "pug" / "a.jpg").read_bytes() == (tmp_path / "real.jpg").read_bytes()
    assert not (tmp_path / "sorted" / "pug" / "a.jpg").is_symlink()


def test_a_moved_photo_takes_its_sidecar_along(photos: list[Outcome], tmp_path: Path) -> None:
    """What other programs have noted of it keeps belonging to it, under a new name and back."""
    before = Path(photos[1].path).read_bytes()
    Path(f"{photos[1].path}.xmp").write_text("notes of the blue one")
    sort_into(photos, tmp_path / "sorted", How.move)
    assert (tmp_path / "sorted" / "beagle" / "1 (2).jpg").read_bytes() == before
    assert (tmp_path / "sorted" / "beagle" / "1 (2).jpg.xmp").read_text() == "notes of the blue one"
    undo(tmp_path / "sorted" / UNDO_FILE)
    assert Path(f"{photos[1].path}.xmp").read_text() == "notes of the blue one"


def test_a_sidecar_that_lies_there_belongs_to_another(photos: list[Outcome], tmp_path: Path) -> None:
    """A photo does not get notes that were made of another one, nor lose its own."""
    (tmp_path / "sorted" / "pug").mkdir(parents=True)
    (tmp_path / "sorted" / "pug" / "2.jpg.xmp").write_text("of one that is gone")
    Path(f"{photos[2].path}.xmp").write_text("of the lime one")
    sort_into(photos[2:3], tmp_path / "sorted", How.move)
    assert (tmp_path / "sorted" / "pug" / "2 (2).jpg.xmp").read_text() == "of the lime one"
    assert not (tmp_path / "sorted" / "pug" / "2.jpg").exists()


@pytest.mark.parametrize("how", How)
def test_members_of_archives_are_copied(tmp_path: Path, how: How) -> None:
    """What is no file of its own comes as a copy, whatever way was wished, once, and goes again."""
    photo(tmp_path / "a.jpg")
    with zipfile.ZipFile(tmp_path / "holiday.zip", "w") as archive:
        archive.write(tmp_path / "a.jpg", "beach/a?.jpg")
    member = [outcome(f"{tmp_path}/holiday.zip/beach/a?.jpg", "pug")]
    done = sort_into(member, tmp_path / "sorted", how)
    assert done.counts == {"fetch": 1} and "copied out of archives" in done.summary()
    assert (tmp_path / "sorted" / "pug" / "a_.jpg").read_bytes() == (tmp_path / "a.jpg").read_bytes()
    assert sort_into(member, tmp_path / "sorted", how).counts == {"already": 1}
    (tmp_path / "holiday.zip").unlink()
    assert undo(tmp_path / "sorted" / UNDO_FILE).taken_back == 1
    assert not (tmp_path / "sorted").exists()


def test_photos_that_are_gone_are_told(photos: list[Outcome], tmp_path: Path) -> None:
    """One that was deleted since stops none of the others."""
    os.unlink(photos[2].path)
    done = sort_into(photos, tmp_path / "sorted")
    assert [path for path, _ in done.problems] == [photos[2].path]
    assert done.done == 5
    assert "1 could not be put there" in done.summary()


@pytest.mark.parametrize("how", How)
def test_a_target_among_the_photos(tmp_path: Path, how: How) -> None:
    """Photos that lie in the sorted folder already, links to them too, are not sorted into it once more."""
    first = outcome(photo(tmp_path / "a.jpg"), "pug")
    sort_into([first], tmp_path / "sorted", How.move)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "sorted" / "pug" / "a.jpg")
    again = [outcome(tmp_path / "sorted" / "pug" / "a.jpg", "beagle"), outcome(tmp_path / "link.jpg", "beagle")]
    assert sort_into(again, tmp_path / "sorted", how).counts == {"already": 2}
    assert tree(tmp_path / "sorted") == ["pug/a.jpg", UNDO_FILE]


def test_names_as_long_as_can_be(tmp_path: Path) -> None:
    """A number in the name of one that clashes costs some of its letters, not the photo."""
    name = "ü" * 125 + ".jpg"
    for folder, colour in (("a", "red"), ("b", "blue"), ("c", "lime")):
        (tmp_path / folder).mkdir()
        photo(tmp_path / folder / name, colour)
    done = sort_into([outcome(tmp_path / folder / name, "pug") for folder in "abc"], tmp_path / "sorted", How.move)
    assert not done.problems
    assert len(list((tmp_path / "sorted" / "pug").glob("*.jpg"))) == 3


def test_names_of_any_bytes(tmp_path: Path) -> None:
    """One that is no text is sorted and brought back under the same bytes."""
    path = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    try:
        with open(path, "wb") as file:
            file.write(b"\xff\xd8\xff")
    except OSError:
        pytest.skip("this file system takes text alone")
    sort_into([outcome(os.fsdecode(path), "pug")], tmp_path / "sorted", How.move)
    assert os.listdir(os.fsencode(tmp_path / "sorted" / "pug")) == [b"caf\xe9.jpg"]
    undo(tmp_path / "sorted" / UNDO_FILE)
    assert os.path.exists(path)


@pytest.mark.parametrize("path", ["", "https://", "a\x00.jpg", "\ud800.jpg", "s3://", "x/" * 3000])
def test_names_that_are_none(tmp_path: Path, path: str) -> None:
    """A result line may name anything; it is told, and leaves nothing."""
    done = sort_into([Outcome(path, predictions=(Prediction("pug", "n1", 1.0),))], tmp_path / "sorted", How.move)
    assert len(done.problems) == 1
    assert not (tmp_path / "sorted").exists()


def test_folders_that_cannot_be_used(photos: list[Outcome], tmp_path: Path) -> None:
    """A file, or a folder that another run sorts into: said before any photo is touched."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        sort_into(photos, tmp_path / "file" / "sorted")
    (tmp_path / "sorted").mkdir()
    with disk.locked(tmp_path / "sorted" / UNDO_FILE), pytest.raises(UsageError, match="Another run"):
        sort_into(photos, tmp_path / "sorted")
    (tmp_path / "sorted" / UNDO_FILE).write_text("my notes\n")
    with pytest.raises(UsageError, match="nothing to undo"):
        sort_into(photos, tmp_path / "sorted")
    assert (tmp_path / "sorted" / UNDO_FILE).read_text() == "my notes\n"


def test_results_that_end_in_an_error(tmp_path: Path) -> None:
    """It is the caller's, and not said to be the folder's."""

    def outcomes() -> list[Outcome]:
        raise OSError("the journal cannot be read")

    with pytest.raises(OSError, match="journal"):
        sort_into((one for one in outcomes()), tmp_path / "sorted")


@pytest.mark.parametrize(
    "label",
    [
        "a/b",
        "..",
        ".",
        "",
        "CON",
        "com1.txt",
        "x" * 300,
        "犬" * 300,
        "a\x00b",
        "trailing. ",
        "_unsure",
        ".hidden",
        "C:\\x",
    ],
)
def test_folder_names_are_safe(label: str) -> None:
    """Whatever a class is called, its folder is one plain name."""
    name = labels.safe(label)
    assert name and len(name.encode()) <= 130 and not set(name) & set('/\\:*?"<>|\x00')
    assert name not in (".", "..") and not name.startswith((".", "_")) and name == name.rstrip(" .")
    assert name.upper() not in ("CON", "COM1.TXT")


ODD = ["Cat", "cat", "a/b", "a:b", "a_b", "x" * 130, "x" * 131, "é", "e\u0301", "ß", "ss", "\ud800", UNDO_FILE]


@pytest.mark.parametrize("first", [ODD, ODD[::-1]])
def test_different_labels_have_different_folders(tmp_path: Path, first: list[str]) -> None:
    """Those that differ in capitals, in signs that no folder can have, or far behind; a later run comes to the same."""

    def folders(of: list[str]) -> dict[str, str]:
        names = labels.FolderNames(tmp_path)
        found = {each: names.of(Outcome("p", predictions=(Prediction(each, each, 1.0),)))[0] for each in of}
        for name in found.values():
            (tmp_path / name).mkdir(exist_ok=True)
        return found

    (tmp_path / UNDO_FILE).write_text("")
    found = folders(first)
    assert len({name.casefold() for name in found.values()} - {UNDO_FILE}) == len(ODD)
    assert found[first[0]] == first[0] or first is not ODD
    assert folders(first[::-1]) == found


@pytest.mark.parametrize(
    ("photo_name", "name"),
    [
        ("https://example.org/pets/a%20b.jpg?size=2", "a b.jpg"),
        ("https://example.org", "photo"),
        ("s3://bucket/x/..", "photo"),
        ("holiday.zip/sub\\NUL.jpg", "photo NUL.jpg"),
        ("s3://bucket/" + "x" * 400 + ".jpg", "x" * 215 + ".jpg"),
        ("holiday.zip/_DSC1.JPG", "_DSC1.JPG"),
    ],
)
def test_names_of_fetched_photos(photo_name: str, name: str) -> None:
    """The last part, as a name that every system takes."""
    assert labels.file_name(photo_name) == name


def test_failures_have_no_label() -> None:
    """A photo without predictions belongs to the failed ones, whatever else its line says."""
    assert labels.FolderNames(Path("nowhere")).of(Outcome("p", error=Failure("timeout", "", ""))) == ("_failed",)
