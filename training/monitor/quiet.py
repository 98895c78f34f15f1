"""Before torch is imported."""

from __future__ import annotations

import os


def hush() -> None:
    """Keep the library behind torch.profiler from writing to standard error; it reads this when torch is imported."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
