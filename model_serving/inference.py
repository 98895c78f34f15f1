"""SageMaker's four hooks: the same file on a laptop, in AWS's PyTorch container and under Ray Serve.

Requests
    image/* or application/octet-stream           one photo; `top_k=N` in the custom attributes header, which
                                                  may also hold `request_id=…`, for the log
    application/json {"instances": [{"b64": …}], "top_k": 5}    many photos, decoded in threads, few passes
    application/json {"describe": true}           the model, its classes and input size

Answers are JSON. The caller's mistakes travel as values to `output_fn`, which sets their 4xx status: an
exception raised through SageMaker's toolkit would put a traceback into the body. With
WHIPPET_ERRORS_AS_RESULTS=1 they are answered with status 200: Batch Transform ends a whole job over one bad photo.

Hosts that gather requests (`batch_handler.py` under TorchServe, `deployment.py` under Ray Serve) call `predict_many`.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__:
    from .classifier import (
        DEFAULT_TOP_K,
        Answer,
        BadParameter,
        BadRequest,
        Classifier,
        Labels,
        RequestError,
        TooLarge,
        require_top_k,
    )
else:  # the folder is `code/` of an archive, and the only one on the path
    from classifier import (  # type: ignore[import-not-found,no-redef]
        DEFAULT_TOP_K,
        Answer,
        BadParameter,
        BadRequest,
        Classifier,
        Labels,
        RequestError,
        TooLarge,
        require_top_k,
    )

MAX_INSTANCES = 1000
"""Most photos in one request; the body limit of the host is met first."""

CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
JSON = "application/json"

ERRORS_AS_RESULTS = "WHIPPET_ERRORS_AS_RESULTS"

log = logging.getLogger("whippet.hooks")
_REQUEST_ID = re.compile(r"[\w-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Request:
    """What was asked: the photos, how many labels each, and whether the answer is a list."""

    items: tuple[bytes | RequestError, ...]
    top_k: int = DEFAULT_TOP_K
    many: bool = False
    describe: bool = False


def model_fn(model_dir: str, context: Any = None) -> Classifier:
    """Load the unpacked archive; on the GPU that the host assigns, where there is one."""
    return Classifier.load(Path(model_dir), _device(context))


def input_fn(body: bytes | bytearray | str, content_type: str | None, context: Any = None) -> Request | RequestError:
    """Read a request body. Never unpickles: the toolkit's own default would, for `application/x-npy`."""
    try:
        if (content_type or "").partition(";")[0].strip().lower() == JSON:
            return _json_request(body)
        raw = body.encode("latin-1", "replace") if isinstance(body, str) else bytes(body)
        return Request((raw,), _top_k(_attributes(context).get("top_k", DEFAULT_TOP_K)))
    except RequestError as error:
        return error


def predict_fn(
    request: Request | RequestError, model: Classifier, context: Any = None
) -> dict[str, Any] | RequestError:
    """The answer as JSON-ready data, or the error that input_fn found or the one photo has."""
    return predict_many([request], model)[0]


def predict_many(requests: Sequence[Request | RequestError], model: Classifier) -> list[dict[str, Any] | RequestError]:
    """`predict_fn` of several requests, in order, whose photos share forward passes as those of one request do."""
    asked = [_usable(request) for request in requests]
    photos = [item for request in asked if isinstance(request, Request) for item in request.items]
    most = max((request.top_k for request in asked if isinstance(request, Request)), default=DEFAULT_TOP_K)
    answer = model.classify(photos, most)
    results = iter(answer.results)
    answers: list[dict[str, Any] | RequestError] = []
    for request in asked:
        if isinstance(request, RequestError):
            answers.append(request)
        elif request.describe:
            answers.append(_description(model))
        else:
            own = [_cut(next(results), request.top_k) for _ in request.items]
            answers.append(_many(own, answer, model) if request.many else _single(own[0], answer, model))
    return answers


def _usable(request: Request | RequestError) -> Request | RequestError:
    """The request, or what is wrong with it, which must not spoil those beside it."""
    try:
        if isinstance(request, Request):
            require_top_k(request.top_k)
    except RequestError as error:
        return error
    return request


def _cut(result: Labels | RequestError, top_k: int) -> Labels | RequestError:
    if isinstance(result, RequestError):
        return result
    return Labels(result.predictions[:top_k], result.decision)


