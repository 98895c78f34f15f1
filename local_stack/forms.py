"""Forms that browsers upload to S3 by: the signed policy says what may be in them, and it is held to the letter.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html is the definition.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from .signatures import Credentials, Refused, check_form

_Condition = tuple[str, Any, Any]

_EXEMPT = frozenset({"file", "policy", "x-amz-signature"})
"""Fields that no condition need name, like those that begin with `x-ignore-`."""


def check(bucket: str, fields: Mapping[str, str], size: int, credentials: Credentials) -> None:
    """Refused, as S3 would, unless the form is signed, in time, and just as its policy says.

    `fields` have lower-case names, without the file, which has `size` bytes.
    """
    if "key" not in fields:
        raise Refused("InvalidArgument", 400, "Bucket POST must contain a field named 'key'.")
    check_form(fields, credentials)
    ends, conditions = _policy(fields["policy"])
    if ends < datetime.now(timezone.utc):
        raise _invalid("Policy expired.")
    values = {**fields, "bucket": bucket}
    named = {_hold(condition, values, size) for condition in conditions}
    extra = sorted(n for n in fields.keys() - named - _EXEMPT if not n.startswith("x-ignore-"))
    if extra:
        raise _invalid(f"Extra input fields: {', '.join(extra)}")


def _policy(text: str) -> tuple[datetime, list[_Condition]]:
    """Its end and its conditions; one that is signed and cannot be read is the signer's mistake."""
    try:
        policy = json.loads(base64.b64decode(text, validate=True))
        ends = datetime.fromisoformat(policy["expiration"].replace("Z", "+00:00"))
        return ends, [triple for condition in policy["conditions"] for triple in _triples(condition)]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Refused("InvalidPolicyDocument", 400, "Invalid Policy.") from None


def _triples(condition: Any) -> list[_Condition]:
    """A condition in the longer of the two ways to write it: {"a": "b"} is ["eq", "$a", "b"]."""
    if isinstance(condition, dict):
        return [("eq", f"${name}", value) for name, value in condition.items()]
    kind, first, second = condition
    if kind not in ("eq", "starts-with", "content-length-range"):
        raise ValueError(kind)
    return [(kind, first, second)]


def _hold(condition: _Condition, values: Mapping[str, str], size: int) -> str:
    """The name of the field that a condition speaks of, in lower case; Refused where it does not hold."""
    kind, first, second = condition
    if kind == "content-length-range":
        if size > int(second):
            raise Refused("EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size")
        if size < int(first):
            raise Refused("EntityTooSmall", 400, "Your proposed upload is smaller than the minimum allowed size")
        return "file"
    name = first.removeprefix("$").lower()
    value = values.get(name, "")
    if not (value == second if kind == "eq" else value.startswith(second)):
        raise _invalid(f"Policy Condition failed: {json.dumps(condition)}")
    return str(name)


def _invalid(why: str) -> Refused:
    return Refused("AccessDenied", 403, f"Invalid according to Policy: {why}")
