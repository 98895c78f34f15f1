"""HTTP <-> API Gateway's REST proxy events (payload format 1.0), as AWS documents them."""

from __future__ import annotations

import base64
import time
from datetime import datetime, timezone
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from .routes import Target

ACCOUNT = "000000000000"
STAGE = "local"
KEY_ID = "local"
"""By what the function knows the only key, whose value it never sees."""

DEFAULT_TYPE = "application/octet-stream"
"""What a body without a Content-Type is taken for (RFC 9110, section 8.3)."""


def is_binary(content_types: list[str], binary_types: frozenset[str]) -> bool:
    """Whether API Gateway would hand this body over as base64 instead of text; the last Content-Type counts."""
    return (content_types[-1] if content_types else DEFAULT_TYPE).partition(";")[0].strip().lower() in binary_types


def from_request(request: Request, target: Target, body: bytes, binary: bool, request_id: str) -> dict[str, Any]:
    """The event of a request for that route; text bodies lose what is not UTF-8, as they do on AWS."""
    headers: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        headers.setdefault(name, []).append(value)
    query: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        query.setdefault(name, []).append(value)
    path, now = request.scope["path"], time.time()
    key = {"apiKeyId": KEY_ID} if target.needs_key else {}
    return {
        "resource": target.resource,
        "path": path,
        "httpMethod": request.method,
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": dict(target.parameters) or None,
        "stageVariables": None,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "local",
            "domainName": request.headers.get("host", ""),
            "extendedRequestId": request_id,
            "httpMethod": request.method,
            "identity": {
                "sourceIp": request.client.host if request.client else "",
                "userAgent": request.headers.get("user-agent", ""),
                **key,
            },
            "path": path,
            "protocol": f"HTTP/{request.scope.get('http_version', '1.1')}",
            "requestId": request_id,
            "requestTime": datetime.fromtimestamp(now, timezone.utc).strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "requestTimeEpoch": int(now * 1000),
            "resourceId": "local",
            "resourcePath": target.resource,
            "stage": STAGE,
        },
        "body": _body(body, binary),
        "isBase64Encoded": binary and bool(body),
    }


def _body(body: bytes, binary: bool) -> str | None:
    if not body:
        return None
    return base64.b64encode(body).decode("ascii") if binary else body.decode("utf-8", "replace")


def to_response(result: dict[str, Any]) -> Response:
    """The HTTP response of a handler's result; KeyError, TypeError or ValueError for a malformed one."""
    body = result.get("body") or ""
    content = base64.b64decode(body) if result.get("isBase64Encoded") else body.encode("utf-8")
    response = Response(content, int(result["statusCode"]))
    for name, value in (result.get("headers") or {}).items():
        response.headers[name] = str(value)
    for name, values in (result.get("multiValueHeaders") or {}).items():
        if name in response.headers:
            del response.headers[name]
        for value in values:
            response.headers.append(name, str(value))
    return response
