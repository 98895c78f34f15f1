"""The request that is being answered: its body, who sent it, its id. Powertools keeps it on the router."""

from __future__ import annotations

import base64
from typing import Any

from aws_lambda_powertools.event_handler.router import APIGatewayRouter

from . import body
from .errors import ApiError

router = APIGatewayRouter()  # type: ignore[no-untyped-call]  # powertools leaves it untyped


def content() -> tuple[bytes, str]:
    """The request's body as it was sent, and its content type ("" if it has none)."""
    event = router.current_event
    raw = event.body or ""
    content_type = str(event.headers.get("content-type") or "")
    if not event.is_base64_encoded:
        return raw.encode("utf-8", "surrogatepass"), content_type
    try:
        return base64.b64decode(raw), content_type  # the gateway's own encoding: checking it would take longer than it
    except ValueError:
        raise ApiError("bad_request", "The body is not valid base64.", "Let API Gateway encode it.") from None


def document(hint: str) -> dict[str, Any]:
    """The body as a JSON object, {} for none; ApiError for anything else."""
    raw, _ = content()
    return body.json_object(raw, hint) if raw.strip() else {}


def request_id() -> str:
    """API Gateway's id of the request: in every answer and every log line of it."""
    return str(router.current_event.request_context.request_id or "")


def caller() -> str:
    """Who asks."""
    return caller_of(router.current_event.get("requestContext") or {})


def caller_of(context: dict[str, Any]) -> str:
    """The signed-in user, the AWS identity, or the id of the API key (never its value); "" for nobody.

    Of a role without its session, whose name changes; of an identity pool, whose users share roles, the user's id.
    """
    claims = (context.get("authorizer") or {}).get("claims") or {}
    identity = context.get("identity") or {}
    known = (claims.get("sub"), identity.get("cognitoIdentityId"), _without_session(identity.get("userArn") or ""))
    return str(next(filter(None, known), None) or identity.get("apiKeyId") or "")


def _without_session(arn: str) -> str:
    return arn.rpartition("/")[0] if ":assumed-role/" in arn else arn


def not_here(what: str) -> ApiError:
    """For a part of the API that this deployment does without."""
    return ApiError("not_found", f"There are no {what} on this API.", "Send photos directly to /v1/classify.")
