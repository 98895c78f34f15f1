"""TorchServe's handler of several requests at once, in AWS's PyTorch container and anywhere else TorchServe runs.

    TS_DEFAULT_SERVICE_HANDLER=batch_handler.py:handle
    SAGEMAKER_TS_BATCH_SIZE=8   SAGEMAKER_TS_MAX_BATCH_DELAY=1

SageMaker's own handler takes a batch one request after the other, by the content type of the first, and one that fails
fails all. This one decodes all photos, runs them through the network together and answers each with its own status.
"""

from __future__ import annotations

from typing import Any

if __package__:
    from . import inference
else:  # the folder is `code/` of an archive
    import inference  # type: ignore[import-not-found,no-redef]

_loaded: dict[str, Any] = {}
"""The model of this worker process: TorchServe keeps a handler by its function, which has nowhere else to keep one."""


class _Part:
    """One request's view of TorchServe's context, which is about a whole batch."""

    def __init__(self, context: Any, index: int) -> None:
        self._context, self._index = context, index
        self.request_processor = [context.request_processor[index]]

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Status of this request's answer."""
        self._context.set_response_status(code=code, phrase=phrase, idx=self._index)


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[str]:
    """Answers to a batch in its order; without data, load the model."""
    if data is None:
        _loaded["model"] = inference.model_fn(context.system_properties["model_dir"], context)
        return []
    parts = [_Part(context, index) for index in range(len(data))]
    requests = [
        inference.input_fn(_body(one), _content_type(part), part) for one, part in zip(data, parts, strict=True)
    ]
    answers = []
    for index, answer in enumerate(inference.predict_many(requests, _loaded["model"])):
        text, media_type = inference.output_fn(answer, inference.JSON, parts[index])
        context.set_response_content_type(index, media_type)
        answers.append(text)
    return answers


def _body(one: dict[str, Any]) -> Any:
    """TorchServe calls it `body`, or `data` where it came as a form."""
    return next((one[name] for name in ("body", "data") if name in one), b"")


def _content_type(part: _Part) -> str | None:
    headers = part.request_processor[0].get_request_properties()
    return next((value for name, value in headers.items() if name.lower() == "content-type"), None)
