"""Runs AWS's own handler service in this process, alone: `toolkit_host.py FOLDER PROGRAM PATH PHOTO`.

FOLDER is the unpacked archive, PROGRAM the module with the hooks, PATH what is first on the path. Prints one JSON
list of [status, content type, body] a request.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import Any


class Processor:
    """The model server's view of one request."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers
        self.status = 200

    def get_request_properties(self) -> dict[str, str]:
        """Headers."""
        return self.headers

    def report_status(self, code: int, reason_phrase: str) -> None:
        """Status of the answer."""
        self.status = code


class Context:
    """TorchServe's context: one object, whose request processor is replaced at each request."""

    model_name = "model"

    def __init__(self, folder: str) -> None:
        self.system_properties = {"model_dir": folder, "gpu_id": None}
        self.request_processor: list[Processor] = []
        self.content_type = ""

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Content type of the answer."""
        self.content_type = value

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Status of the answer."""
        self.request_processor[idx].report_status(code, phrase)


def main(folder: str, program: str, path: str, photo: str) -> None:
    """Send the requests."""
    sys.path.insert(0, path)
    os.environ["SAGEMAKER_PROGRAM"] = program
    from sagemaker_pytorch_serving_container.handler_service import HandlerService

    context = Context(folder)
    service = HandlerService()
    service.initialize(context)
    with open(photo, "rb") as file:
        data = file.read()
    many = {"instances": [{"b64": base64.b64encode(data).decode()}, {"b64": "AAAA"}], "top_k": 2}
    requests: list[tuple[bytes, dict[str, str]]] = [
        (data, {"Content-Type": "image/jpeg", "X-Amzn-SageMaker-Custom-Attributes": "top_k=3"}),
        (b"not a photo", {"content-type": "image/jpeg"}),
        (data[: len(data) // 2], {"Content-Type": "application/octet-stream"}),
        (json.dumps(many).encode(), {"Content-Type": "application/json"}),
        (b"{", {"Content-Type": "application/json"}),
        (data, {}),
    ]
    answers: list[Any] = []
    for body, headers in requests:
        context.request_processor = [Processor(headers)]
        (text,) = service.handle([{"body": bytearray(body)}], context)
        answers.append([context.request_processor[0].status, context.content_type, text])
    print(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
