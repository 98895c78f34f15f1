"""The API's JSON as the types of its published contract. A malformed answer is an ApiError `bad_answer`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar, get_args

from client.errors import ApiError
from client.transport import bad_answer
from lambda_api.schema import (
    Classification,
    ClassInfo,
    Decision,
    Health,
    InputSize,
    Limits,
    Model,
    ModelDescription,
    UploadTicket,
    parse_predictions,
)

T = TypeVar("T")


def classification(data: dict[str, Any]) -> Classification:
    """The answer of `POST /v1/classify`."""
    return _parsed(_classification, data)


def batch(data: dict[str, Any], photos: int) -> list[Classification | ApiError]:
    """The answer of `POST /v1/classify/batch` to so many photos, in their order."""
    return _parsed(lambda d: _batch(d, photos), data)


def ticket(data: dict[str, Any]) -> UploadTicket:
    """The answer of `POST /v1/uploads`."""
    return _parsed(_ticket, data)


def description(data: dict[str, Any]) -> ModelDescription:
    """The answer of `GET /v1/model`. Limits this client does not know are passed over."""
    return _parsed(_description, data)


def health(data: dict[str, Any]) -> Health:
    """The answer of `GET /v1/health`."""
    return _parsed(lambda d: Health("ok", _model(d["model"])), data)


def _parsed(parse: Callable[[dict[str, Any]], T], data: dict[str, Any]) -> T:
    try:
        return parse(data)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise bad_answer(200) from error


def _classification(data: dict[str, Any]) -> Classification:
    decision: Decision = data["decision"]
    predictions = parse_predictions(data["predictions"])
    if decision not in get_args(Decision) or not predictions:
        raise ValueError(decision)
    return Classification(predictions, decision, _model(data["model"]), str(data.get("request_id", "")))


def _batch(data: dict[str, Any], photos: int) -> list[Classification | ApiError]:
    items = data["results"]
    if len(items) != photos:
        raise ValueError(len(items))
    about = {name: data.get(name) for name in ("model", "request_id")}
    return [_item_error(item["error"]) if item.get("error") else _classification(item | about) for item in items]


def _item_error(error: dict[str, Any]) -> ApiError:
    detail, hint = str(error.get("detail", "")), str(error.get("hint", ""))
    return ApiError(int(error["status"]), str(error["code"]), detail, hint)


def _ticket(data: dict[str, Any]) -> UploadTicket:
    fields = {str(name): str(value) for name, value in data["fields"].items()}
    numbers = int(data["max_bytes"]), int(data["expires_in"])
    return UploadTicket(str(data["upload"]), str(data["url"]), fields, *numbers, str(data.get("request_id", "")))


def _description(data: dict[str, Any]) -> ModelDescription:
    known = {field.name for field in fields(Limits)}
    limits = {name: int(value) for name, value in data.get("limits", {}).items() if name in known}
    classes = [ClassInfo(str(c["class_id"]), str(c["label"])) for c in data["classes"]]
    size = InputSize(int(data["input"]["resize"]), int(data["input"]["crop"]))
    if size.resize < 1:
        raise ValueError(size)
    return ModelDescription(str(data["name"]), str(data["version"]), classes, size, Limits(**limits))


def _model(data: dict[str, Any]) -> Model:
    return Model(str(data["name"]), str(data["version"]))
