"""A Lambda handler for the gateway's tests: says what came, or does what its body asks for."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Any


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Echo the event; `sleep`, `die`, `raise`, `malformed` and `binary` are done."""
    word = event.get("body") or ""
    if word.startswith("sleep"):
        time.sleep(float(word.split()[1]))
    if word == "die":
        os._exit(9)
    if word == "raise":
        raise RuntimeError("secret")
    if word == "malformed":
        return {"nonsense": True}
    if word == "binary":
        return {"statusCode": 200, "body": base64.b64encode(b"\x00\xff").decode(), "isBase64Encoded": True}
    seen = {"event": event, "request": context.aws_request_id, "pid": os.getpid()}
    return {"statusCode": 201, "multiValueHeaders": {"x-a": ["1", "2"]}, "body": json.dumps(seen)}
