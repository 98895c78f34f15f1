"""client/web/whippet.mjs on a web page in Chromium: photos are shrunk, turned, without metadata, and labelled alike."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse
from starlette.routing import Route

from client import Client
from local_stack.stack import Description
from tests.browser import Tab, browser
from tests.conftest import described, start_stack
from tests.node import CLIENT, programs
from tests.photos import encode, jpeg, sample_image
from tests.servers import serving

pytestmark = pytest.mark.stack

TURNED = 6
"""EXIF's orientation of a phone held upright: the pixels lie on their left side."""

PAGE = """<!doctype html><title>A page</title><script type="module">
import { Whippet } from "/whippet.mjs";
globalThis.api = (options) => new Whippet({ ...options, fetch: (url, how) => (sent.push(how.body), fetch(url, how)) });
globalThis.sent = [];
globalThis.file = (text) => new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], "photo");
globalThis.text = async (blob) => {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
};
globalThis.ready = true;
</script>"""

ASK = """(async () => {
  sent.length = 0;
  try {
    const answer = await api(%s).classify(file(%s));
    return { answer, sent: await text(sent.at(-1)) };
  } catch ({ code, status }) { return { code, status }; }
})()"""


class Site(NamedTuple):
    """A web page that may call an API, open in a browser."""

    tab: Tab
    api: Description

    def options(self, **more: Any) -> str:
        """The client's, as JavaScript."""
        return json.dumps({"url": self.api.url, "apiKey": self.api.api_key, **more})

    def ask(self, photo: bytes, **options: Any) -> Any:
        """What the page learns of a photo, and what it sent."""
        answer = self.tab.value(ASK % (self.options(**options), json.dumps(base64.b64encode(photo).decode())))
        if "sent" in answer:
            answer["sent"] = base64.b64decode(answer["sent"])
        return answer


async def page(_: Request) -> HTMLResponse:
    """A web page with the client."""
    return HTMLResponse(PAGE)


async def module(_: Request) -> FileResponse:
    """The client, as a web server gives it."""
    return FileResponse(CLIENT, media_type="text/javascript")


@pytest.fixture(scope="module")
def site(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The page, and the one-machine stack that lists it."""
    own = {"WHIPPET_STATE_FILE": str(tmp_path_factory.mktemp("state") / "stack.json")}
    site = Starlette(routes=[Route("/", page), Route("/whippet.mjs", module)])
    with serving(site) as url, browser(tmp_path_factory.mktemp("profile")) as tab:
        with start_stack(archive, "--allow-origin", url, env=own) as process:
            tab.visit(f"{url}/")
            tab.until("globalThis.ready")
            yield Site(tab, described(process))


def of_a_phone(name: str) -> bytes:
    """A real photo as 12 megapixels on their side, with a place in its EXIF."""
    exif = Image.Exif()
    exif[0x0112] = TURNED
    exif.get_ifd(0x8825)[1] = "N"
    image = sample_image(name).resize((3000, 4000), Image.Resampling.BICUBIC)
    return encode(image.transpose(Image.Transpose.ROTATE_90), quality=90, exif=exif.tobytes())


@pytest.mark.parametrize("name", ["chelsea.png", "coffee.png", "rocket.jpg"])
def test_large_photos_are_shrunk_and_labelled_alike(site: Site, name: str) -> None:
    """Three times the model's input side, upright, a few per cent of the bytes, no EXIF; the Python client's label."""
    photo = of_a_phone(name)
    told = site.ask(photo)
    with Client(site.api.url, site.api.api_key) as client:
        expected = client.classify(photo).predictions[0]
    best = told["answer"]["predictions"][0]
    assert best["label"] == expected.label
    assert best["score"] == pytest.approx(expected.score, abs=0.1)
    with Image.open(io.BytesIO(told["sent"])) as sent:
        assert (sent.format, sent.size) == ("JPEG", (768, 1023))
    assert len(told["sent"]) < min(200_000, len(photo) / 5)
    assert b"Exif" in photo and b"Exif" not in told["sent"]


def test_small_photos_go_as_they_are(site: Site) -> None:
    """A small file is not looked at, and one of few pixels keeps them."""
    few_bytes, few_pixels = jpeg((1200, 900), quality=20), encode(sample_image().resize((800, 600)), "PNG")
    assert len(few_bytes) < 100_000 < len(few_pixels)
    for photo in (few_bytes, few_pixels):
        assert site.ask(photo)["sent"] == photo


def test_shrinking_can_be_left_off(site: Site) -> None:
    """Then the file goes with all that is in it."""
    photo = of_a_phone("coffee.png")
    assert site.ask(photo, shrink=False)["sent"] == photo


def test_transparent_photos_lie_on_white(site: Site) -> None:
    """As the server lays them, where a JPEG's own background is black."""
    image = sample_image().resize((2400, 1800)).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 600, 600))
    with Image.open(io.BytesIO(site.ask(encode(image, "PNG"))["sent"])) as sent:
        assert sent.convert("RGB").getpixel((100, 100)) == (255, 255, 255)


