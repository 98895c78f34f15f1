"""Forms of many photos, sent piece by piece."""

from __future__ import annotations

import email
from pathlib import Path

from client.api import Client
from client.forms import Form
from client.photo import Upload
from client.sources import Source
from tests.fake_api import KEY, fake_api, photo
from tests.photos import jpeg

UPLOADS = [Upload(jpeg(), "image/jpeg"), Upload(b"\r\n--" * 9, "image/heic"), Upload(b"\x00\xff", "image/webp")]


def test_a_form_holds_its_photos_in_order() -> None:
    """As the standard library's parser reads it, the same at each try, and as long as it says."""
    form = Form("images", UPLOADS)
    data = b"".join(form)
    assert b"".join(form) == data and len(form) == len(data)
    message = email.message_from_bytes(b"Content-Type: " + form.media_type.encode() + b"\r\n\r\n" + data)
    parts = list(message.walk())[1:]
    assert [part.get_payload(decode=True) for part in parts] == [upload.body for upload in UPLOADS]
    assert [part.get_content_type() for part in parts] == [upload.media_type for upload in UPLOADS]
    assert [part.get_param("name", header="Content-Disposition") for part in parts] == ["images"] * 3
    assert [part.get_filename() for part in parts] == ["0", "1", "2"]


def test_photos_are_not_copied() -> None:
    """What is sent are the photos' own bytes."""
    assert {id(upload.body) for upload in UPLOADS} <= {id(piece) for piece in Form("images", UPLOADS)}


def test_a_form_is_sent_with_its_length(tmp_path: Path) -> None:
    """Gateways want to know it beforehand."""
    with fake_api() as api, Client(api.url, KEY) as client:
        sources = [Source(str(photo(tmp_path / f"{n}.jpg", size=(60 + n, 40)))) for n in range(9)]
        assert all(outcome.ok for outcome in client.classify_many(sources))
        sent = [request for request in api.posts if request.route == "/v1/classify/batch"]
        assert sent
        for request in sent:
            assert request.headers["content-length"] == str(len(request.body))
            assert "transfer-encoding" not in request.headers
