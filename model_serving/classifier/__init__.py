"""The classifier: spec, preprocessing, network and prediction. Ships alone in the archive as `code/classifier`.

It imports nothing of ours outside itself, and only relatively, since its folder's name differs by host.
"""

from .errors import (
    BadImage,
    BadParameter,
    BadRequest,
    ClassifierError,
    RequestError,
    SpecError,
    TooLarge,
    UnsupportedMedia,
    WeightsError,
    WeightsMissing,
)
from .predict import DEFAULT_TOP_K, MAX_TOP_K, Answer, Classifier, Labels, Outputs, read_weights, require_top_k
from .spec import Calibration, ClassInfo, Head, ModelSpec, Preprocessing

__all__ = [
    "DEFAULT_TOP_K",
    "MAX_TOP_K",
    "Answer",
    "BadImage",
    "BadParameter",
    "BadRequest",
    "Calibration",
    "ClassInfo",
    "Classifier",
    "ClassifierError",
    "Head",
    "Labels",
    "ModelSpec",
    "Outputs",
    "Preprocessing",
    "RequestError",
    "SpecError",
    "TooLarge",
    "UnsupportedMedia",
    "WeightsError",
    "WeightsMissing",
    "read_weights",
    "require_top_k",
]
