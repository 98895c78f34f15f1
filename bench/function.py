"""The function without its endpoint: `python -m bench.function`.

How long a cold process imports the handler, against boto3 alone, which no function can do without; and what the handler
takes for a photo when the endpoint answers at once. Lambda's own start and its slower cores come on top.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from contextlib import redirect_stdout
from statistics import median
from typing import Any

from bench.measure import photo

IMPORTS = 15
CALLS = 300
ANSWER = {
    "predictions": [{"label": f"class {n}", "class_id": str(n), "score": 0.1} for n in range(5)],
    "decision": "confident",
    "model": {"name": "m", "version": "v"},
    "timings_ms": {"decode": 1.0},
}


class Instant:
    """An endpoint that has answered before it is asked."""

    def classify(self, image: bytes, top_k: int, request_id: str) -> dict[str, Any]:
        """The same for every photo."""
        return ANSWER


def main() -> None:
    """Measure and print."""
    modules = {"boto3": "boto3", "handler": "lambda_api.app", "worker": "lambda_api.worker"}
    seconds: dict[str, list[float]] = {name: [] for name in modules}
    for _ in range(IMPORTS):
        for name, module in modules.items():
            seconds[name].append(_import_seconds(module))
    for name, found in seconds.items():
        print(f"import {name:8} p50 {median(found):.2f} s   best {min(found):.2f} s")
    os.environ["ENDPOINT_NAME"] = "whippet"
    small = photo(500, 375, kilobytes=50)
    bodies = {"50 kB": small, "3 MB": small + bytes(2_950_000)}
    with open(os.devnull, "w") as nowhere:
        with redirect_stdout(nowhere):  # the logger takes hold of standard output when it is imported
            from lambda_api import app

            found_times = {name: _handler_times(app, body) for name, body in bodies.items()}
    for name, text in found_times.items():
        print(f"handler, a photo of {name:5}  {text}")


def _import_seconds(module: str) -> float:
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    environment = {**os.environ, "ENDPOINT_NAME": "whippet", "AWS_DEFAULT_REGION": "us-east-1"}
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment).stdout)


def _handler_times(app: Any, body: bytes) -> str:
    from local_stack.workers import Context

    app.endpoint = Instant
    path = "/v1/classify"
    event = {
        "resource": path,
        "path": path,
        "httpMethod": "POST",
        "headers": {"content-type": "image/jpeg"},
        "multiValueHeaders": {"content-type": ["image/jpeg"]},
        "requestContext": {"requestId": "id", "stage": "prod", "path": path, "httpMethod": "POST", "identity": {}},
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        answer = app.handler(event, Context("id"))
        times.append((time.perf_counter() - started) * 1e3)
        assert json.loads(answer["body"])["decision"] == "confident"
    return f"p50 {median(times):.1f} ms   p99 {sorted(times)[int(len(times) * 0.99)]:.1f} ms"


if __name__ == "__main__":
    main()
