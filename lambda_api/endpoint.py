"""The one call this function makes: SageMaker's InvokeEndpoint, its answers and its failures.

AWS's own messages name accounts and paths, so they go to the log and never into an answer.
"""

from __future__ import annotations

import base64
import json
import logging
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

from .errors import ApiError, EndpointError
from .schema import ERRORS
from .settings import settings

log = logging.getLogger(__name__)

LATER = "Try again in a few seconds."


class Endpoint:
    """A SageMaker endpoint by name. One HTTP connection, kept open between calls."""

    def __init__(self, name: str, client: Any) -> None:
        self.name = name
        self._client = client

    def classify(self, image: bytes, top_k: int, request_id: str) -> dict[str, Any]:
        """Predictions of one photo; ApiError with the status that the model code gave, or EndpointError.

        `request_id` goes along, here and below, so that the container's log can be found by it.
        """
        return self._invoke(image, "application/octet-stream", {"top_k": str(top_k), "request_id": request_id})

    def classify_many(self, images: list[bytes], top_k: int, request_id: str) -> dict[str, Any]:
        """Results of many photos in one call, in order, each predictions or an error."""
        instances = [{"b64": base64.b64encode(image).decode("ascii")} for image in images]
        body = json.dumps({"instances": instances, "top_k": top_k})
        return self._invoke(body, "application/json", {"request_id": request_id})

    def describe(self, request_id: str) -> dict[str, Any]:
        """Name, version, classes and input size of the model that answers now."""
        return self._invoke('{"describe": true}', "application/json", {"request_id": request_id})

    def _invoke(self, body: bytes | str, content_type: str, attributes: dict[str, str]) -> dict[str, Any]:
        pairs = ",".join(f"{name}={value}" for name, value in attributes.items() if value)
        extra = {"CustomAttributes": pairs} if pairs else {}
        try:
            answer = self._client.invoke_endpoint(
                EndpointName=self.name, Body=body, ContentType=content_type, Accept="application/json", **extra
            )
            document: dict[str, Any] = json.loads(answer["Body"].read())
        except ClientError as error:
            raise _of_aws(error) from None
        except (ReadTimeoutError, ConnectTimeoutError):
            raise EndpointError("endpoint_timeout", "The model endpoint did not answer in time.", LATER) from None
        except BotoCoreError as error:
            log.warning("InvokeEndpoint failed: %s", type(error).__name__)
            detail = "The model endpoint cannot be reached."
            raise EndpointError("endpoint_unavailable", detail, "It may be starting or stopped. " + LATER) from None
        except ValueError:
            raise EndpointError("endpoint_failed", "The model endpoint's answer is no JSON.", LATER) from None
        return document


@cache
def endpoint() -> Endpoint:
    """This process's endpoint. No retries here: the caller's time is nearly up after the first failure."""
    config = Config(
        connect_timeout=settings().connect_timeout,
        read_timeout=settings().read_timeout,
        retries={"total_max_attempts": 1},
    )
    return Endpoint(settings().endpoint_name, boto3.client("sagemaker-runtime", config=config))


def _of_aws(error: ClientError) -> ApiError:
    """AWS's error as ours, by its code; what AWS says of it goes to the log."""
    code = error.response.get("Error", {}).get("Code", "")
    if code == "ModelError":
        return _of_model(error.response)
    log.warning("InvokeEndpoint failed: %s", code)
    if code in ("ThrottlingException", "TooManyRequestsException"):
        return EndpointError("throttled", "The model endpoint has too many requests.", LATER)
    if code in ("413", "RequestEntityTooLarge"):
        detail = "The model endpoint does not take so many bytes."
        return ApiError("too_large", detail, "Scale the photo down; python -m client does so by itself.")
    if code in ("ValidationError", "ValidationException"):
        detail = "The model endpoint does not exist or is not in service yet."
        return EndpointError("endpoint_unavailable", detail, "Deploy it, or wait until it is in service.")
    if code in ("ServiceUnavailable", "ModelNotReadyException", "InternalDependencyException"):
        return EndpointError("endpoint_unavailable", "The model endpoint is starting or scaling.", LATER)
    return EndpointError("endpoint_failed", "The model endpoint cannot be called.", "The API's log has the reason.")


def _of_model(response: Any) -> ApiError:
    """The container's own error: its status and code where it is ours, and no more than its first line."""
    status = response.get("OriginalStatusCode", 500)
    lines = str(response.get("OriginalMessage", "")).splitlines()
    if status < 500:
        return of_item(_error_of(lines[0] if lines else ""))
    if status == 503:
        return EndpointError("endpoint_unavailable", "All workers of the model endpoint are busy.", LATER)
    return EndpointError("endpoint_failed", "The model code failed.", "The endpoint's log has the reason.")


def _error_of(line: str) -> dict[str, Any]:
    try:
        error = json.loads(line)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}


def of_item(error: dict[str, Any]) -> ApiError:
    """An error as the model code describes it; an unknown code counts as a photo that cannot be read."""
    code = error.get("code") if error.get("code") in ERRORS else "bad_image"
    detail = str(error.get("detail", "The model endpoint refused the photo."))
    return ApiError(str(code), detail, str(error.get("hint", "Check that it is a photo.")))
