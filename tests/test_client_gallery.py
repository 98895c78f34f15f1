"""The page of results as a file: whole, alone, true, and written with little memory."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from PIL import Image

from client import gallery
from client.errors import UsageError
from client.results import Failure, Outcome
from lambda_api.schema import Prediction
from tests.photos import encode, save

RED = encode(Image.new("RGB", (60, 40), (200, 30, 30)))
FAILURE = Failure("bad_image", "It is torn.", "Copy it again.")


def _outcome(path: str, label: str = "beagle", score: float = 0.9, data: bytes | None = RED) -> Outcome:
    digest = None if data is None else hashlib.sha256(data).hexdigest()
    return Outcome(path, digest, (Prediction(label, "n1", score),), "confident", None, "m", "v")


def _write(path: Path, *outcomes: Outcome, **options: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """What the page knows of its photos, and their thumbnails."""
    assert gallery.write(iter(outcomes), path, force=False, **options) == len(outcomes)
    html = path.read_text(encoding="utf-8")
    blocks = re.findall(r'<script type="([a-z/]+)" class="(?:facts|pictures)">(.*?)</script>', html, re.S)
    facts = [fact for kind, block in blocks if kind == "application/json" for fact in json.loads(block)]
    pictures = [line for kind, block in blocks if kind == "text/plain" for line in block.split("\n")]
    assert len(facts) == len(outcomes)
    return facts, pictures if outcomes else []


def test_what_is_known_of_a_photo(tmp_path: Path) -> None:
    """Name, decision, labels with their classes and scores, model, address, thumbnail."""
    photo = save(tmp_path, "dog.jpg", RED)
    facts, pictures = _write(tmp_path / "page.html", _outcome(str(photo)))
    assert facts == [
        {
            "name": str(photo),
            "decision": "confident",
            "predictions": [["beagle", "n1", 0.9]],
            "model": "m v",
            "address": "./dog.jpg",
        }
    ]
    small = Image.open(io.BytesIO(base64.b64decode(pictures[0])))
    assert small.format == "WEBP" and small.size == (60, 40)


def test_the_page_stands_alone(tmp_path: Path) -> None:
    """No address, no attribute that runs, and a policy that lets only our own script and style be."""
    gallery.write([_outcome(str(save(tmp_path, "dog.jpg", RED)))], tmp_path / "page.html", force=False)
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\(|\son[a-z]+=", html)
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)[0].split("; ")
    assert policy[:2] == ["default-src 'none'", "img-src data:"]
    for tag, rule in (("script", policy[2]), ("style", policy[3])):
        text = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)[0].encode()
        assert rule == f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"


def test_failures_are_in_it(tmp_path: Path) -> None:
    """With code, fact and mend. One that could not be read is not tried again, another has its picture."""
    dog = save(tmp_path, "dog.jpg", RED)
    unread = Outcome("https://localhost:1/dog.jpg", None, error=FAILURE)
    late = Outcome(str(dog), hashlib.sha256(RED).hexdigest(), error=Failure("timeout", "No answer.", "Try again."))
    facts, pictures = _write(tmp_path / "page.html", unread, late)
    assert [fact["decision"] for fact in facts] == ["failed", "failed"]
    assert facts[0]["failure"] == ["bad_image", "It is torn.", "Copy it again."] and "note" not in facts[0]
    assert pictures[0] == "" and pictures[1]


def test_a_photo_without_a_picture_says_why(tmp_path: Path) -> None:
    """It is gone, or cannot be decoded; the others have theirs, each beside its own facts."""
    torn = save(tmp_path, "torn.jpg", RED[:50])
    dog = save(tmp_path, "dog.jpg", RED)
    outcomes = (_outcome(str(torn), data=None), _outcome(str(tmp_path / "gone.jpg")), _outcome(str(dog)))
    facts, pictures = _write(tmp_path / "page.html", *outcomes)
    assert "cannot be read" in facts[0]["note"] and "No such file" in facts[1]["note"]
    assert "address" not in facts[1] and str(tmp_path) not in facts[1]["note"]
    assert [bool(picture) for picture in pictures] == [False, False, True]


def test_a_photo_that_has_changed_is_told(tmp_path: Path) -> None:
    """Its label is that of another content."""
    dog = save(tmp_path, "dog.jpg", RED)
    facts, _ = _write(tmp_path / "page.html", _outcome(str(dog), data=b"before"), _outcome(str(dog), data=None))
    assert "changed since" in facts[0]["note"] and "note" not in facts[1]


def test_members_of_archives_have_pictures(tmp_path: Path) -> None:
    """But no address, which no browser could open."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("sub/dog.jpg", RED)
    facts, pictures = _write(tmp_path / "page.html", _outcome(f"{tmp_path}/a.zip/sub/dog.jpg"))
    assert pictures[0] and not {"note", "address"} & set(facts[0])


