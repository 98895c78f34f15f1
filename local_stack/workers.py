"""Lambda's execution environments on one machine: processes that each work on one event at a time.

Powertools keeps the current event on its class, as Lambda's own rule allows; threads would see each other's.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import threading
import uuid
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

FUNCTION_NAME = "whippet-local"
_handler: Any = None


@dataclass(frozen=True)
class Context:
    """The Lambda context object, as far as handlers and powertools use it."""

    aws_request_id: str
    function_name: str = FUNCTION_NAME
    function_version: str = "$LATEST"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = f"arn:aws:lambda:local:000000000000:function:{FUNCTION_NAME}"
    log_group_name: str = f"/aws/lambda/{FUNCTION_NAME}"
    log_stream_name: str = "local"
    client_context: Any = None
    identity: Any = None
    tags: dict[str, str] = field(default_factory=dict)


def pool(handler: str, workers: int) -> ProcessPoolExecutor:
    """Processes with the handler loaded. Where the system can, they are forked from one that imported it."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload([__name__, handler.rpartition(".")[0]])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(handler,))


def _start(handler: str) -> None:
    """Load the handler; end with the gateway, even if that was killed."""
    global _handler
    module, _, name = handler.rpartition(".")
    _handler = getattr(importlib.import_module(module), name)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def invoke(event: str) -> dict[str, Any]:
    """One event, as JSON text, through the handler. Runs in a worker process."""
    result: dict[str, Any] = _handler(json.loads(event), Context(str(uuid.uuid4())))
    return result
