"""A function behind a queue for the worker's tests: notes what came, then does as the messages say."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


def handler(event: dict[str, Any], _: Any) -> Any:
    """Bodies are JSON: `log` names a file for notes, `do` is fail, raise, nonsense, sleep or nothing."""
    bodies = [json.loads(record["body"]) for record in event["Records"]]
    for record, body in zip(event["Records"], bodies, strict=True):
        note(body["log"], {"pid": os.getpid(), "batch": len(bodies), "record": record})
    for body in bodies:
        if (
            body.get("do") == "sleep"
            and sum(same["record"]["body"] == json.dumps(body) for same in notes(body["log"])) < 2
        ):
            time.sleep(body.get("seconds", 60))
        if body.get("do") == "raise":
            raise RuntimeError("secret")
    if any(body.get("do") == "nonsense" for body in bodies):
        return {"batchItemFailures": [{"itemIdentifier": "another's"}]}
    failed = [r["messageId"] for r, body in zip(event["Records"], bodies, strict=True) if body.get("do") == "fail"]
    return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}


def note(path: str, what: dict[str, Any]) -> None:
    """One line more, in one write."""
    with Path(path).open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(what) + "\n")


def notes(path: str | Path) -> list[dict[str, Any]]:
    """All lines so far."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]