def output_fn(answer: dict[str, Any] | RequestError, accept: str | None, context: Any = None) -> tuple[str, str]:
    """JSON text and its media type; errors set their status on the context, or raise where there is none."""
    _log(answer, context)
    if not isinstance(answer, RequestError):
        return json.dumps(answer), JSON
    if os.environ.get(ERRORS_AS_RESULTS) != "1":
        if context is None:
            raise answer
        context.set_response_status(code=answer.status, phrase=type(answer).__name__)
    return json.dumps({"error": answer.as_dict()}), JSON


def _log(answer: dict[str, Any] | RequestError, context: Any) -> None:
    """One line for a request that has an id (`request_id=` in the custom attributes), to be found by it."""
    request_id = _attributes(context).get("request_id", "")
    if _REQUEST_ID.fullmatch(request_id):
        status, code = (answer.status, answer.code) if isinstance(answer, RequestError) else (200, "ok")
        log.info("request_id=%s status=%d code=%s", request_id, status, code)


def _device(context: Any) -> str:
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    gpu = (getattr(context, "system_properties", None) or {}).get("gpu_id")
    return "cuda" if gpu is None else f"cuda:{gpu}"


def _attributes(context: Any) -> dict[str, str]:
    """`key=value` pairs of the custom attributes header, separated by commas; {} where there is none.

    Read the way SageMaker's toolkit reads its headers, whose case hosts change at will.
    """
    processors = getattr(context, "request_processor", None)
    headers = processors[0].get_request_properties() if processors else {}
    header = next((value for name, value in headers.items() if name.lower() == CUSTOM_ATTRIBUTES), "")
    pairs = (part.partition("=") for part in str(header).split(","))
    return {key.strip(): value.strip() for key, _, value in pairs}


def _top_k(value: Any) -> int:
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadParameter("top_k is not a whole number.", "Send for example 5.")
    return value


def _json_request(body: bytes | bytearray | str) -> Request:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not JSON.", 'Send {"instances": [{"b64": "<base64>"}]}.') from None
    if not isinstance(document, dict):
        raise BadRequest("The JSON body is not an object.", 'Send {"instances": [{"b64": "<base64>"}]}.')
    if document.get("describe") is True:
        return Request((), describe=True)
    instances = document.get("instances")
    if not isinstance(instances, list) or not instances:
        raise BadRequest("instances is not a list of photos.", 'Send {"instances": [{"b64": "<base64>"}]}.')
    if len(instances) > MAX_INSTANCES:
        raise TooLarge(f"The request holds {len(instances)} photos.", f"Send at most {MAX_INSTANCES} at once.")
    return Request(tuple(map(_photo, instances)), _top_k(document.get("top_k", DEFAULT_TOP_K)), many=True)


def _photo(instance: Any) -> bytes | RequestError:
    """The bytes of one instance, or why there are none: one bad item must not spoil the others."""
    text = instance.get("b64") if isinstance(instance, dict) else instance
    if not isinstance(text, str):
        return BadRequest("The instance holds no base64 text.", 'Send {"b64": "<base64>"}.')
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return BadRequest("The instance is not valid base64.", "Encode the photo's bytes as standard base64.")


def _model(model: Classifier) -> dict[str, str]:
    return {"name": model.spec.name, "version": model.spec.version}


def _description(model: Classifier) -> dict[str, Any]:
    preprocessing = model.spec.preprocessing
    classes = [{"class_id": c.class_id, "label": c.label} for c in model.spec.classes]
    size = {"resize": preprocessing.resize, "crop": preprocessing.crop}
    return {**_model(model), "classes": classes, "input": size}


def _labels(labels: Labels) -> dict[str, Any]:
    predictions = [
        {"label": c.label, "class_id": c.class_id, "score": round(score, 6)} for c, score in labels.predictions
    ]
    return {"predictions": predictions, "decision": labels.decision}


def _single(result: Labels | RequestError, answer: Answer, model: Classifier) -> dict[str, Any] | RequestError:
    if isinstance(result, RequestError):
        return result
    return {**_labels(result), "model": _model(model), "timings_ms": answer.timings_ms}


def _many(results: Sequence[Labels | RequestError], answer: Answer, model: Classifier) -> dict[str, Any]:
    found = [{"error": r.as_dict()} if isinstance(r, RequestError) else _labels(r) for r in results]
    return {"results": found, "model": _model(model), "timings_ms": answer.timings_ms}
