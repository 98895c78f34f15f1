"""The function behind the API: routes of `docs/api.md`, one endpoint call each, errors as problem documents.

`handler` is what Lambda calls. Logs are JSON lines without any byte of a photo; metrics are CloudWatch's EMF.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from contextlib import nullcontext
from functools import cache
from http import HTTPStatus
from typing import Annotated, Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, CORSConfig, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit

from . import body, job_routes, openapi
from .current import content, document, request_id, router
from .endpoint import endpoint, of_item
from .errors import ApiError
from .page import PAGE
from .schema import (
    DEFAULT_TOP_K,
    MAX_BATCH_TOP_K,
    MAX_TOP_K,
    BatchClassification,
    BatchItem,
    Classification,
    ClassInfo,
    Health,
    InputSize,
    Limits,
    Model,
    ModelDescription,
    Problem,
    UploadTicket,
    parse_predictions,
    problem,
)
from .settings import settings
from .uploads import uploads

SERVICE = os.getenv("POWERTOOLS_SERVICE_NAME", "whippet-api")  # powertools would prefer a name given here to it
PROBLEM_JSON = "application/problem+json"

logger = Logger(service=SERVICE)
metrics = Metrics(namespace="Whippet", service=SERVICE)
TopK = Annotated[int, Query(ge=1, le=MAX_TOP_K, description="Labels wanted, best first.")]
BatchTopK = Annotated[int, Query(ge=1, le=MAX_BATCH_TOP_K, description="Labels wanted for each photo.")]


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """One API Gateway REST proxy event -> its response."""
    metrics.add_metric("Requests", MetricUnit.Count, 1)
    response: dict[str, Any] = application().resolve(event, context)
    _label(response, str(event.get("requestContext", {}).get("requestId") or ""))
    logger.info("answered", status=response["statusCode"], method=event["httpMethod"], route=event.get("resource"))
    return response


@cache
def application() -> APIGatewayRestResolver:
    """The resolver with this process's settings; made at the first request."""
    resolver = APIGatewayRestResolver(cors=_cors(settings().allowed_origins), enable_validation=True)
    resolver.include_router(router)
    resolver.include_router(job_routes.router)
    resolver.exception_handler(ApiError)(_on_api_error)
    resolver.exception_handler(RequestValidationError)(_on_bad_parameter)
    resolver.exception_handler(Exception)(_on_failure)
    resolver.not_found(_on_not_found)
    return resolver


@router.post("/v1/classify", summary="Classify one photo", operation_id="classify")
def classify(top_k: TopK = DEFAULT_TOP_K) -> Classification:
    """Labels of a photo: sent as it is, as multipart field `image`, as base64 in JSON, or uploaded before."""
    photo = body.single(*content())
    started = time.perf_counter()
    with uploads().taken(photo.key) if isinstance(photo, body.Upload) else nullcontext(photo) as image:
        answer = endpoint().classify(image, top_k, request_id())
    return Classification(
        parse_predictions(answer["predictions"][:top_k]),
        answer["decision"],
        Model(**answer["model"]),
        request_id(),
        _timings(answer, started, 1),
    )


@router.post("/v1/classify/batch", summary="Classify up to 100 photos", operation_id="classifyBatch")
def classify_batch(top_k: BatchTopK = DEFAULT_TOP_K) -> BatchClassification:
    """Labels or an error for each photo, in the order of the request. One bad photo spoils no other."""
    photos = body.many(*content())
    images = [photo.image for photo in photos if isinstance(photo.image, bytes)]
    started = time.perf_counter()
    answer = (
        endpoint().classify_many(images, top_k, request_id())
        if images
        else {"results": [], **endpoint().describe(request_id())}
    )
    results = iter(answer["results"])
    items = [
        BatchItem(photo.id, error=photo.image.as_item())
        if isinstance(photo.image, ApiError)
        else _item(photo.id, next(results))
        for photo in photos
    ]
    model = answer.get("model") or {key: answer[key] for key in ("name", "version")}
    return BatchClassification(items, Model(**model), request_id(), _timings(answer, started, len(images)))


