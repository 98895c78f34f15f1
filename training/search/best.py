"""`best.json`: the hyperparameters that a search found, and how it came to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.errors import ConfigError


def read(path: Path) -> dict[str, Any]:
    """The hyperparameters of a `best.json`, or of any JSON object of hyperparameters. ConfigError if it is neither."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from None
    except ValueError:
        raise ConfigError(f"{path} is no JSON. Give best.json of a search, or a JSON object.") from None
    if isinstance(found, dict) and isinstance(found.get("hyperparameters"), dict):
        found = found["hyperparameters"]
    if not isinstance(found, dict):
        raise ConfigError(f"{path} has no hyperparameters. Give best.json of a search, or a JSON object.")
    return found