ODD_NAMES = (
    "a b.jpg",
    "5% #?.jpg",
    "javascript:alert(1).jpg",
    "'\"<i>.jpg",
    "é狗.jpg",
    "\u202e.jpg",
    "caf\udce9.jpg",
)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_addresses_lead_to_the_photos(tmp_path: Path, name: str) -> None:
    """Relative to the page, for names of any bytes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    try:
        save(folder, name, RED)
    except (OSError, UnicodeError):
        pytest.skip("this disk has no such names")
    facts, _ = _write(tmp_path / "page.html", _outcome(str(folder / name)))
    address = facts[0]["address"]
    assert address.startswith("./photos/") and address.isascii() and not set(address) & set("\"'<>#? :")
    assert os.fsdecode(unquote_to_bytes(address)) == f"./photos/{name}"


def test_the_address_begins_at_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the command runs: names of results are relative to that."""
    (tmp_path / "out").mkdir()
    save(tmp_path, "dog.jpg", RED)
    monkeypatch.chdir(tmp_path)
    assert _write(Path("out/page.html"), _outcome("dog.jpg"))[0][0]["address"] == "./../dog.jpg"


def test_odd_numbers_and_lines_make_no_broken_page(tmp_path: Path) -> None:
    """JSON has no NaN; a line may lack its decision; of a thousand labels the page has the first."""
    many = tuple(Prediction(f"label {number}", "n", float("nan") if number else 1.0) for number in range(1000))
    facts, _ = _write(tmp_path / "page.html", Outcome("", None, many))
    assert len(facts[0]["predictions"]) == gallery.PREDICTIONS and facts[0]["more"] == 1000 - gallery.PREDICTIONS
    assert facts[0]["decision"] == "undecided" and facts[0]["predictions"][1][2] == 0.0


def test_no_name_ends_the_data(tmp_path: Path) -> None:
    """Whatever is in names, labels and errors, the page has its own elements and no other."""
    evil = "</script><script>alert(1)</script><!--<script>\u2028\udce9"
    failure = Failure(evil, evil, evil)
    facts, _ = _write(tmp_path / "page.html", _outcome(evil, evil), Outcome(evil, "ab", error=failure))
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert html.count("<script") == 3 == html.count("</script>") and "<!--" not in html
    assert facts[0]["predictions"][0][0].startswith("</script>") and "\\u2028\\udce9" in facts[1]["failure"][2]


def test_groups_keep_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts and pictures belong together, whichever thread is done first; progress is told for each."""
    monkeypatch.setattr(gallery, "GROUP", 3)
    told: list[None] = []
    photos = [save(tmp_path, f"{n}.png", encode(Image.new("RGB", (10 + n, 10)), "PNG")) for n in range(8)]
    outcomes = [_outcome(str(photo), label=photo.stem) for photo in photos]
    facts, pictures = _write(tmp_path / "page.html", *outcomes, progress=lambda: told.append(None))
    widths = [Image.open(io.BytesIO(base64.b64decode(picture))).width for picture in pictures]
    assert [fact["predictions"][0][0] for fact in facts] == [str(n) for n in range(8)]
    assert widths == list(range(10, 18)) and len(told) == 8


def test_an_empty_page_is_a_page(tmp_path: Path) -> None:
    """A filter may leave none."""
    assert _write(tmp_path / "page.html") == ([], [])


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    """The old page stays where results break off, and nothing else; unasked nothing is overwritten."""

    def torn() -> Iterator[Outcome]:
        yield _outcome("dog.jpg")
        raise UsageError("It is no result file.")

    page = tmp_path / "page.html"
    page.write_text("before")
    with pytest.raises(UsageError, match="exists"):
        gallery.write([], page, force=False)
    with pytest.raises(UsageError, match="no result file"):
        gallery.write(torn(), page, force=True)
    assert page.read_text() == "before" and os.listdir(tmp_path) == ["page.html"]


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Thousands of photos take no more than some; results are read while the page is written."""

    def peak(photos: int) -> int:
        tracemalloc.start()
        failed = (Outcome(f"{n}.jpg", None, error=FAILURE) for n in range(photos))
        gallery.write(failed, tmp_path / f"{photos}.html", force=False)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)  # imports
    assert peak(5000) < peak(500) + 200_000