def test_what_the_browser_cannot_read_is_left_to_the_api(site: Site) -> None:
    """A TIFF, which Chromium does not know, is labelled; what is no photo has the API's error."""
    tiff = encode(sample_image(), "TIFF")
    assert site.ask(tiff)["answer"]["predictions"][0]["label"] == "espresso"
    told = site.ask(b"no photo " * 20_000)
    assert (told["status"], told["code"]) == (415, "unsupported_media_type")


def test_a_photo_that_is_cut_short_has_no_labels(site: Site) -> None:
    """The browser does not fill up what is missing."""
    photo = of_a_phone("coffee.png")
    assert site.ask(photo[: len(photo) // 2])["code"] == "bad_image"


def test_a_canvas_that_lies_is_not_used(site: Site) -> None:
    """Browsers that hide who their user is give noise for what was drawn."""
    photo = of_a_phone("coffee.png")
    kept = "globalThis.kept ??= OffscreenCanvasRenderingContext2D.prototype.getImageData"
    lie = "OffscreenCanvasRenderingContext2D.prototype.getImageData = () => ({ data: [255, 255, 255, 255] })"
    site.tab.value(f"({kept}, {lie}, 0)")
    try:
        assert site.ask(photo)["sent"] == photo
    finally:
        site.tab.value("(OffscreenCanvasRenderingContext2D.prototype.getImageData = kept, 0)")


def test_without_offscreen_canvas_the_documents_own_is_used(site: Site) -> None:
    """Older browsers."""
    photo = of_a_phone("coffee.png")
    site.tab.value("(globalThis.modern = OffscreenCanvas, delete globalThis.OffscreenCanvas, 0)")
    try:
        with Image.open(io.BytesIO(site.ask(photo)["sent"])) as sent:
            assert sent.size == (768, 1023)
    finally:
        site.tab.value("(globalThis.OffscreenCanvas = modern, 0)")


MANY = """(async () => {
  const photos = %s.map(file), found = [];
  for await (const { index, ok, predictions, error } of api(%s).classifyMany(photos)) {
    found[index] = ok ? predictions[0].label : error.code;
  }
  return found;
})()"""


def test_many_photos_on_a_page(site: Site) -> None:
    """Labels in packs, the page's own origin listed for every route."""
    photos = [of_a_phone("coffee.png"), b"no photo", of_a_phone("rocket.jpg")]
    given = json.dumps([base64.b64encode(photo).decode() for photo in photos])
    assert site.tab.value(MANY % (given, site.options())) == ["espresso", "unsupported_media_type", "missile"]


CHOSEN = """(() => {
  document.body.innerHTML = '<input type="file" multiple>';
  document.body.append(Object.assign(document.createElement("script"), { type: "module", textContent: %s }));
  const chosen = new DataTransfer();
  for (const [name, text] of Object.entries(%s)) chosen.items.add(new File([file(text)], name));
  globalThis.choose = setInterval(() => {
    const input = document.querySelector("input");
    input.files = chosen.files;
    input.dispatchEvent(new Event("change"));
  }, 500);
})()"""


def test_the_documented_page(site: Site) -> None:
    """What docs/clients.md shows for a page labels the files that are chosen there, and tells what it cannot."""
    (script,) = [program for program in programs("js") if "document" in program]
    script, replaced = re.subn(r"new Whippet\({.*?}\)", f"new Whippet({site.options()})", script)
    assert replaced == 1
    photos = {"cup.jpg": jpeg(), "note.txt": b"no photo"}
    given = {name: base64.b64encode(photo).decode() for name, photo in photos.items()}
    site.tab.value(CHOSEN % (json.dumps(script), json.dumps(given)))
    site.tab.until("document.body.innerText.includes('cup.jpg: espresso')")
    site.tab.until("document.body.innerText.includes('note.txt: The first bytes are those of no photo')")
    site.tab.value("clearInterval(choose)")
