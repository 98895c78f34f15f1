"""An archive under BentoML: `bentoml serve bentoml_app:Model`, FOLDER and BATCH in the environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType

FOLDER = os.environ["ARCHIVE"]


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 200})
class Model:
    """The hooks, adaptively batched by BentoML."""

    def __init__(self) -> None:
        sys.path.insert(0, f"{FOLDER}/code")
        import inference  # type: ignore[import-not-found]

        self.hooks = inference
        self.model = inference.model_fn(FOLDER)

    @bentoml.api(route="/invocations")  # type: ignore[untyped-decorator]
    def classify(self, image: Annotated[Path, ContentType("image/*")], /) -> dict[str, Any]:
        """Raw bodies come as files; calls run in threads, whose photos the hooks gather."""
        request = self.hooks.input_fn(image.read_bytes(), "image/jpeg")
        answer: dict[str, Any] = self.hooks.predict_fn(request, self.model)
        return answer
