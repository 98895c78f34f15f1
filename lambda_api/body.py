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
from .schema import MAX_BATCH, MAX_IMAGE_BYTES, MEDIA_TYPES, sniff_media_type

JSON = "application/json"
MULTIPART = "multipart/form-data"


@dataclass(frozen=True)
class Photo:
    """One photo of a batch: the caller's name for it, and its bytes or what is wrong with them."""

    id: str
    image: bytes | ApiError


def single(body: bytes, content_type: str) -> bytes:
    """The one photo of a request; ApiError if there is none, or it is too large or no photo."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == MULTIPART:
        return check(_field(_parts(body, content_type), "image"))
    if media_type == JSON and body.lstrip()[:1] in (b"{", b"["):
        return check(decode(_object(body).get("image"), "image"))
    return check(body)


def many(body: bytes, content_type: str) -> list[Photo]:
    """The photos of a batch in order, bad ones as errors; ApiError if the batch itself cannot be read."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == MULTIPART:
        photos = [_checked(name, data) for name, data, is_file in _parts(body, content_type) if is_file]
    else:
        photos = _listed(_object(body).get("images"))
    if not photos:
        raise ApiError("bad_request", "The batch holds no photos.", BATCH_HINT)
    if len(photos) > MAX_BATCH:
        raise ApiError("too_large", f"The batch holds {len(photos)} photos.", f"Send at most {MAX_BATCH} at once.")
    return photos


BATCH_HINT = 'Send {"images": [{"id": "…", "b64": "<base64>"}]} or a multipart form with files.'
SINGLE_HINT = 'Send the photo as it is, as multipart field "image", or as {"image": "<base64>"}.'


def check(image: bytes) -> bytes:
    """The same bytes; ApiError if they are none, too many, or start like no photo."""
    if not image:
        raise ApiError("bad_image", "The photo is empty (0 bytes).", SINGLE_HINT)
    if len(image) > MAX_IMAGE_BYTES:
        detail = f"The photo has {len(image):,} bytes; {MAX_IMAGE_BYTES:,} can be sent directly."
        raise ApiError("too_large", detail, "Scale it down; python -m client does so by itself.")
    if sniff_media_type(image[:32]) is None:
        raise ApiError("unsupported_media_type", _what(image), f"Send one of {', '.join(MEDIA_TYPES.values())}.")
    return image


def _what(image: bytes) -> str:
    if image.startswith(b"\xef\xbf\xbd"):
        # The gateway takes bodies of unlisted content types for text and replaces what is not UTF-8.
        return "The photo was sent as text; its Content-Type must be image/… or application/octet-stream."
    return "The first bytes are those of no photo format that is read here."


def decode(text: Any, where: str) -> bytes:
    """Bytes of a base64 text, a data URL's prefix left off; ApiError if it is none."""
    if not isinstance(text, str):
        raise ApiError("bad_request", f"{where} holds no base64 text.", SINGLE_HINT)
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        hint = "Encode the photo's bytes as standard base64 without line breaks."
        raise ApiError("bad_request", f"{where} is not valid base64.", hint) from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError("bad_request", "The body is not JSON.", SINGLE_HINT) from None
    if not isinstance(document, dict):
        raise ApiError("bad_request", "The JSON body is not an object.", SINGLE_HINT)
    return document


def _listed(images: Any) -> list[Photo]:
    if not isinstance(images, list):
        raise ApiError("bad_request", "images is not a list.", BATCH_HINT)
    return [_instance(item, str(i)) for i, item in enumerate(images)]


def _instance(item: Any, position: str) -> Photo:
    """A bad item becomes an error of its own and leaves the others alone."""
    if not isinstance(item, dict):
        return Photo(position, ApiError("bad_request", "The item is not an object.", BATCH_HINT))
    name = str(item.get("id", position))
    try:
        return Photo(name, check(decode(item.get("b64"), "b64")))
    except ApiError as error:
        return Photo(name, error)


def _checked(name: str, data: bytes) -> Photo:
    try:
        return Photo(name, check(data))
    except ApiError as error:
        return Photo(name, error)


def _field(parts: list[tuple[str, bytes, bool]], wanted: str) -> bytes:
    """The field of that name, or the only file of the form."""
    files = [data for _, data, is_file in parts if is_file]
    named = [data for name, data, is_file in parts if name == wanted and not is_file]
    if len(files) > 1:
        raise ApiError("bad_request", f"The form holds {len(files)} files.", "Send many photos to /v1/classify/batch.")
    if not files and not named:
        raise ApiError("bad_request", f'The form has no field "{wanted}".', SINGLE_HINT)
    return (files or named)[0]


def _parts(body: bytes, content_type: str) -> list[tuple[str, bytes, bool]]:
    """(name, content, whether it is a file) of each part; a file's name is its file name, else its field's."""
    if not parse_options_header(content_type)[1].get(b"boundary"):
        raise ApiError("bad_request", "The multipart Content-Type has no boundary.", "Let your HTTP library set it.")
    found: list[Any] = []  # Field or File, in order; files above 1 MB lie in a temporary file until closed
    try:
        parse_form(
            {"Content-Type": content_type.encode("latin-1", "replace")}, io.BytesIO(body), found.append, found.append
        )
    except (FormParserError, ValueError):
        raise ApiError("bad_request", "The multipart form is damaged.", "Let your HTTP library build it.") from None
    return [_part(item) for item in found]


def _part(item: Any) -> tuple[str, bytes, bool]:
    if not isinstance(item, File):
        return _text(item.field_name), item.value or b"", False
    item.file_object.seek(0)
    content = item.file_object.read()
    item.close()
    return _text(item.file_name or item.field_name), content, True


def _text(name: bytes | None) -> str:
    return (name or b"").decode("utf-8", "replace")
