"""Labels as keywords, beside photos and inside them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from client import files, keywords
from client.keywords import KeywordPlace
from client.results import Failure, Outcome
from lambda_api.schema import Decision
from tests import packets
from tests.fake_api import photo
from tests.packets import OTHERS, outcome


def _outcome(path: Path, label: str = "beagle", decision: Decision = "confident") -> Outcome:
    return outcome(label, path=path, decision=decision)


def _inside(path: Path) -> list[str | None]:
    """The keywords in a JPEG or WebP."""
    with Image.open(path) as image:
        return packets.keywords(image.info["xmp"])


def _beside(path: Path) -> list[str | None]:
    return packets.keywords(Path(f"{path}.xmp").read_bytes())


def test_a_sidecar_never_touches_the_photo(tmp_path: Path) -> None:
    """The keyword lies beside, the photo keeps every byte and its time; again, nothing is written."""
    path = photo(tmp_path / "dog.jpg")
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert keywords.write([_outcome(path)], KeywordPlace.sidecar).counts == {"beside": 1}
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert _beside(path) == ["beagle"]
    written = Path(f"{path}.xmp").stat()
    assert keywords.write([_outcome(path)], KeywordPlace.sidecar).counts == {"same": 1}
    assert Path(f"{path}.xmp").stat().st_ino == written.st_ino


def test_a_sidecar_of_another_program(tmp_path: Path) -> None:
    """What it says stays, with its rights; its time is new, since programs look there for what has changed."""
    path = photo(tmp_path / "dog.jpg")
    sidecar = Path(f"{path}.xmp")
    sidecar.write_bytes(OTHERS)
    sidecar.chmod(0o640)
    os.utime(sidecar, (1e9, 1e9))
    keywords.write([_outcome(path, "pug")], KeywordPlace.sidecar)
    assert _beside(path) == ["Holiday", "beagle", "pug"]
    assert stat.S_IMODE(sidecar.stat().st_mode) == 0o640
    assert sidecar.stat().st_mtime > 1e9


@pytest.mark.parametrize("name", ["dog.jpg", "dog.webp"])
def test_inside(tmp_path: Path, name: str) -> None:
    """The photo's time and rights stay, and nothing lies beside it; a second label replaces the first."""
    path = photo(tmp_path / name)
    os.utime(path, (1e9, 1e9))
    path.chmod(0o640)
    for label in ("beagle", "pug"):
        assert keywords.write([_outcome(path, label)], KeywordPlace.inside).counts == {"inside": 1}
    assert keywords.write([_outcome(path, "pug")], KeywordPlace.inside).counts == {"same": 1}
    assert _inside(path) == ["pug"]
    assert (path.stat().st_mtime, stat.S_IMODE(path.stat().st_mode)) == (1e9, 0o640)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["dog.gif", "cut.jpg", "strange.jpg"])
def test_what_nothing_can_be_put_inside(tmp_path: Path, name: str) -> None:
    """Other formats, broken files and packets that cannot be understood have it beside, and keep every byte."""
    path = photo(tmp_path / name) if name != "strange.jpg" else photo(tmp_path / name, xmp=b"no xml")
    if name == "cut.jpg":
        path.write_bytes(path.read_bytes()[:-40])
    before = path.read_bytes()
    done = keywords.write([_outcome(path)], KeywordPlace.inside)
    assert done.counts == {"instead": 1} and "since nothing can be put inside" in done.summary()
    assert path.read_bytes() == before
    assert _beside(path) == ["beagle"]


def test_linked_photos(tmp_path: Path) -> None:
    """A link stays one; what it leads to gets the keyword."""
    path = photo(tmp_path / "dog.jpg")
    (tmp_path / "link.jpg").symlink_to("dog.jpg")
    keywords.write([_outcome(tmp_path / "link.jpg")], KeywordPlace.inside)
    assert (tmp_path / "link.jpg").is_symlink()
    assert _inside(path) == ["beagle"]


