"""How far a share measured on few photos can be from the truth."""

from __future__ import annotations

import math

Z95 = 1.959963984540054
"""The 97.5th percentile of the normal distribution: 95 % of it lies within that many deviations."""


def wilson(successes: int, n: int) -> tuple[float, float] | None:
    """The 95 % score interval of a share `successes / n`; None for n = 0, where nothing was measured.

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference". Brown, Cai & DasGupta 2001
    recommend it for small n; unlike the textbook interval it is right at 0 and at 1.
    """
    if n == 0:
        return None
    share, square = successes / n, Z95 * Z95 / n
    centre = (share + square / 2) / (1 + square)
    half = Z95 * math.sqrt(share * (1 - share) / n + square / (4 * n)) / (1 + square)
    # Rounding would leave 1 - 1e-16 where the exact bound is 1.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)
