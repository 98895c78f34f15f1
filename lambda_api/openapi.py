"""The OpenAPI 3.1 document: powertools' from the routes, plus the bodies and errors that it cannot see."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .jobs.request import MAX_TOKEN
from .schema import (
    DEFAULT_TOP_K,
    ERRORS,
    IDENTIFIER,
    MAX_BATCH,
    MAX_JOB_TOP_K,
    MAX_JOB_UPLOADS,
    MEDIA_TYPES,
)

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler import APIGatewayRestResolver

VERSION = "1.0.0"
DESCRIPTION = (
    "POST a photo, get labels with calibrated scores. Every error is an application/problem+json document "
    "with a code and a hint."
)
_HEADERS = {
    "RequestId": {"schema": {"type": "string"}, "description": "As in the body and in the API's log"},
    "RetryAfter": {"schema": {"type": "integer"}, "description": "Seconds"},
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_KEY: dict[str, Any] = {
    "type": "string",
    "pattern": f"^{IDENTIFIER}$",
    "description": "As POST /v1/uploads answered it",
}
_BASE64: dict[str, Any] = {"type": "string", "contentEncoding": "base64"}
_COMMON = ("unauthorized", "forbidden", "throttled", "internal", "endpoint_timeout")
_UPSTREAM = ("endpoint_failed", "endpoint_unavailable")
_PHOTO = ("bad_request", "bad_image", "too_large", "unsupported_media_type", "bad_parameter", *_UPSTREAM)
_CODES = {
    "classify": (*_PHOTO, "not_found", "upload_missing"),
    "classifyBatch": _PHOTO,
    "describeModel": _UPSTREAM,
    "health": _UPSTREAM,
    "createUpload": ("bad_request", "not_found", "too_large", "unsupported_media_type"),
    "createJob": ("bad_request", "not_found", "conflict", "too_large", "bad_parameter"),
    "describeJob": ("not_found",),
    "cancelJob": ("not_found",),
}
"""Errors of an operation beyond the common ones; the gateway says `endpoint_timeout` of a slow function too."""
_LINKS: dict[str, dict[str, Any]] = {
    "createUpload": {"Classify": {"operationId": "classify", "requestBody": {"upload": "$response.body#/upload"}}},
    "createJob": {
        "Describe": {"operationId": "describeJob", "parameters": {"id": "$response.body#/id"}},
        "Cancel": {"operationId": "cancelJob", "parameters": {"id": "$response.body#/id"}},
    },
}
"""What can be done next with an answer."""
_STATUS = {"createUpload": 201, "createJob": 202}
"""Statuses of success other than 200."""


def document(resolver: APIGatewayRestResolver) -> str:
    """The document as indented JSON text, the same on every call."""
    text = resolver.get_openapi_json_schema(
        title="Whippet", version=VERSION, openapi_version="3.1.0", description=DESCRIPTION
    )
    api: dict[str, Any] = json.loads(text)
    api["servers"] = [{"url": "..", "description": "Beside this document: on AWS the base URL ends in /prod"}]
    api["security"] = [{"apiKey": []}]
    components = api.setdefault("components", {})
    components["securitySchemes"] = {"apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"}}
    components["schemas"]["Problem"] = _problem()
    components["headers"] = _HEADERS
    for unused in ("HTTPValidationError", "ResponseValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    for methods in api["paths"].values():
        for operation in methods.values():
            _complete(operation)
    return json.dumps(api, indent=1, ensure_ascii=False) + "\n"


def _complete(operation: dict[str, Any]) -> None:
    name = operation["operationId"]
    codes = (*_COMMON, *_CODES[name])
    if name in _BODIES:
        operation["requestBody"] = _BODIES[name]()
    if name == "health":
        operation["security"] = []
        codes = tuple(code for code in codes if code not in ("unauthorized", "forbidden"))
    good = operation["responses"]["200"]
    good["headers"] = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
    if name in _LINKS:
        good["links"] = _LINKS[name]
    responses = {str(_STATUS.get(name, 200)): good}
    for code in codes:
        status, title = ERRORS[code]
        answer = responses.setdefault(str(status), _error(status))
        answer["description"] += f"; `{code}`: {title}" if answer["description"] else f"`{code}`: {title}"
    operation["responses"] = responses


def _error(status: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    headers = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
    if status in (429, 503):
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    return {"description": "", "content": content, "headers": headers}


def _problem() -> dict[str, Any]:
    text = {"type": "string"}
    names = ("type", "title", "detail", "hint", "request_id")
    properties: dict[str, Any] = dict.fromkeys(names, text)
    properties |= {"status": {"type": "integer"}, "code": {"type": "string", "enum": list(ERRORS)}}
    return {"type": "object", "title": "Problem", "properties": properties, "required": list(properties)}


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"schema": {"type": "object", "properties": properties, "required": required}}


def _single_body() -> dict[str, Any]:
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    content: dict[str, Any] = dict.fromkeys(
        (*MEDIA_TYPES, "application/octet-stream", "application/x-www-form-urlencoded"), _BINARY
    )
    content["multipart/form-data"] = _object({"image": file}, ["image"])
    one_of: list[Any] = [_object({one: kind}, [one])["schema"] for one, kind in (("image", _BASE64), ("upload", _KEY))]
    content["application/json"] = {"schema": {"oneOf": one_of}}
    return {"required": True, "content": content}


def _batch_body() -> dict[str, Any]:
    item = {"type": "object", "properties": {"id": {"type": "string"}, "b64": _BASE64}, "required": ["b64"]}
    images = {"type": "array", "items": item, "minItems": 1, "maxItems": MAX_BATCH}
    files = {"type": "array", "items": {"type": "string", "contentMediaType": "application/octet-stream"}}
    content = {
        "application/json": _object({"images": images}, ["images"]),
        "multipart/form-data": _object({"images": files}, ["images"]),
    }
    return {"required": True, "content": content}


def _upload_body() -> dict[str, Any]:
    kind = {"type": "string", "enum": list(MEDIA_TYPES), "default": "image/jpeg"}
    return {"required": False, "content": {"application/json": _object({"content_type": kind}, [])}}


def _job_body() -> dict[str, Any]:
    item = {"type": "object", "properties": {"id": {"type": "string"}, "upload": _KEY}, "required": ["upload"]}
    uploads = {"type": "array", "items": item, "minItems": 1, "maxItems": MAX_JOB_UPLOADS}
    prefix = {"type": "string", "pattern": "^s3://", "description": "Of the bucket the API was deployed with"}
    properties = {
        "top_k": {"type": "integer", "minimum": 1, "maximum": MAX_JOB_TOP_K, "default": DEFAULT_TOP_K},
        "token": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_TOKEN,
            "description": "The same gives the same job",
        },
        "webhook": {"type": "string", "format": "uri", "description": "Called at the end, as Standard Webhooks say"},
    }
    one_of = [
        _object({"uploads": uploads, **properties}, ["uploads"])["schema"],
        _object({"prefix": prefix, **properties}, ["prefix"])["schema"],
    ]
    return {"required": True, "content": {"application/json": {"schema": {"oneOf": one_of}}}}


_BODIES: dict[str, Callable[[], dict[str, Any]]] = {
    "classify": _single_body,
    "classifyBatch": _batch_body,
    "createUpload": _upload_body,
    "createJob": _job_body,
}
