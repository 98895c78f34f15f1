"""malloc, told to keep the memory of activations between forward passes and to give that of large photos back.

By default glibc maps blocks above 128 kB anew (the kernel clears every page again) or gives them back as soon as they
are free, which costs a third of the time of a pass of four photos. Other C libraries are left as they are.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from PIL import Image

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # malloc.h

MAPPED_BYTES = 32 * 1024 * 1024
"""Blocks above this are still mapped and given back at once, as the buffers of large photos; glibc allows no more."""

KEPT_BYTES = 128 * 1024 * 1024
"""Free memory kept for the next passes, about what two lanes of Lite0 take. With half of it they are a tenth slower."""


def keep_activations() -> None:
    """Set the thresholds for this process. Before threads start: they should share one arena, which is not
    limited to 64 MB as those of threads are.

    Pillow allocates large photos in blocks of 16 MB, which would be kept and scattered; larger ones are mapped.
    """
    Image.core.set_block_size(2 * MAPPED_BYTES)  # type: ignore[attr-defined]  # Pillow's docs: block allocator
    if (mallopt := _libc("mallopt")) is not None:
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_THRESHOLD, MAPPED_BYTES)
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)


def give_back() -> None:
    """Return what is free, in the middle of the heap too: what loading a model leaves, or decoding a large photo."""
    if (trim := _libc("malloc_trim")) is not None:
        trim(0)


def _libc(function: str) -> Any:
    """One of glibc's functions, None where there is another C library."""
    return getattr(ctypes.CDLL(None), function, None) if sys.platform == "linux" else None
