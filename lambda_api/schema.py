"""The API's published contract: limits, error codes, answers and the media types it takes.

Standard library only: the function, its clients and its documentation all read this one module.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MAX_IMAGE_BYTES = 4_000_000
"""Largest photo sent directly, in bytes: base64 makes 4/3 of it, which fits a Lambda event."""

MAX_EVENT_BYTES = 6_291_456
"""Largest synchronous Lambda event, in bytes of JSON (AWS quota)."""

MAX_BODY_BYTES = 10_485_760
"""Largest request body of an API Gateway REST API, in bytes (AWS quota)."""

MAX_UPLOAD_BYTES = 20_000_000
"""Largest photo that is uploaded first, in bytes; an operator may set less. InvokeEndpoint takes 25 MB."""

UPLOAD_SECONDS = 300
"""How long the permission for an upload holds, in seconds."""

RESULT_SECONDS = 900
"""How long the address of a job's results holds, in seconds; each look at the job gives a new one."""

MAX_JOB_UPLOADS = 1000
"""Most uploads in one job."""

MAX_JOB_PHOTOS = 100_000
"""Most photos below the prefix of one job; Batch Transform is for more."""

MAX_JOB_TOP_K = 20
"""Labels a photo of a job: 100,000 lines of a hundred would be more than a function's disk."""

MAX_PIXELS = 50_000_000
"""Photos of more pixels are refused before decoding: a 10 kB PNG can claim 81 megapixels."""

MAX_BATCH = 100
"""Most photos in one batch request."""

DEFAULT_TOP_K = 5
MAX_TOP_K = 1000

MAX_BATCH_TOP_K = 100
"""Labels a photo of a batch: 100 photos of 1,000 labels each would burst Lambda's 6 MB answer."""

Decision = Literal["confident", "unsure", "unknown"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
WebhookState = Literal["waiting", "delivered", "failed"]

ERRORS: Mapping[str, tuple[int, str]] = {
    "bad_request": (400, "The request cannot be read"),
    "bad_image": (400, "The photo cannot be read"),
    "unauthorized": (401, "The caller is not signed in"),
    "forbidden": (403, "The API key is missing or wrong"),
    "not_found": (404, "There is no such route or job"),
    "upload_missing": (404, "There is no such upload"),
    "conflict": (409, "The token belongs to another request"),
    "too_large": (413, "The photo or request is too large"),
    "unsupported_media_type": (415, "The file is not a photo this API reads"),
    "bad_parameter": (422, "A parameter is out of range"),
    "throttled": (429, "Too many requests"),
    "internal": (500, "The API failed"),
    "endpoint_failed": (502, "The model endpoint failed"),
    "endpoint_unavailable": (503, "The model endpoint is not available"),
    "endpoint_timeout": (504, "The model endpoint took too long"),
}
"""Every error code the API answers with: its HTTP status and title."""

RETRYABLE = frozenset({429, 502, 503, 504})
"""Statuses worth another try; 429 and 503 carry Retry-After in seconds."""

MEDIA_TYPES: Mapping[str, str] = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WebP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
    "image/avif": "AVIF",
    "image/heic": "HEIC",
}
"""Media types of the photos the API takes, with the names people call them."""

_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"II+\x00", "image/tiff"),
    (b"MM\x00+", "image/tiff"),
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

IDENTIFIER = "[A-Za-z0-9_-]{22}"
"""Keys of uploads and ids of jobs: 128 random bits in base64, as a regular expression."""

SNIFF_BYTES = 32
"""How many leading bytes `sniff_media_type` looks at."""


def sniff_media_type(data: bytes) -> str | None:
    """Media type of a photo by its magic bytes, or None where it is no photo the API takes.

    Names and headers lie; the first bytes decide. WebP and BMP check two places each, since "RIFF" and
    "BM" alone also start sound files and text. AVIF and HEIC are told apart by the brands in `ftyp`.
    """
    for signature, media_type in _SIGNATURES:
        if data.startswith(signature):
            return media_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[:2] == b"BM" and data[6:10] == b"\x00\x00\x00\x00":
        return "image/bmp"
    if data[4:8] == b"ftyp":
        brands = {data[8:12], *(data[i : i + 4] for i in range(16, SNIFF_BYTES, 4))}
        if brands & _AVIF_BRANDS:
            return "image/avif"
        if data[8:12] in _HEIC_BRANDS:
            return "image/heic"
    return None


