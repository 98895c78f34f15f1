"""The page of results in a real browser: ten thousand photos, filters, one photo's details, keys, names that attack."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from PIL import Image

from client import gallery
from client.output import printable
from client.results import Failure, Outcome
from lambda_api.schema import Decision, Prediction
from tests.browser import WIDEST, Tab, browser
from tests.photos import encode, save

PHOTOS, LABELS = 10_000, 120
EVIL = "</script><script>window.hit=1</script><img src=x onerror=window.hit=1>\"'`${window.hit=1}\u2028\u202e\udce9.jpg"
COUNT = "document.getElementById('count').textContent"
TILES = "[...document.querySelectorAll('#tiles li')]"
SEEN = "tile.getBoundingClientRect().top < innerHeight && tile.getBoundingClientRect().bottom > 0"


def _outcome(number: int, folder: Path) -> Outcome:
    """Scores from 0 to 0.9999, the labels in turns; every hundredth photo has failed."""
    if number % 100 == 50:
        return Outcome(f"{number}.jpg", None, error=Failure("bad_image", "It is torn.", "Copy it again."))
    decision: Decision = "confident" if number >= 6000 else "unsure"
    best = Prediction(f"label {number % LABELS}", f"n{number % LABELS}", number / PHOTOS)
    path = f"{folder}/{'./' * (number % 1000)}{number % 9}.png"
    return Outcome(path, None, (best, Prediction("second", "n2", 0.0)), decision, None, "model", "1")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A browser."""
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def large(tab: Tab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of ten thousand photos; it needs the browser, so as not to be made where there is none."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(9):
        save(folder, f"{number}.png", encode(Image.new("RGB", (12, 8), (25 * number, 99, 99)), "PNG"))
    page = folder / "page.html"
    assert gallery.write((_outcome(n, folder) for n in range(PHOTOS)), page, force=False) == PHOTOS
    return page


@pytest.fixture
def shown(tab: Tab, large: Path) -> Tab:
    """That page, just opened; at the end nothing was complained of or asked for outside of it."""
    _open(tab, large)
    return tab


def _open(tab: Tab, page: Path, width: int = 1200, height: int = 800, **options: bool) -> None:
    tab.visit("about:blank")
    tab.complaints.clear()
    tab.requests.clear()
    tab.open(page, width, height, **options)
    tab.until(f"/photo/.test({COUNT})")


def _set(tab: Tab, name: str, value: str) -> None:
    """As a user sets a control."""
    change = f"control.value = {json.dumps(value)}; control.dispatchEvent(new Event('input'));"
    tab.value(f"((control) => {{ {change} }})(document.getElementById('{name}'))")


def _tick(tab: Tab, name: str) -> None:
    boxes = "[...document.querySelectorAll('#decisions label, #labels label')]"
    tab.value(f"{boxes}.find((label) => label.children[1].textContent === {json.dumps(name)}).click()")


def _press(tab: Tab, key: str) -> None:
    about = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]} | ({"text": "\r"} if key == "Enter" else {})
    for kind in ("keyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, **about)


KEYS = {"Enter": 13, "Escape": 27, "End": 35, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


def _labels(tab: Tab) -> list[str]:
    """Of the tiles in the document, in their order."""
    found: list[str] = tab.value(f"{TILES}.map((tile) => tile.querySelector('.label').textContent)")
    return found


def _counts(tab: Tab, kind: str) -> dict[str, str]:
    """The numbers beside the boxes."""
    texts = "[label.children[1].textContent, label.children[2].textContent]"
    found: list[tuple[str, str]] = tab.value(f"[...document.querySelectorAll('#{kind} label')].map((label) => {texts})")
    return dict(found)


def _text(tab: Tab, name: str) -> Any:
    """What an element says, None where it is hidden."""
    return tab.value(f"(({name}) => {name}.hidden ? null : {name}.textContent)(document.getElementById('{name}'))")


def _alone(tab: Tab, page: Path) -> None:
    assert not tab.complaints, tab.complaints
    assert {url for url in tab.requests if not url.startswith("data:")} <= {page.as_uri(), "about:blank"}


def test_only_what_is_seen_is_in_the_document(shown: Tab, large: Path) -> None:
    """Ten thousand photos are some dozens of elements, wherever one scrolls; pictures are there and loaded."""
    assert shown.value(COUNT) == "10,000 photos"
    for place in ("0", "document.documentElement.scrollHeight / 2", "document.documentElement.scrollHeight"):
        shown.value(f"scrollTo(0, {place})")
        shown.until(f"{TILES}.some((tile) => {SEEN})")
        assert 20 < shown.value(f"{TILES}.length") < 150
        shown.until("[...document.querySelectorAll('#tiles img')].every((image) => image.naturalWidth === 12)")
    assert shown.value(f"{TILES}.at(-1).getAttribute('aria-posinset')") == "10000"
    _alone(shown, large)


def test_scrolled_tiles_stand_where_they_belong(shown: Tab) -> None:
    """Step by step down and up again the window is full and each tile comes once, in order."""
    script = """(async () => {
      for (const step of [...Array(30).fill(333), ...Array(30).fill(-270), ...Array(5).fill(9000)]) {
        scrollBy(0, step);
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
        const tiles = %s, places = tiles.map((tile) => Number(tile.getAttribute('aria-posinset')));
        if (places.some((place, at) => place !== places[0] + at)) return `order ${places}`;
        const boxes = [tiles[0], tiles.at(-1)].map((tile) => tile.getBoundingClientRect());
        if (boxes[0].top > 100 && scrollY > 200 || boxes[1].bottom < innerHeight) return `a hole at ${scrollY}`;
      }
      return 'full';
    })()"""
    assert shown.value(script % TILES) == "full"


def test_the_slider_hides_what_is_less_certain(shown: Tab) -> None:
    """Failed photos too, as `--min-confidence` does; the bound itself stays."""
    _set(shown, "least", "29")
    assert shown.value(COUNT) == "7,029 of 10,000 photos"
    assert _text(shown, "percent") == "29%" and _counts(shown, "decisions")["failed"] == "0"
    _set(shown, "least", "0")
    assert shown.value(COUNT) == "10,000 photos"


def test_decisions_and_labels_can_be_chosen(shown: Tab) -> None:
    """Several of one kind add up, kinds narrow each other, and the numbers say what a choice would show."""
    assert _counts(shown, "decisions") == {"confident": "3,960", "unsure": "5,940", "failed": "100"}
    _tick(shown, "failed")
    assert shown.value(COUNT) == "100 of 10,000 photos" and set(_labels(shown)) == {"bad_image"}
    _tick(shown, "confident")
    assert shown.value(COUNT) == "4,060 of 10,000 photos"
    _tick(shown, "label 7")
    _tick(shown, "label 11")
    chosen = [n for n in range(6000, PHOTOS) if n % 100 != 50 and n % LABELS in (7, 11)]
    assert shown.value(COUNT) == f"{len(chosen)} of 10,000 photos"
    assert set(_labels(shown)) == {"label 7", "label 11"}
    eights = [n for n in range(6000, PHOTOS) if n % 100 != 50 and n % LABELS == 8]
    assert _counts(shown, "labels")["label 8"] == str(len(eights))
    shown.value("document.querySelector('[type=reset]').click()")
    shown.until(f"{COUNT} === '10,000 photos'")
    assert not shown.value("document.querySelector('#filters :checked[type=checkbox]')")


def test_labels_are_found_by_name(shown: Tab) -> None:
    """The most frequent are listed, the others found; a chosen one stays in sight."""
    listed = set(_counts(shown, "labels"))
    assert len(listed) == 100 and "20 more" in _text(shown, "others")
    _set(shown, "find", "LABEL 11")
    assert set(_counts(shown, "labels")) == {"label 11", *(f"label 11{digit}" for digit in range(10))}
    rare = next(name for number in range(LABELS) if (name := f"label {number}") not in listed)
    _set(shown, "find", rare)
    _tick(shown, rare)
    _set(shown, "find", "")
    assert set(_counts(shown, "labels")) == {*listed, rare}
    _set(shown, "find", "nothing like it")
    assert set(_counts(shown, "labels")) == {rare}
    _tick(shown, rare)
    _set(shown, "find", "nothing at all")
    assert _text(shown, "others") == "none"


def test_search_is_for_names_labels_and_failures(shown: Tab) -> None:
    """In any case of letters."""
    for words, found in (("9950.JPG", 1), ("Label 119", 83), ("BAD_image", 100), ("no such thing", 0)):
        _set(shown, "search", words)
        assert shown.value(COUNT) == f"{found} of 10,000 photos"
    assert _labels(shown) == []


def test_orders(shown: Tab) -> None:
    """By label and score, by score up and down, as they came; what has failed comes last where scores count."""
    first = f"{TILES}.slice(0, 3).map((tile) => tile.firstChild.title.split('./').length - 1)"
    orders = {"label": [960, 840, 720], "best": [999, 998, 997], "worst": [0, 1, 2], "given": [0, 1, 2]}
    for order, numbers in orders.items():
        _set(shown, "order", order)
        assert shown.value(first) == numbers, order
    for order in ("label", "best", "worst"):
        _set(shown, "order", order)
        shown.value("scrollTo(0, 1e9)")
        shown.until(f"{TILES}.at(-1).getAttribute('aria-posinset') === '10000'")
        assert _labels(shown)[-1] == "bad_image"


def test_names_are_in_the_order_people_expect(tab: Tab, tmp_path: Path) -> None:
    """Numbers in them by their value."""
    names, page = ["IMG_10.jpg", "img_2.jpg", "IMG_1.jpg", "é.jpg", "f.jpg"], tmp_path / "page.html"
    gallery.write([Outcome(name, None, (Prediction("dog", "n", 0.5),)) for name in names], page, force=False)
    _open(tab, page)
    _set(tab, "order", "name")
    found = tab.value(f"{TILES}.map((tile) => tile.querySelector('.file').textContent)")
    assert found == ["é.jpg", "f.jpg", "IMG_1.jpg", "img_2.jpg", "IMG_10.jpg"]


def test_a_click_shows_all_there_is(shown: Tab) -> None:
    """All labels with scores, the path, the model, a link to the file; the next one by a button."""
    _set(shown, "order", "best")
    shown.value(f"{TILES}[0].querySelector('button').click()")
    assert shown.value("document.getElementById('details').open") is True
    assert _text(shown, "title") == "label 39" and _text(shown, "name").endswith("/0.png")
    assert _text(shown, "place") == "1 of 10,000" and _text(shown, "model") == "model 1"
    rows = shown.value("[...document.querySelectorAll('#predictions tbody tr')].map((row) => row.innerText)")
    assert [row.split("\t") for row in rows] == [["label 39", "n39", "100.0%"], ["second", "n2", "0.0%"]]
    assert shown.value("document.getElementById('address').href").endswith("/0.png")
    shown.value("document.getElementById('after').click()")
    assert _text(shown, "title") == "label 38" and _text(shown, "place") == "2 of 10,000"
    shown.value("document.getElementById('close').click()")
    shown.until("document.activeElement.closest('li')?.getAttribute('aria-posinset') === '2'")


def test_a_failure_says_what_to_do(shown: Tab) -> None:
    """Code, fact and mend; no labels, no link, no picture."""
    _set(shown, "search", "bad_image")
    shown.value(f"{TILES}[0].querySelector('button').click()")
    assert _text(shown, "title") == "bad_image" and _text(shown, "failure") == "It is torn. Copy it again."
    assert [_text(shown, name) for name in ("predictions", "address", "note", "more")] == [None] * 4
    assert _text(shown, "picture") == "no picture"
    assert shown.value("document.getElementById('before').disabled") is True


def test_keys_are_enough(shown: Tab) -> None:
    """Arrows go from tile to tile, also where there is none yet; Enter opens, arrows leaf, Escape closes."""
    at = "document.activeElement.closest('li')?.getAttribute('aria-posinset')"
    shown.value(f"{TILES}[0].querySelector('button').focus()")
    columns = shown.value("getComputedStyle(document.getElementById('tiles')).gridTemplateColumns.split(' ').length")
    for key, place in (("ArrowRight", 2), ("ArrowDown", 2 + columns), ("ArrowLeft", 1 + columns), ("End", PHOTOS)):
        _press(shown, key)
        assert shown.value(at) == str(place)
    _press(shown, "ArrowRight")
    assert shown.value(at) == str(PHOTOS)
    _press(shown, "ArrowUp")
    _press(shown, "Enter")
    shown.until("document.getElementById('details').open")
    _press(shown, "ArrowRight")
    assert _text(shown, "place") == f"{PHOTOS - columns + 1:,} of 10,000"
    _press(shown, "Escape")
    shown.until(f"{at} == {PHOTOS - columns + 1}")  # the dialog gives the focus back after it has closed
    assert shown.value("document.getElementById('details').open") is False
    assert shown.value(f"((tile) => {SEEN})(document.activeElement)") is True


def test_it_can_be_heard(shown: Tab) -> None:
    """Every control has a name, every picture a text, the count is announced; a tile says path, label and score."""
    tree = shown.call("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "checkbox", "searchbox", "slider", "combobox", "image", "link")
    named = [(node["role"]["value"], node.get("name", {}).get("value")) for node in tree if not node["ignored"]]
    assert all(name for role, name in named if role in roles)
    assert {role for role, _ in named} >= {"slider", "searchbox", "combobox", "status", "checkbox", "list"}
    tile = next(name for role, name in named if role == "button" and ".png" in name)
    assert "label 0" in tile and "%" in tile and ("confident" in tile or "unsure" in tile)


@pytest.mark.parametrize("dark", [False, True])
def test_phones(tab: Tab, large: Path, dark: bool) -> None:
    """Nothing runs out of the window, with the filters folded away, open, and with a photo's details."""
    _open(tab, large, 360, 740, dark=dark)
    assert tab.value("document.getElementById('panel').open") is False and tab.value(WIDEST) <= 360
    tab.value("document.getElementById('panel').open = true")
    assert tab.value(WIDEST) <= 360
    tab.value(f"{TILES}[0].querySelector('button').click()")
    assert tab.value(WIDEST) <= 360
    assert tab.value("document.getElementById('details').getBoundingClientRect().right") <= 360
    _alone(tab, large)


def test_paper_has_all_that_is_shown(tab: Tab, tmp_path: Path) -> None:
    """Also what is below the window, each with its picture."""
    photos = [save(tmp_path, f"{n}.png", encode(Image.new("RGB", (20 + n, 20), (n, 99, 99)), "PNG")) for n in range(90)]
    outcomes = [Outcome(str(photo), None, (Prediction("dog", "n", 0.5),), "unsure") for photo in photos]
    gallery.write(outcomes, tmp_path / "page.html", force=False)
    _open(tab, tmp_path / "page.html", 600, 300)
    assert tab.value(f"{TILES}.length") < 60
    pdf = base64.b64decode(tab.call("Page.printToPDF")["data"])
    assert len(re.findall(rb"/Subtype\s*/Image", pdf)) == 90
    tab.until(f"{TILES}.length < 60")


def test_paper_ends_somewhere(shown: Tab) -> None:
    """Hundreds of sheets are no wish: the first thousand, which the page says."""
    shown.value("dispatchEvent(new Event('beforeprint'))")
    assert shown.value(f"{TILES}.length") == 1000 and "first 1,000" in _text(shown, "cut")
    shown.value("dispatchEvent(new Event('afterprint'))")
    assert shown.value(f"{TILES}.length") < 150 and _text(shown, "cut") is None


def test_names_that_attack_are_only_shown(tab: Tab, tmp_path: Path) -> None:
    """In paths, labels, classes, models and errors: they are text wherever they appear, and links lead to the files."""
    name = EVIL.replace("/", "-")
    photo = os.fsdecode(os.fsencode(tmp_path)) + "/" + name
    save(tmp_path, name, encode(Image.new("RGB", (20, 20)), "PNG"))
    labels = (Prediction(EVIL, EVIL, 0.9), Prediction("__proto__", "constructor", 0.1))
    outcomes = [
        Outcome(photo, None, labels, "confident", None, EVIL, EVIL),
        Outcome(EVIL, None, error=Failure(EVIL, EVIL, EVIL)),
        Outcome("javascript:window.hit=1", None, (Prediction("__proto__", "n", 0.5),), "unsure"),
    ]
    page = tmp_path / "page.html"
    gallery.write(outcomes, page, force=False)
    _open(tab, page)
    assert tab.value(COUNT) == "3 photos" and len(_labels(tab)) == 3
    assert set(_counts(tab, "labels")) == {printable(EVIL), "__proto__"}
    for place in range(3):
        tab.value(f"{TILES}[{place}].querySelector('button').click()")
        if tab.value("!document.getElementById('address').hidden"):
            href = tab.value("document.getElementById('address').href")
            assert os.fsdecode(unquote_to_bytes(urlsplit(href).path)) == photo
            assert _text(tab, "name") == printable(photo)
        tab.value("document.getElementById('close').click()")
    _set(tab, "search", "</SCRIPT>")
    assert tab.value(COUNT) == "2 of 3 photos"
    assert tab.value("typeof window.hit") == "undefined" and tab.value("document.scripts.length") == 3
    _alone(tab, page)


def test_the_policy_holds_even_if_markup_came_through(shown: Tab, large: Path) -> None:
    """A script or an address put into the page neither runs nor is asked for."""
    picture = '<img id="evil" src="https://example.org/a.png" onerror="window.hit = 1">'
    shown.value(f"document.body.insertAdjacentHTML('beforeend', {json.dumps(picture)})")
    shown.value("document.body.append(Object.assign(document.createElement('script'), { text: 'window.hit = 1' }))")
    shown.until("document.getElementById('evil').complete")
    assert shown.value("typeof window.hit") == "undefined"
    assert any("Content Security Policy" in complaint for complaint in shown.complaints)
