"""The function's settings: read from the environment once, in this one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Settings:
    """What `template.yaml` sets.

    `connect_timeout` and `read_timeout` are seconds; their sum stays below the function's 28.
    """

    endpoint_name: str
    allowed_origins: tuple[str, ...] = ()
    connect_timeout: float = 2.0
    read_timeout: float = 25.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """KeyError where ENDPOINT_NAME is missing: a deployment mistake, seen in the first log line."""
        origins = (origin.strip() for origin in environment.get("ALLOWED_ORIGINS", "").split(","))
        return cls(
            endpoint_name=environment["ENDPOINT_NAME"],
            allowed_origins=tuple(origin for origin in origins if origin),
        )


@cache
def settings() -> Settings:
    """This process's settings."""
    return Settings.from_environment(os.environ)