@dataclass(frozen=True)
class Prediction:
    """One label with its calibrated score in [0, 1]."""

    label: str
    class_id: str
    score: float


@dataclass(frozen=True)
class Model:
    """Name and content-derived version of the model that answered."""

    name: str
    version: str


@dataclass(frozen=True)
class ItemError:
    """Why one photo of a batch has no labels: what `Problem` says of a single one."""

    status: int
    code: str
    detail: str
    hint: str


@dataclass(frozen=True)
class Classification:
    """Answer of `POST /v1/classify`: predictions by falling score."""

    predictions: list[Prediction]
    decision: Decision
    model: Model
    request_id: str
    timings_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchItem:
    """One photo's result: either predictions and a decision, or an error."""

    id: str
    predictions: list[Prediction] | None = None
    decision: Decision | None = None
    error: ItemError | None = None


@dataclass(frozen=True)
class BatchClassification:
    """Answer of `POST /v1/classify/batch`: one result a photo, in the order of the request."""

    results: list[BatchItem]
    model: Model
    request_id: str
    timings_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassInfo:
    """One class of the model: the readable label and the stable identifier."""

    class_id: str
    label: str


@dataclass(frozen=True)
class InputSize:
    """What the model looks at, in pixels: the shorter side after resizing, and the centre crop."""

    resize: int
    crop: int


@dataclass(frozen=True)
class Limits:
    """What the API takes; more is refused with `too_large` or `bad_parameter`."""

    image_bytes: int = MAX_IMAGE_BYTES
    body_bytes: int = MAX_BODY_BYTES
    event_bytes: int = MAX_EVENT_BYTES
    pixels: int = MAX_PIXELS
    batch: int = MAX_BATCH
    top_k: int = MAX_TOP_K
    batch_top_k: int = MAX_BATCH_TOP_K
    upload_bytes: int = MAX_UPLOAD_BYTES
    job_uploads: int = MAX_JOB_UPLOADS
    job_photos: int = MAX_JOB_PHOTOS
    job_top_k: int = MAX_JOB_TOP_K


@dataclass(frozen=True)
class ModelDescription:
    """Answer of `GET /v1/model`: the model, its classes in network order, and the limits."""

    name: str
    version: str
    classes: list[ClassInfo]
    input: InputSize
    limits: Limits


@dataclass(frozen=True)
class Health:
    """Answer of `GET /v1/health` while the endpoint answers; otherwise a 503 problem comes."""

    status: Literal["ok"]
    model: Model


@dataclass(frozen=True)
class UploadTicket:
    """Answer of `POST /v1/uploads`: a form to send to `url`, all `fields` first, then the photo as `file`.

    `upload` names the photo afterwards. At most `max_bytes`, within `expires_in` seconds.
    """

    upload: str
    url: str
    fields: dict[str, str]
    max_bytes: int
    expires_in: int
    request_id: str


@dataclass(frozen=True)
class JobResults:
    """Where a job's results are: JSON Lines as the client writes them, for `expires_in` seconds."""

    url: str
    expires_in: int


@dataclass(frozen=True)
class Job:
    """Answer of `POST /v1/jobs` and `GET /v1/jobs/{id}`.

    `photos` are those found so far, all of them once it is `listed`; `ok` and `failed` have their result. Times are
    ISO 8601 in UTC. `error` says why a job failed as a whole.
    """

    id: str
    state: JobState
    listed: bool
    photos: int
    ok: int
    failed: int
    created: str
    finished: str | None = None
    results: JobResults | None = None
    error: ItemError | None = None
    webhook: WebhookState | None = None
    request_id: str = ""


@dataclass(frozen=True)
class Problem:
    """Every error, as `application/problem+json` (RFC 9457) with a code, a hint and the request's id."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str
    request_id: str


def problem(code: str, detail: str, hint: str, request_id: str = "") -> Problem:
    """The problem document of an error code in `ERRORS`; KeyError for any other."""
    status, title = ERRORS[code]
    return Problem(f"urn:whippet:error:{code}", title, status, detail, code, hint, request_id)


def parse_predictions(items: Any) -> list[Prediction]:
    """Typed predictions out of the JSON of an answer; KeyError, TypeError or ValueError if malformed."""
    found = [Prediction(str(i["label"]), str(i["class_id"]), float(i["score"])) for i in items]
    if not all(math.isfinite(prediction.score) for prediction in found):
        raise ValueError("a score is no number")  # JSON has no NaN, though Python writes and reads it
    return found
