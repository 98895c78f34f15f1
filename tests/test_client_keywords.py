"""Labels as XMP keywords, beside photos and inside them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image, ImageChops

from client import keywords, xmp
from client.keywords import KeywordPlace
from client.results import Failure, Outcome
from lambda_api.schema import Decision, Prediction
from tests.fake_api import photo

OTHERS = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4" xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:subject><rdf:Bag><rdf:li>Holiday</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"""

EXIF = Image.Exif()
EXIF[0x0112] = 6


def _outcome(path: Path, label: str = "beagle", decision: Decision = "confident") -> Outcome:
    return Outcome(str(path), "ab", (Prediction(label, "n1", 0.91),), decision, model="m", version="v")


def _opened(path: Path) -> Image.Image:
    """The photo with its pixels, its file closed."""
    image: Image.Image
    with Image.open(path) as image:
        image.load()
    return image


def _keywords(packet: bytes) -> list[str | None]:
    root = ElementTree.fromstring(packet)  # noqa: S314 - we wrote it
    return [item.text for item in root.iterfind(f".//{{{xmp.DC}}}subject/{{{xmp.RDF}}}Bag/{{{xmp.RDF}}}li")]


def test_a_sidecar_never_touches_the_photo(tmp_path: Path) -> None:
    """The keyword lies beside, the photo keeps every byte and its time."""
    path = photo(tmp_path / "dog.jpg")
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert keywords.write([_outcome(path)], KeywordPlace.sidecar).beside == 1
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert _keywords((tmp_path / "dog.jpg.xmp").read_bytes()) == ["beagle"]


def test_what_others_wrote_stays(tmp_path: Path) -> None:
    """Ratings and keywords of other programs; our own of an earlier model is replaced, not added to."""
    path = photo(tmp_path / "dog.jpg")
    sidecar = tmp_path / "dog.jpg.xmp"
    sidecar.write_bytes(OTHERS)
    for label in ("beagle", "pug", "pug"):
        keywords.write([_outcome(path, label)], KeywordPlace.sidecar)
    assert _keywords(sidecar.read_bytes()) == ["Holiday", "pug"]
    assert b'Rating="4"' in sidecar.read_bytes()


@pytest.mark.parametrize("options", [{}, {"xmp": OTHERS}, {"exif": EXIF}, {"progressive": True}])
def test_inside_changes_nothing_but_the_xmp(tmp_path: Path, options: dict[str, Any]) -> None:
    """Pixels, EXIF, time, rights, and what hangs behind the picture."""
    path = photo(tmp_path / "dog.jpg", "lime", **options)
    with path.open("ab") as file:
        file.write(b"a film")
    os.utime(path, (1e9, 1e9))
    path.chmod(0o640)
    before, pixels = path.read_bytes(), _opened(path)
    assert keywords.write([_outcome(path)], KeywordPlace.inside).inside == 1
    after = _opened(path)
    assert ImageChops.difference(pixels, after).getbbox() is None
    assert after.info.get("exif") == pixels.info.get("exif")
    assert _keywords(after.info["xmp"]) == (["Holiday"] if "xmp" in options else []) + ["beagle"]
    assert path.read_bytes().endswith(b"a film") and len(path.read_bytes()) > len(before)
    assert (path.stat().st_mtime, path.stat().st_mode & 0o777) == (1e9, 0o640)
    assert os.listdir(tmp_path) == ["dog.jpg"]


def test_inside_again_replaces(tmp_path: Path) -> None:
    """A second model's label takes the place of the first."""
    path = photo(tmp_path / "dog.jpg")
    for label in ("beagle", "pug"):
        keywords.write([_outcome(path, label)], KeywordPlace.inside)
    assert _keywords(_opened(path).info["xmp"]) == ["pug"]


@pytest.mark.parametrize("name", ["dog.png", "dog.webp", "cut.jpg"])
def test_other_formats_and_broken_files_have_it_beside(tmp_path: Path, name: str) -> None:
    """Only a whole JPEG is changed; of the others not a byte."""
    path = photo(tmp_path / name)
    if name == "cut.jpg":
        path.write_bytes(path.read_bytes()[:-40])
    before = path.read_bytes()
    done = keywords.write([_outcome(path)], KeywordPlace.inside)
    assert (done.beside, done.inside) == (1, 0)
    assert path.read_bytes() == before
    assert _keywords((tmp_path / f"{name}.xmp").read_bytes()) == ["beagle"]


def test_only_what_is_certain(tmp_path: Path) -> None:
    """Unsure, unknown and failed photos get no keyword, unless wished for."""
    path = photo(tmp_path / "dog.jpg")
    failed = Outcome(str(path), error=Failure("bad_image", "", ""))
    outcomes = [_outcome(path, "pug", "unsure"), _outcome(path, "pug", "unknown"), failed]
    assert keywords.write(outcomes, KeywordPlace.sidecar).passed_over == 3
    assert os.listdir(tmp_path) == ["dog.jpg"]
    assert keywords.write(outcomes, KeywordPlace.sidecar, unsure=True).beside == 2


@pytest.mark.parametrize(
    "packet",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>',
        b"no xml",
        b"<x/>",
    ],
)
def test_strange_sidecars_are_left(tmp_path: Path, packet: bytes) -> None:
    """One that cannot be understood is told and kept; the others are written."""
    one, other = photo(tmp_path / "one.jpg"), photo(tmp_path / "other.jpg")
    (tmp_path / "one.jpg.xmp").write_bytes(packet)
    done = keywords.write([_outcome(one), _outcome(other)], KeywordPlace.sidecar)
    assert [path for path, _ in done.problems] == [str(one)]
    assert done.beside == 1
    assert (tmp_path / "one.jpg.xmp").read_bytes() == packet


def test_labels_are_text_whatever_is_in_them(tmp_path: Path) -> None:
    """Markup and control characters in a class name stay characters."""
    path = photo(tmp_path / "dog.jpg")
    keywords.write([_outcome(path, "<b>&\x00 dog</b>")], KeywordPlace.sidecar)
    assert _keywords((tmp_path / "dog.jpg.xmp").read_bytes()) == ["<b>&_ dog</b>"]


def test_members_of_archives_are_told(tmp_path: Path) -> None:
    """There is no place beside what is no file."""
    done = keywords.write([_outcome(tmp_path / "holiday.zip" / "a.jpg")], KeywordPlace.sidecar)
    assert done.problems and "1 failed" in done.summary()
