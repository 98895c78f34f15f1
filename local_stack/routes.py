"""Which of the template's routes a path belongs to, as API Gateway finds it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PARAMETER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Target:
    """A route that was found: its path as in the template, and what stood where that has braces."""

    resource: str
    parameters: Mapping[str, str]
    needs_key: bool


class Routes:
    """Those of (METHOD, path): a path without braces goes before one with, a parameter is one part of a path."""

    def __init__(self, routes: Mapping[tuple[str, str], bool]) -> None:
        ordered = sorted(routes.items(), key=lambda route: "{" in route[0][1])
        self._routes = [(method, path, _pattern(path), key) for (method, path), key in ordered]

    def find(self, method: str, path: str) -> Target | None:
        """The route of a request, or None."""
        for its_method, resource, pattern, needs_key in self._routes:
            if its_method == method and (match := pattern.fullmatch(path)):
                return Target(resource, match.groupdict(), needs_key)
        return None


def _pattern(path: str) -> re.Pattern[str]:
    parts = _PARAMETER.split(path)
    texts = [f"(?P<{part}>[^/]+)" if n % 2 else re.escape(part) for n, part in enumerate(parts)]
    return re.compile("".join(texts), re.DOTALL)
