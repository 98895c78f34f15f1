"""Photos that are the same, or nearly: groups of them, without comparing in quadratic memory.

Where the limit of 48 of 255 bits comes from. Hashes of different photos differ in 127.5 bits with a deviation of
8.2, as coins would. Of 1.4 million pairs of 1,656 photos of dogs, cats and other things none differed in fewer than
86 bits, of 308 million pairs of parts of them, mirrored and not, one in at most 56 and none in 55. The same photo
differs from itself by (median, 99th percentile, share found with 48):

    saved again as JPEG of quality 40         2     8    100 %
    half the size                             2    10    100 %
    brightness, contrast +-30 %              10    28    100 %
    2 % cropped, evenly                      16    28    100 %
    turned by 2 degrees                      28    44     99 %
    5 % cropped, evenly                      42    62     84 %
    2 % cropped, from one corner             44    60     79 %
    10 % cropped                             78   108      1 %

A difference hash of 256 bits, tried on the same photos, has different ones from 52 bits on, and needs as many for a
5 % crop. Mirrored copies are not found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from .defaults import NEAR_BITS
from .look import HASH_BITS, Bits

MAX_PAIRS = 100_000
"""After so many pairs the search ends: the folder holds little else, and all pairs of it could fill the memory."""

_ROWS, _COLUMNS = 1024, 8192


def equal_groups(keys: Sequence[Hashable]) -> list[list[int]]:
    """Indices with equal keys, for keys that occur more than once; falsy keys are left out."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        if key:
            groups[key].append(index)
    return [group for group in groups.values() if len(group) > 1]


def near_pairs(
    hashes: Sequence[Bits], limit: int = NEAR_BITS, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[tuple[int, int]]:
    """Pairs of indices (i < j) whose hashes differ in at most `limit` bits; at most MAX_PAIRS of them.

    `progress` is called with the photos that were compared with all others, and all.

    The distance of +1/-1 vectors is (bits - dot product) / 2, so the work is one matrix product in blocks: all
    pairs of 100,000 photos take a minute or two, and 100 MB.
    """
    signs = np.where(np.asarray(hashes, dtype=bool).reshape(-1, HASH_BITS), 1, -1).astype(np.int8)
    pairs: list[tuple[int, int]] = []
    for row in range(0, len(signs), _ROWS):
        left = signs[row : row + _ROWS].astype(np.float32)
        for column in range(row, len(signs), _COLUMNS):
            products = left @ signs[column : column + _COLUMNS].astype(np.float32).T
            hits = np.argwhere(products >= HASH_BITS - 2 * limit) + np.array((row, column))
            pairs += map(tuple, hits[hits[:, 0] < hits[:, 1]][: MAX_PAIRS - len(pairs)].tolist())
            if len(pairs) == MAX_PAIRS:
                return pairs
        progress(min(row + _ROWS, len(signs)), len(signs))
    return pairs


def joined(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Sorted groups of indices that pairs connect, directly or through others."""
    group_of: dict[int, list[int]] = {}
    for i, j in pairs:
        left, right = group_of.setdefault(i, [i]), group_of.setdefault(j, [j])
        if left is not right:
            big, small = (left, right) if len(left) >= len(right) else (right, left)
            big += small
            group_of.update(dict.fromkeys(small, big))
    unique = {id(group): sorted(group) for group in group_of.values()}
    return sorted(unique.values())
