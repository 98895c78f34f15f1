"""Photos out of a request's body: raw, multipart or base64 in JSON, told apart by the content type.

What a photo is, its magic bytes decide; the header only says how the body is wrapped.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from dataclasses import dataclass
from typing import Any

from python_multipart import parse_form
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import File, parse_options_header

from .errors import ApiError
from .schema import MAX_BATCH, MAX_IMAGE_BYTES, MEDIA_TYPES, SNIFF_BYTES, sniff_media_type

JSON = "application/json"
MAX_ID = 256
"""Characters of a caller's id that come back: a hundred long ones would burst Lambda's 6 MB answer."""
MULTIPART = "multipart/form-data"


@dataclass(frozen=True)
class Photo:
    """One photo of a batch: the caller's name for it, and its bytes or what is wrong with them."""

    id: str
    image: bytes | ApiError


@dataclass(frozen=True)
class Upload:
    """A photo that was uploaded before, by its key as the caller gives it."""

    key: Any


def single(body: bytes, content_type: str) -> bytes | Upload:
    """The one photo of a request; ApiError if there is none, or it is too large or no photo."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == MULTIPART:
        return check(_field(_parts(body, content_type), "image"))
    if media_type == JSON and sniff_media_type(body[:SNIFF_BYTES]) is None:
        document = json_object(body, SINGLE_HINT)
        return Upload(document["upload"]) if "upload" in document else check(decode(document.get("image"), "image"))
    return check(body)


def many(body: bytes, content_type: str) -> list[Photo]:
    """The photos of a batch in order, bad ones as errors; ApiError if the batch itself cannot be read."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == MULTIPART:
        photos = [_checked(part.name, part.content) for part in _parts(body, content_type) if part.is_photo]
    else:
        photos = _listed(json_object(body, BATCH_HINT).get("images"))
    if not photos:
        raise ApiError("bad_request", "The batch holds no photos.", BATCH_HINT)
    if len(photos) > MAX_BATCH:
        raise ApiError("too_large", f"The batch holds {len(photos)} photos.", f"Send at most {MAX_BATCH} at once.")
    return photos


BATCH_HINT = 'Send {"images": [{"id": "…", "b64": "<base64>"}]} or a multipart form with files.'
SINGLE_HINT = 'Send the photo as it is, as multipart field "image", as {"image": "<base64>"}, or {"upload": "<key>"}.'


def check(image: bytes, largest: int = MAX_IMAGE_BYTES) -> bytes:
    """The same bytes; ApiError if they are none, more than `largest`, or start like no photo."""
    if not image:
        raise ApiError("bad_image", "The photo is empty (0 bytes).", SINGLE_HINT)
    if len(image) > largest:
        detail = f"The photo has {len(image):,} bytes; {largest:,} can be sent directly."
        raise ApiError("too_large", detail, "Upload it first (POST /v1/uploads), or scale it down as the client does.")
    if sniff_media_type(image[:SNIFF_BYTES]) is None:
        raise ApiError("unsupported_media_type", _what(image), f"Send one of {', '.join(MEDIA_TYPES.values())}.")
    return image


def _what(image: bytes) -> str:
    if image.startswith(b"\xef\xbf\xbd"):
        # The gateway takes bodies of unlisted content types for text and replaces what is not UTF-8.
        return "The photo was sent as text; its Content-Type must be image/… or application/octet-stream."
    return "The first bytes are those of no photo format that is read here."


def decode(text: Any, where: str) -> bytes:
    """Bytes of a base64 text, without line breaks and a data URL's prefix; ApiError if it is none."""
    if not isinstance(text, str):
        raise ApiError("bad_request", f"{where} holds no base64 text.", SINGLE_HINT)
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        hint = "Encode the photo's bytes as standard base64."
        raise ApiError("bad_request", f"{where} is not valid base64.", hint) from None


def json_object(body: bytes, hint: str) -> dict[str, Any]:
    """The body as a JSON object; ApiError if it is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError("bad_request", "The body is not JSON.", hint) from None
    if not isinstance(document, dict):
        raise ApiError("bad_request", "The JSON body is not an object.", hint)
    return document


def _listed(images: Any) -> list[Photo]:
    if not isinstance(images, list):
        raise ApiError("bad_request", "images is not a list.", BATCH_HINT)
    return [_instance(item, str(i)) for i, item in enumerate(images)]


def _instance(item: Any, position: str) -> Photo:
    """A bad item becomes an error of its own and leaves the others alone."""
    if not isinstance(item, dict):
        return Photo(position, ApiError("bad_request", "The item is not an object.", BATCH_HINT))
    name = item.get("id")
    name = str(name)[:MAX_ID] if isinstance(name, (str, int)) else position
    try:
        return Photo(name, check(decode(item.get("b64"), "b64")))
    except ApiError as error:
        return Photo(name, error)


def _checked(name: str, data: bytes) -> Photo:
    try:
        return Photo(name, check(data))
    except ApiError as error:
        return Photo(name, error)


@dataclass(frozen=True)
class _Part:
    """One part of a form; `name` is a file's own name where it has one, else its field's."""

    field: str
    name: str
    content: bytes
    is_file: bool

    @property
    def is_photo(self) -> bool:
        """A file, or a field that is named or begins like a photo: not every client names its files."""
        return self.is_file or self.field in ("image", "images") or bool(sniff_media_type(self.content[:SNIFF_BYTES]))


def _field(parts: list[_Part], wanted: str) -> bytes:
    """The field of that name, or the only file of the form."""
    named = [part for part in parts if part.field == wanted]
    found = named or [part for part in parts if part.is_file]
    if len(found) > 1:
        raise ApiError("bad_request", f"The form holds {len(found)} files.", "Send many photos to /v1/classify/batch.")
    if not found:
        raise ApiError("bad_request", f'The form has no field "{wanted}".', SINGLE_HINT)
    return found[0].content


def _parts(body: bytes, content_type: str) -> list[_Part]:
    """The parts of a form in order; ApiError if it is damaged or cut off."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise ApiError("bad_request", "The multipart Content-Type has no boundary.", "Let your HTTP library set it.")
    found: list[Any] = []  # Field or File, in order; files above 1 MB lie in a temporary file until closed
    headers = {"Content-Type": content_type.encode("latin-1", "replace")}
    damaged = ApiError("bad_request", "The multipart form is damaged or cut off.", "Let your HTTP library build it.")
    try:
        parse_form(headers, io.BytesIO(body), found.append, found.append)
    except (FormParserError, ValueError):
        raise damaged from None
    if b"--" + boundary + b"--" not in body[-len(boundary) - 64 :]:
        raise damaged  # the parser takes a form without an end for a shorter one
    return [_part(item) for item in found]


def _part(item: Any) -> _Part:
    field = _text(item.field_name)
    if not isinstance(item, File):
        return _Part(field, field, item.value or b"", False)
    item.file_object.seek(0)
    content = item.file_object.read()
    item.close()
    return _Part(field, _text(item.file_name)[:MAX_ID] or field, content, True)


def _text(name: bytes | None) -> str:
    return (name or b"").decode("utf-8", "replace")