@router.post("/v1/uploads", summary="Permission to upload one photo", operation_id="createUpload")
def create_upload() -> Response[UploadTicket]:
    """A form for a photo above the direct limit: send it, then classify the upload by its key."""
    wanted = document('Send {"content_type": "image/jpeg"}, or nothing.').get("content_type", "image/jpeg")
    ticket = uploads().ticket(str(wanted), request_id())
    metrics.add_metric("Uploads", MetricUnit.Count, 1)
    return Response(HTTPStatus.CREATED, "application/json", ticket)


@router.get("/v1/model", summary="The model, its classes and the limits", operation_id="describeModel")
def describe_model() -> ModelDescription:
    """What answers now: name, version, classes in network order, input size, limits of the API."""
    answer = endpoint().describe(request_id())
    classes = [ClassInfo(**info) for info in answer["classes"]]
    limits = Limits(upload_bytes=settings().upload_bytes if settings().bucket else 0)
    return ModelDescription(answer["name"], answer["version"], classes, InputSize(**answer["input"]), limits)


@router.get("/v1/health", summary="Whether the model answers", operation_id="health")
def health() -> Health:
    """Asks the endpoint, which may be healthy without a model by its own account; 503 when it does not answer."""
    answer = endpoint().describe(request_id())
    return Health("ok", Model(answer["name"], answer["version"]))


@router.get("/v1/openapi.json", include_in_schema=False)
def openapi_document() -> Response[str]:
    """This API as OpenAPI 3.1."""
    return Response(HTTPStatus.OK, "application/json", openapi.document(application()))


@router.get("/", include_in_schema=False)
def page() -> Response[str]:
    """For people who open the address in a browser."""
    return Response(HTTPStatus.OK, "text/html; charset=utf-8", PAGE)


def _item(photo_id: str, result: dict[str, Any]) -> BatchItem:
    if "error" in result:
        return BatchItem(photo_id, error=of_item(result["error"]).as_item())
    return BatchItem(photo_id, parse_predictions(result["predictions"]), result["decision"])


def _timings(answer: dict[str, Any], started: float, photos: int) -> dict[str, float]:
    """Milliseconds in the model code, and of the whole call to the endpoint."""
    call = round((time.perf_counter() - started) * 1e3, 1)
    metrics.add_metric("Photos", MetricUnit.Count, photos)
    metrics.add_metric("EndpointLatency", MetricUnit.Milliseconds, call)
    return {**answer.get("timings_ms", {}), "endpoint": call}


def _label(response: dict[str, Any], identifier: str) -> None:
    """Every answer tells its request's id, and caches that another origin may get another answer."""
    headers: dict[str, list[str]] = response["multiValueHeaders"]
    headers["X-Request-Id"] = [identifier]
    if settings().allowed_origins:
        headers["Vary"] = ["Origin"]


def _cors(origins: tuple[str, ...]) -> CORSConfig | None:
    """The allow-list; without one no browser page may call the API."""
    if not origins:
        return None
    first, *others = origins
    return CORSConfig(
        allow_origin=first,
        extra_origins=others,
        allow_headers=["authorization", "content-type", "x-amz-date", "x-amz-security-token", "x-api-key"],
        expose_headers=["location", "retry-after", "x-request-id"],
        max_age=600,
    )


def _answer(error: Problem, headers: dict[str, str] | None = None) -> Response[str]:
    metrics.add_metric(f"Status{error.status // 100}xx", MetricUnit.Count, 1)
    logger.info("refused", code=error.code, status=error.status)
    return Response(error.status, PROBLEM_JSON, json.dumps(dataclasses.asdict(error)), headers or {})


def _on_api_error(error: ApiError) -> Response[str]:
    return _answer(error.as_problem(request_id()), error.headers)


def _on_bad_parameter(error: RequestValidationError) -> Response[str]:
    first = error.errors()[0]
    detail = f"{first['loc'][-1]}: {first['msg']}."
    hint = "Send it once, as a whole number in its range."
    return _answer(problem("bad_parameter", detail, hint, request_id()))


def _on_not_found(_: NotFoundError) -> Response[str]:
    return _answer(problem("not_found", "There is no such route or method.", "See /v1/openapi.json.", request_id()))


def _on_failure(error: Exception) -> Response[str]:
    logger.exception("the function failed", exc_info=error)
    detail = "The API failed on this request."
    return _answer(problem("internal", detail, "Quote the request_id to its operator.", request_id()))
