"""What can go wrong between bytes and labels.

    ClassifierError
    ├── SpecError            model.json does not describe a model this code can run
    ├── WeightsError         model.pt does not fit the network that model.json describes
    ├── WeightsMissing       pretrained weights can neither be found nor downloaded here
    └── RequestError         the caller's fault: carries an HTTP status, a code and a hint
        ├── BadRequest       400 the body is no request
        ├── BadImage         400 empty, truncated, undecodable
        ├── TooLarge         413 more pixels than are worth decoding
        ├── UnsupportedMedia 415 not a photo, or a format this Pillow cannot read
        └── BadParameter     422 top_k and friends

Request errors travel as values: the hooks hand them to `output_fn`, which sets the status. Raised through
SageMaker's toolkit they would put a traceback into the body.
"""

from __future__ import annotations


class ClassifierError(Exception):
    """Base of all errors of this package."""


class SpecError(ClassifierError):
    """The model description is not usable; the message names the field."""


class WeightsError(ClassifierError):
    """The weights do not fit the network; the message names the first tensors that differ."""


class WeightsMissing(ClassifierError):
    """Pretrained weights that are not installed and cannot be downloaded; the message says both ways out."""


class RequestError(ClassifierError):
    """A request that cannot be answered, by the caller's fault."""

    status = 400
    code = "bad_request"

    def __init__(self, detail: str, hint: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint

    def as_dict(self) -> dict[str, str | int]:
        """Status, code, detail and hint, ready for JSON."""
        return {"status": self.status, "code": self.code, "detail": self.detail, "hint": self.hint}


class BadRequest(RequestError):
    """The body is not the JSON it claims to be."""


class BadImage(RequestError):
    """The bytes start like a photo and are none."""

    code = "bad_image"


class TooLarge(RequestError):
    """The photo has more pixels, or the request more photos, than one answer is worth."""

    status = 413
    code = "too_large"


class UnsupportedMedia(RequestError):
    """The bytes are no photo of a format that is read here."""

    status = 415
    code = "unsupported_media_type"


class BadParameter(RequestError):
    """A parameter is out of its range."""

    status = 422
    code = "bad_parameter"
