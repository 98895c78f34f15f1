"""The OpenAPI 3.1 document: powertools' from the routes, plus the bodies and errors that it cannot see."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .schema import ERRORS, MAX_BATCH, MEDIA_TYPES

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler import APIGatewayRestResolver

VERSION = "1.0.0"
DESCRIPTION = (
    "POST a photo, get labels with calibrated scores. Every error is an application/problem+json document "
    "with a code and a hint."
)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BASE64 = {"type": "string", "contentEncoding": "base64"}
_COMMON = ("forbidden", "throttled", "internal")
_UPSTREAM = ("endpoint_failed", "endpoint_unavailable", "endpoint_timeout")
_PHOTO = ("bad_request", "bad_image", "too_large", "unsupported_media_type", "bad_parameter")


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
    for unused in ("HTTPValidationError", "ResponseValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    for path, methods in api["paths"].items():
        for operation in methods.values():
            _complete(path, operation)
    return json.dumps(api, indent=1, ensure_ascii=False) + "\n"


def _complete(path: str, operation: dict[str, Any]) -> None:
    codes: tuple[str, ...] = _COMMON + _UPSTREAM
    if path.startswith("/v1/classify"):
        codes = _PHOTO + codes
        operation["requestBody"] = _batch_body() if path.endswith("batch") else _single_body()
    if path == "/v1/health":
        operation["security"] = []
        codes = tuple(code for code in codes if code != "forbidden")
    responses = {status: answer for status, answer in operation["responses"].items() if status == "200"}
    for code in codes:
        status, title = ERRORS[code]
        answer = responses.setdefault(str(status), _error(status))
        answer["description"] += f"; `{code}`: {title}" if answer["description"] else f"`{code}`: {title}"
    operation["responses"] = responses


def _error(status: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    answer: dict[str, Any] = {"description": "", "content": content}
    if status in (429, 503):
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds"}}
    return answer


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
    content = dict.fromkeys((*MEDIA_TYPES, "application/octet-stream", "application/x-www-form-urlencoded"), _BINARY)
    content["multipart/form-data"] = _object({"image": file}, ["image"])
    content["application/json"] = _object({"image": _BASE64}, ["image"])
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
