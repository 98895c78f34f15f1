"""Taking back what sorting did, whatever has happened since."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from client import disk, placing
from client.errors import UsageError
from client.results import Outcome
from client.sorting import UNDO_FILE, How, sort_into, undo
from tests.fake_api import photo
from tests.sorted_photos import contents, outcome, some_photos, tree


@pytest.fixture
def photos(tmp_path: Path) -> list[Outcome]:
    """Some, in `photos`."""
    return some_photos(tmp_path / "photos")


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK) or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system at /dev/shm")
    folder = shared / f"whippet-{os.getpid()}-{tmp_path.name}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_copies_that_were_edited_stay(photos: list[Outcome], tmp_path: Path) -> None:
    """So does the last one there is of a photo; the rest goes, and what stays is told each time."""
    target = tmp_path / "sorted"
    sort_into(photos, target, How.copy)
    (target / "pug" / "2.jpg").write_text("edited")
    os.unlink(photos[0].path)
    for taken_back in (4, 0):
        undone = undo(target / UNDO_FILE)
        assert {Path(path).name for path, _ in undone.problems} == {"2.jpg", "1.jpg"}
        assert undone.taken_back == taken_back
        assert tree(target) == ["beagle/1.jpg", "pug/2.jpg", UNDO_FILE]
    assert "2 left as they are" in undone.summary()


def test_a_photo_that_became_a_link_to_its_copy(photos: list[Outcome], tmp_path: Path) -> None:
    """Taking the copy back would lose the photo."""
    target = tmp_path / "sorted"
    for how, one in ((How.copy, photos[0]), (How.link, photos[2])):
        sort_into([one], target, how)
    for name, one in (("beagle/1.jpg", photos[0]), ("pug/2.jpg", photos[2])):
        os.unlink(one.path)
        os.symlink(target / name, one.path)
    assert len(undo(target / UNDO_FILE).problems) == 2
    assert Path(photos[0].path).read_bytes() and Path(photos[2].path).read_bytes()


def test_a_link_that_leads_elsewhere(photos: list[Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A symbolic one is ours only as long as it leads to the photo."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    sort_into(photos[1:3], tmp_path / "sorted")
    (tmp_path / "sorted" / "pug" / "2.jpg").unlink()
    (tmp_path / "sorted" / "pug" / "2.jpg").symlink_to(photos[0].path)
    assert [why for _, why in undo(tmp_path / "sorted" / UNDO_FILE).problems] == ["It leads elsewhere now."]
    assert tree(tmp_path / "sorted") == ["pug/2.jpg", UNDO_FILE]


def test_a_moved_photo_that_has_a_link_where_it_was(photos: list[Outcome], tmp_path: Path) -> None:
    """The photo is not taken for a copy of itself."""
    sort_into(photos[2:3], tmp_path / "sorted", How.move)
    os.symlink(tmp_path / "sorted" / "pug" / "2.jpg", photos[2].path)
    assert len(undo(tmp_path / "sorted" / UNDO_FILE).problems) == 1
    assert Path(photos[2].path).read_bytes()


def test_a_name_that_two_photos_have_had(photos: list[Outcome], tmp_path: Path) -> None:
    """The later one, which cannot go back, does not go where the earlier one came from."""
    target = tmp_path / "sorted"
    sort_into(photos[:1], target, How.move)
    (target / "beagle" / "1.jpg").rename(photos[0].path)
    sort_into(photos[1:2], target, How.move)
    Path(photos[1].path).write_text("new")
    Path(photos[0].path).unlink()
    undone = undo(target / UNDO_FILE)
    assert [path for path, _ in undone.problems] == [str(target / "beagle" / "1.jpg")]
    assert not os.path.exists(photos[0].path)


@pytest.mark.parametrize("do", ["copy", "move"])
@pytest.mark.parametrize("then", ["undo", "sort"])
def test_what_a_killed_run_was_at(photos: list[Outcome], tmp_path: Path, do: str, then: str) -> None:
    """Half a copy is nobody's, and goes; what has come to its name meanwhile is somebody's, and stays."""
    target = tmp_path / "sorted"
    sort_into(photos[:1], target, How.copy)
    (target / "beagle" / "7.jpg").write_text("mine")
    for name in ("7.jpg", "8.jpg"):
        placing.part_of(target / "beagle" / name).write_text("half a co")
        with (target / UNDO_FILE).open("a") as file:
            step = {"do": do, "to": f"beagle/{name}", "from": photos[1].path, "sha256": None}
            file.write(json.dumps(step) + "\n")
        if then == "undo":
            assert len(undo(target / UNDO_FILE).problems) == 1
            break
        sort_into(photos[:1], target, How.copy)
    left = set(tree(target)) - {UNDO_FILE}
    assert left == {"beagle/7.jpg"} if then == "undo" else {"beagle/1.jpg", "beagle/7.jpg"}


def test_a_place_that_is_taken_again(photos: list[Outcome], tmp_path: Path) -> None:
    """A moved photo does not go back over another one; one that is the same is enough."""
    target, before = tmp_path / "sorted", Path(photos[2].path).read_bytes()
    sort_into(photos[2:4], target, How.move)
    Path(photos[3].path).write_text("new")
    Path(photos[2].path).write_bytes(before)
    undone = undo(target / UNDO_FILE)
    assert [why for _, why in undone.problems] == [f"There is another file at {photos[3].path}."]
    assert Path(photos[3].path).read_text() == "new"
    assert tree(target) == ["_unsure/pug/3.jpg", UNDO_FILE]


def test_moved_photos_that_were_lost_or_edited(photos: list[Outcome], tmp_path: Path) -> None:
    """An edited one goes back as it is now, into its folder though that is gone; one that is nowhere is told."""
    target = tmp_path / "sorted"
    sort_into(photos[:3], target, How.move)
    (target / "beagle" / "1.jpg").write_text("edited")
    (target / "pug" / "2.jpg").unlink()
    os.rmdir(tmp_path / "photos" / "a")
    undone = undo(target / UNDO_FILE)
    assert [Path(path).name for path, _ in undone.problems] == ["2.jpg"]
    assert Path(photos[0].path).read_text() == "edited"


def test_the_sorted_folder_may_be_moved(photos: list[Outcome], tmp_path: Path) -> None:
    """All is taken back from where it is now."""
    before = contents(tmp_path / "photos")
    sort_into(photos, tmp_path / "sorted", How.move)
    (tmp_path / "sorted").rename(tmp_path / "elsewhere")
    assert undo(tmp_path / "elsewhere").taken_back == 5
    assert contents(tmp_path / "photos") == before
    assert not (tmp_path / "elsewhere").exists()


def test_runs_are_taken_back_together(photos: list[Outcome], tmp_path: Path) -> None:
    """Two runs have one undo file, and a folder that was there before stays with what was in it."""
    before = contents(tmp_path / "photos")
    (tmp_path / "sorted").mkdir()
    (tmp_path / "sorted" / "mine.txt").write_text("mine")
    sort_into(photos[:3], tmp_path / "sorted", How.move)
    sort_into(photos[3:], tmp_path / "sorted", How.copy)
    assert undo(tmp_path / "sorted" / UNDO_FILE).taken_back == 6
    assert contents(tmp_path / "photos") == before
    assert tree(tmp_path / "sorted") == ["mine.txt"]
    for name in (tmp_path / "sorted" / UNDO_FILE, tmp_path / "sorted"):
        with pytest.raises(UsageError, match=f"There is no file .*{UNDO_FILE}"):
            undo(name)


def test_a_torn_end(photos: list[Outcome], tmp_path: Path) -> None:
    """A line that a power loss has cut was not begun, for undo as for another run."""
    target = tmp_path / "sorted"
    for some in (photos[:1], photos[1:3]):
        sort_into(some, target, How.move)
        with (target / UNDO_FILE).open("ab") as file:
            file.write(b'{"do": "move", "to": "pug/9.j')
    assert undo(target / UNDO_FILE).taken_back == 3
    assert not target.exists()


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        "[]",
        "{}",
        '{"do": "move", "to": "../x", "from": "/a", "sha256": null}',
        '{"do": "move", "to": "/etc/x", "from": "/a", "sha256": null}',
        '{"do": "move", "to": 5, "from": "/a", "sha256": null}',
        '{"do": "delete", "to": "x", "from": "/a", "sha256": null}',
    ],
)
def test_no_undo_file(tmp_path: Path, line: str) -> None:
    """What is none, or leads out of its folder, is not worked on."""
    (tmp_path / "notes.txt").write_text(line + "\n")
    with pytest.raises(UsageError, match="tells nothing to undo"):
        undo(tmp_path / "notes.txt")
    assert tree(tmp_path) == ["notes.txt"]


def test_not_while_another_run_sorts(photos: list[Outcome], tmp_path: Path) -> None:
    """It would take back what is being done."""
    sort_into(photos, tmp_path / "sorted")
    with disk.locked(tmp_path / "sorted" / UNDO_FILE), pytest.raises(UsageError, match="Another run"):
        undo(tmp_path / "sorted" / UNDO_FILE)


@pytest.mark.parametrize("how", How)
def test_another_disk(photos: list[Outcome], tmp_path: Path, other_disk: Path, how: How) -> None:
    """Links are symbolic there, moved photos are copied with their times and deleted here; and back."""
    before = contents(tmp_path / "photos")
    os.utime(photos[2].path, (1e9, 1e9))
    done = sort_into(photos, other_disk, how)
    assert not done.problems
    pug = other_disk / "pug" / "2.jpg"
    assert pug.is_symlink() == (how is How.link)
    assert (pug.read_bytes(), pug.stat().st_mtime) == (before["b/2.jpg"], 1e9)
    assert tree(tmp_path / "photos") == (["torn.jpg"] if how is How.move else sorted(before))
    assert sort_into(photos, other_disk, how).done == 0
    assert undo(other_disk / UNDO_FILE).taken_back == done.done
    assert contents(tmp_path / "photos") == before and not other_disk.exists()
    assert Path(photos[2].path).stat().st_mtime == 1e9


def test_a_copy_that_differs_deletes_nothing(tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that does not give back what it took must not cost a photo."""
    one = outcome(photo(tmp_path / "a.jpg"), "pug")
    monkeypatch.setattr(placing, "same_bytes", lambda *_: False)
    done = sort_into([one], other_disk, How.move)
    assert [why for _, why in done.problems] == ["The copy differs"]
    assert Path(one.path).exists() and not other_disk.exists()


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from client.sorting import UNDO_FILE, How, sort_into, undo
from tests.sorted_photos import contents, some_photos, tree

