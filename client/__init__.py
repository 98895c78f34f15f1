"""Label photos through the API: `from client import Client; Client().classify("dog.jpg")`.

Names are loaded when first used, so that `python -m client --help` answers at once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from client.aio import AsyncClient
    from client.api import Client
    from client.errors import ApiError, ClientError, NoApiError, PhotoError, UnreachableError, UsageError
    from client.results import Failure, Outcome

logging.getLogger(__name__).addHandler(logging.NullHandler())  # a program that wants our log says so

_HOMES = {
    "AsyncClient": "aio",
    "Client": "api",
    "ApiError": "errors",
    "ClientError": "errors",
    "NoApiError": "errors",
    "PhotoError": "errors",
    "UnreachableError": "errors",
    "UsageError": "errors",
    "Failure": "results",
    "Outcome": "results",
}

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "ClientError",
    "Failure",
    "NoApiError",
    "Outcome",
    "PhotoError",
    "UnreachableError",
    "UsageError",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module; AttributeError for any other."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"client.{_HOMES[name]}"), name)