def test_only_what_is_certain(tmp_path: Path) -> None:
    """Unsure, unknown and failed photos get no keyword, unless wished for."""
    path = photo(tmp_path / "dog.jpg")
    failed = Outcome(str(path), error=Failure("bad_image", "", ""))
    outcomes = [_outcome(path, "pug", "unsure"), _outcome(path, "pug", "unknown"), failed]
    assert keywords.write(outcomes, KeywordPlace.sidecar).counts == {"without": 3}
    assert os.listdir(tmp_path) == ["dog.jpg"]
    assert keywords.write(outcomes, KeywordPlace.sidecar, unsure=True).counts == {"beside": 1, "same": 1, "without": 1}


def test_what_cannot_be_done_is_told(tmp_path: Path) -> None:
    """A sidecar that cannot be understood is kept, a member of an archive has no place; the others are written."""
    one, other = photo(tmp_path / "one.jpg"), photo(tmp_path / "other.jpg")
    (tmp_path / "one.jpg.xmp").write_bytes(b"my notes")
    outcomes = [_outcome(one), _outcome(tmp_path / "holiday.zip" / "a.jpg"), _outcome(other)]
    done = keywords.write(outcomes, KeywordPlace.sidecar)
    assert [why for _, why in done.problems] == ["The XMP is no XML.", "It is no file on this machine."]
    assert done.counts == {"beside": 1} and "2 failed" in done.summary()
    assert (tmp_path / "one.jpg.xmp").read_bytes() == b"my notes"


def test_a_photo_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another program has just saved is not replaced by what was there before."""
    path = photo(tmp_path / "dog.jpg")
    in_place_of = files.in_place_of

    def slowly(where: Path, *, force: bool) -> object:
        path.write_bytes(b"saved by an editor")
        return in_place_of(where, force=force)

    monkeypatch.setattr(files, "in_place_of", slowly)
    done = keywords.write([_outcome(path)], KeywordPlace.inside)
    assert [why for _, why in done.problems] == ["It has been changed by another program meanwhile."]
    assert path.read_bytes() == b"saved by an editor"
    assert os.listdir(tmp_path) == ["dog.jpg"]


def test_write_protected_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are protected from this, too, though a new file could take their place."""
    path = photo(tmp_path / "dog.jpg")
    before = path.read_bytes()
    monkeypatch.setattr(os, "access", lambda *_: False)  # who runs the tests may be allowed all
    done = keywords.write([_outcome(path)], KeywordPlace.inside)
    assert [why for _, why in done.problems] == ["It is write-protected."]
    assert path.read_bytes() == before


KILLED = """
import os, signal, sys
from client import keywords
from tests.packets import outcome

left = [int(sys.argv[2])]
def count(event, args):
    if event in ("open", "os.rename", "os.chmod", "os.utime", "os.remove"):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
one = outcome("beagle", path=sys.argv[1])
from client import embedding, files, reading, xmp
sys.addaudithook(count)
keywords.write([one], keywords.KeywordPlace.inside)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_at_every_moment(tmp_path: Path) -> None:
    """There is always the old photo or the new one, whole."""
    path = photo(tmp_path / "dog.jpg")
    old, codes = path.read_bytes(), list[int]()
    keywords.write([_outcome(path)], KeywordPlace.inside)
    new = path.read_bytes()
    while 0 not in codes:
        path.write_bytes(old)
        command = [sys.executable, "-c", KILLED, str(path), str(len(codes) + 1)]
        codes.append(subprocess.run(command, check=False).returncode)
        assert path.read_bytes() in (old, new)
    assert codes.count(-signal.SIGKILL) == len(codes) - 1 > 4
    assert path.read_bytes() == new


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("place", KeywordPlace)
def test_owners_stay(tmp_path: Path, place: KeywordPlace) -> None:
    """A photo that an administrator labels still belongs to whom it belonged to."""
    path = photo(tmp_path / "dog.jpg")
    Path(f"{path}.xmp").write_bytes(OTHERS)
    changed = path if place is KeywordPlace.inside else Path(f"{path}.xmp")
    os.chown(changed, 1234, 1234)
    assert keywords.write([_outcome(path)], place).counts.total() == 1
    assert (changed.stat().st_uid, changed.stat().st_gid) == (1234, 1234)
