"""`model.json`: everything but the weights that decides an answer, as data.

Training writes it, serving obeys it, nobody else knows a mean, a class name or a head size.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import SpecError

FORMAT = 1
"""Version of the layout of `model.json`; a reader refuses newer ones."""

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class ClassInfo:
    """One class: the identifier that never changes (a folder name, a WordNet id) and what people read."""

    class_id: str
    label: str


@dataclass(frozen=True)
class Preprocessing:
    """How a photo becomes a tensor: shorter side to `resize`, centre crop `crop`, `(x/255 - mean) / std`.

    `resize` and `crop` are pixels. `orientation` "exif" turns the photo as its EXIF tag says. `antialias` is
    always on: it is Pillow's resampling, and a model trained without it would be served differently.
    """

    resize: int = 256
    crop: int = 224
    interpolation: str = "bicubic"
    antialias: bool = True
    orientation: str = "exif"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        """SpecError for values that no photo can be processed with."""
        if not 1 <= self.crop <= self.resize <= 4096:
            raise SpecError(f"preprocessing: need 1 <= crop <= resize <= 4096, found {self.crop}, {self.resize}")
        if self.interpolation not in INTERPOLATIONS:
            raise SpecError(f"preprocessing.interpolation: {self.interpolation!r} is none of {INTERPOLATIONS}")
        if not self.antialias or self.orientation != "exif":
            raise SpecError('preprocessing: only antialias true and orientation "exif" are served')
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise SpecError("preprocessing: mean and std are three numbers each, std above 0")


@dataclass(frozen=True)
class Head:
    """Layers in place of the backbone's last linear one: widths of hidden layers, dropout before each layer.

    Without hidden layers and dropout it is one linear layer, which is the backbone's own head.
    """

    hidden: tuple[int, ...] = ()
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """SpecError for widths below 1 or dropout outside [0, 1)."""
        if any(width < 1 for width in self.hidden) or not 0 <= self.dropout < 1:
            raise SpecError("head: hidden widths are at least 1 and dropout is in [0, 1)")


KNOWN_BY = ("score", "similarity")


@dataclass(frozen=True)
class Calibration:
    """Temperature that divides the logits, and from where on an answer is trusted.

    The decision is "unknown" where the photo's known score is below `known`, else "confident" where the calibrated
    score of the best class is at or above `confident`, else "unsure". `known_by` says what the known score is:
    "score", that calibrated score itself, or "similarity", the cosine between the photo's features and the nearest
    class's mean (`network.Scorer`), which also tells photos of none of the classes. The defaults are for a model
    that nobody calibrated: docs/verified.md says how often the default model is right in each.
    """

    temperature: float = 1.0
    confident: float = 0.6
    known: float = 0.2
    known_by: str = "score"

    def __post_init__(self) -> None:
        """SpecError unless temperature > 0, 0 <= confident <= 1 and `known` is in the range of its score."""
        if self.known_by not in KNOWN_BY:
            raise SpecError(f"calibration.known_by: {self.known_by!r} is none of {KNOWN_BY}")
        if not (self.temperature > 0 and 0 <= self.confident <= 1):
            raise SpecError("calibration: need temperature > 0 and 0 <= confident <= 1")
        low, high = (0.0, self.confident) if self.known_by == "score" else (-1.0, 1.0)
        if not low <= self.known <= high:
            raise SpecError(f"calibration.known: need {low:g} <= known <= {high:g} for the {self.known_by}")

    def decide(self, score: float, known: float) -> str:
        """`confident`, `unsure` or `unknown` for the calibrated score of the best class and the known score."""
        if known < self.known:
            return "unknown"
        return "confident" if score >= self.confident else "unsure"


@dataclass(frozen=True)
class ModelSpec:
    """The whole of `model.json`.

    `version` is derived from the content by the packer, so that equal versions answer equally. The last five
    fields say where the model came from and decide nothing.
    """

    name: str
    backbone: str
    classes: tuple[ClassInfo, ...]
    version: str = ""
    format: int = FORMAT
    head: Head = field(default_factory=Head)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    calibration: Calibration = field(default_factory=Calibration)
    metrics: dict[str, Any] = field(default_factory=dict)
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    created: str = ""

    def __post_init__(self) -> None:
        """SpecError for no classes, repeated class ids, empty names or a newer format."""
        if self.format != FORMAT:
            raise SpecError(f"format: {self.format!r} is not {FORMAT}; use the release that wrote this archive")
        if not self.name or not self.backbone:
            raise SpecError("name and backbone must not be empty")
        ids = [c.class_id for c in self.classes]
        if not ids:
            raise SpecError("classes: a model needs at least one class")
        if len(set(ids)) != len(ids):
            repeated = sorted({i for i in ids if ids.count(i) > 1})
            raise SpecError(f"classes: class_id repeated: {', '.join(repeated[:3])}")

    def to_json(self) -> str:
        """The text of `model.json`."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Read `model.json`; SpecError names the field that is missing, unknown or of the wrong type."""
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise SpecError(f"not JSON: {error}") from None
        if isinstance(raw, dict) and isinstance(raw.get("classes"), list):
            raw["classes"] = [_class_info(item) for item in raw["classes"]]
        spec: ModelSpec = _build(cls, raw, "model.json")
        return spec

    @classmethod
    def load(cls, path: Path) -> ModelSpec:
        """Read the file at `path`; SpecError if it is missing or wrong."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"{path.name} cannot be read: {error.__class__.__name__}") from None


def _class_info(item: Any) -> ClassInfo:
    """A class may be written as its bare name."""
    if isinstance(item, str):
        return ClassInfo(item, item)
    info: ClassInfo = _build(ClassInfo, item, "classes")
    return info


def _build(cls: Any, raw: Any, where: str) -> Any:
    """A dataclass out of plain JSON, field by field, each checked against the type of its default."""
    if not isinstance(raw, dict):
        raise SpecError(f"{where}: an object is needed, found {type(raw).__name__}")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    if unknown := sorted(raw.keys() - fields.keys()):
        raise SpecError(f"{where}: unknown field {unknown[0]!r}; known are {', '.join(fields)}")
    values = {}
    for name, spec_field in fields.items():
        if name in raw:
            values[name] = _value(raw[name], spec_field.type, f"{where}.{name}")
        elif spec_field.default is dataclasses.MISSING and spec_field.default_factory is dataclasses.MISSING:
            raise SpecError(f"{where}: the field {name!r} is missing")
    return cls(**values)


_NESTED = {"Head": Head, "Preprocessing": Preprocessing, "Calibration": Calibration}


def _value(raw: Any, kind: Any, where: str) -> Any:
    """One JSON value as the annotated type: numbers, texts, tuples of them, or a nested dataclass."""
    kind = str(kind)
    if kind in _NESTED:
        return _build(_NESTED[kind], raw, where)
    if kind.startswith("tuple[ClassInfo"):
        return _tuple(raw, ClassInfo, where)
    if kind.startswith("tuple["):
        return _tuple(raw, int if kind.startswith("tuple[int") else float, where)
    if kind.startswith("dict["):
        return _expect(raw, dict, where)
    return _expect(raw, {"str": str, "int": int, "float": float, "bool": bool}[kind], where)


def _tuple(raw: Any, item: type, where: str) -> tuple[Any, ...]:
    items = _expect(raw, list, where)
    return tuple(_expect(value, item, f"{where}[{i}]") for i, value in enumerate(items))


def _expect(raw: Any, kind: type, where: str) -> Any:
    """`raw` if it is a `kind`; whole numbers count as floats, truth values never count as numbers."""
    if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        raw = float(raw)
    if not isinstance(raw, kind) or (kind is int and isinstance(raw, bool)):
        raise SpecError(f"{where}: {kind.__name__} is needed, found {type(raw).__name__}")
    if isinstance(raw, float) and not math.isfinite(raw):
        raise SpecError(f"{where}: a finite number is needed")
    return raw
