"""The archive's hooks under Ray Serve: `deployment.py` at its root, which `config.yaml` beside it names.

AWS's Ray Serve container unpacks the archive to /opt/ml/model and runs `serve run config.yaml`; `python -m
model_serving serve --engine ray` does the same on a laptop or on a cluster of your own. Answers, errors included, are
those of the other hosts. Requests that wait share forward passes.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

FOLDER = Path(__file__).resolve().parent
"""Of the unpacked archive, on the machine of the replica."""

if __package__:
    from . import inference
    from .classifier import TooLarge
else:  # at the root of an archive
    sys.path.insert(0, str(FOLDER / "code"))
    import inference  # type: ignore[import-not-found,no-redef]
    from classifier import TooLarge  # type: ignore[import-not-found,no-redef]

MAX_BODY_BYTES = 25 * 1024 * 1024
"""Of a request: the most that SageMaker passes on; Ray has no limit."""


class _Context:
    """One request's context, by the names that hooks know from TorchServe."""

    def __init__(self, request: Request) -> None:
        self.status = 200
        self.request_processor = [self]
        self._headers = dict(request.headers)

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Status of the answer."""
        self.status = code

    def get_request_properties(self) -> dict[str, str]:
        """The request's headers."""
        return self._headers


@serve.deployment
class Model:
    """One replica: a model with `threads` for the network (0: all cores), `max_batch_size` requests a batch."""

    def __init__(self, threads: int, max_batch_size: int) -> None:
        import torch

        # Ray tells OpenMP to take as many threads as CPUs were asked for, by default one.
        torch.set_num_threads(threads or os.cpu_count() or 1)
        self._model = inference.model_fn(str(FOLDER))
        self._batches.set_max_batch_size(max_batch_size)

    @serve.batch(batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
    async def _batches(self, requests: list[Any]) -> list[Any]:
        # Not in the event loop, which must go on taking requests meanwhile.
        return await asyncio.to_thread(inference.predict_many, requests, self._model)

    async def __call__(self, http: Request) -> Response:
        """`POST` to any path: what SageMaker calls an invocation. `GET` says that the model is loaded."""
        if http.method in ("GET", "HEAD"):
            return JSONResponse({})
        body = await http.body()
        context = _Context(http)
        if len(body) > MAX_BODY_BYTES:
            limit = f"The body is larger than {MAX_BODY_BYTES:,} bytes."
            request: Any = TooLarge(limit, "Send a smaller photo.")
        else:
            request = await asyncio.to_thread(inference.input_fn, body, http.headers.get("content-type"), context)
        answer = await self._batches(request)
        text, media_type = inference.output_fn(answer, inference.JSON, context)
        return Response(text, context.status, media_type=media_type)


def app(arguments: dict[str, Any]) -> serve.Application:
    """What `import_path: deployment:app` names; `arguments` are `args` of config.yaml."""
    return Model.bind(int(arguments.get("threads", 0)), int(arguments.get("max_batch_size", 8)))  # type: ignore[attr-defined]  # the decorator adds it