how, base, other = How(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])

EVENTS = {"open", "os.utime", *(f"os.{name}" for name in ("link", "symlink", "rename", "remove", "mkdir", "rmdir"))}

def killed_at(moment, work):
    # Whether the work ended before so many looks at the disk were taken.
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    left = [moment]
    def count(event, args):
        if event in EVENTS:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    work()
    os._exit(0)

def shown(folder):
    return {name: data for name, data in contents(folder).items() if name != UNDO_FILE}

def fresh():
    for folder in base / "photos", other:
        shutil.rmtree(folder, ignore_errors=True)
    photos = some_photos(base / "photos")[:3]
    Path(photos[0].path + ".xmp").write_text("notes")
    return photos

photos = fresh()
before = contents(base / "photos")
sort_into(photos, other, how)
undisturbed = shown(other), contents(base / "photos")
moments = ended = 0
while ended < 2:
    moments, ended = moments + 1, 0
    photos = fresh()
    ended += killed_at(moments, lambda: sort_into(photos, other, how))
    sort_into(photos, other, how)
    assert (shown(other), contents(base / "photos")) == undisturbed, (moments, tree(other))
    ended += killed_at(moments, lambda: undo(other / UNDO_FILE))
    if (other / UNDO_FILE).exists():
        assert not undo(other / UNDO_FILE).problems, moments
    assert contents(base / "photos") == before, moments
    assert not other.exists() or not [name for name in tree(other) if "lock" not in name], (moments, tree(other))
print(moments)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("how", How)
@pytest.mark.parametrize("far", [False, True])
def test_killed_at_every_moment(tmp_path: Path, request: pytest.FixtureRequest, how: How, far: bool) -> None:
    """kill -9 before any look at the disk, in sorting and in undoing: the same command again comes to the same end."""
    target = request.getfixturevalue("other_disk") if far else tmp_path / "sorted"
    command = [sys.executable, "-c", KILLED, how.value, str(tmp_path), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 12


def test_steps_are_noted_before_they_are_done(photos: list[Outcome], tmp_path: Path) -> None:
    """Each line names what will be made, and is followed by one that it is done."""
    sort_into(photos, tmp_path / "sorted", How.move)
    lines = [json.loads(line) for line in (tmp_path / "sorted" / UNDO_FILE).read_text().splitlines()]
    assert [line["to"] for line in lines[::2]] == [line["done"] for line in lines[1::2]]
    assert {line["do"] for line in lines[::2]} == {"folder", "move"}
