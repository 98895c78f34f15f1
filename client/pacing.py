"""How much is under way at once: what the API's answers say about how fast it can go.

Limit     requests in flight: additive increase, multiplicative decrease (Chiu and Jain 1989), with the queue
          estimate of TCP Vegas (Brakmo and Peterson 1995) as the sign of latency
PackSize  photos in a request: so many that an answer takes about two seconds
Budget    retries of a run: a share of what succeeds, so that a sick API is not asked ever more
Rate      photos a second, by the user's wish
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FIRST_LIMIT = 2.0
QUEUE_LOW, QUEUE_HIGH = 1.5, 4.0
"""Requests that wait at the API: below the first the limit grows, above the second it falls (Vegas' alpha, beta)."""

BACK_OFF, EASE_OFF = 0.5, 0.85
"""What the limit is multiplied by on a refusal, and on a long queue."""

DRIFT = 1.005
"""How fast, an answer, the best time seen is forgotten: an API that has become slower must not be starved for ever."""

PACK_SECONDS = 2.0
"""What an answer may take: packs above twice that are made smaller, below half of it larger, by half or double."""

FIRST_PACK = 8

BUDGET_START, BUDGET_SHARE, BUDGET_MOST = 50.0, 0.2, 200.0
"""Retries a run may make at once, how many each success earns, and most that are saved up."""


class Limit:
    """How many requests may be in flight. Tell it of every success and every refusal; not for several threads."""

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._value = min(FIRST_LIMIT, self._most)
        self._best = float("inf")
        self._searching = True
        self._calm_from = 0.0

    @property
    def value(self) -> int:
        """Requests allowed now, at least 1."""
        return max(1, int(self._value))

    def succeeded(self, photos: int, seconds: float, started: float, now: float) -> None:
        """An answer to so many photos came after `seconds`. Times are of one monotonic clock, in seconds."""
        each = seconds / photos
        self._best = min(self._best * DRIFT, each)
        queue = self._value * (1 - self._best / each)
        if queue > QUEUE_HIGH:
            self._decrease(EASE_OFF, started, now)
        elif queue < QUEUE_LOW:
            self._value = min(self._most, self._value + (1 if self._searching else 1 / self._value))
        else:
            self._searching = False

    def refused(self, started: float, now: float) -> None:
        """A request was refused for its frequency, or was lost or late; `started` is when this try began."""
        self._decrease(BACK_OFF, started, now)

    def _decrease(self, factor: float, started: float, now: float) -> None:
        """Once for all that was in flight together: what began before the last decrease says nothing new."""
        self._searching = False
        if started >= self._calm_from:
            self._value = max(1.0, self._value * factor)
            self._calm_from = now


class PackSize:
    """How many photos go in one request, between 1 and `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.value = min(FIRST_PACK, most)

    def answered(self, photos: int, seconds: float) -> None:
        """An answer to so many photos came after `seconds`."""
        if seconds > 2 * PACK_SECONDS:
            self.value = max(1, min(self.value, photos // 2))
        elif seconds < PACK_SECONDS / 2 and photos >= self.value:
            self.value = min(self._most, self.value * 2)

    def late(self, photos: int) -> None:
        """So many were not answered in time."""
        self.value = max(1, min(self.value, photos // 2))


class Budget:
    """Retries that a run may still make. Safe to share between threads."""

    def __init__(self) -> None:
        self._left = BUDGET_START
        self._lock = threading.Lock()

    def spend(self) -> None:
        """A try failed."""
        with self._lock:
            self._left = max(0.0, self._left - 1)

    def earn(self, successes: int) -> None:
        """So many photos got their answer."""
        with self._lock:
            self._left = min(BUDGET_MOST, self._left + BUDGET_SHARE * successes)

    def refill(self) -> None:
        """The API was found well."""
        with self._lock:
            self._left = max(self._left, BUDGET_START / 2)

    @property
    def used_up(self) -> bool:
        """Whether no further retry should be made now."""
        return self._left < 1


class Rate:
    """At most so many photos a second; None means as many as go."""

    def __init__(self, photos_per_second: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._each = 1 / photos_per_second if photos_per_second else 0.0
        self._clock = clock
        self._next = 0.0

    def wait(self) -> float:
        """Seconds until the next photo may go."""
        return max(0.0, self._next - self._clock())

    def most(self) -> int | None:
        """Photos that may go in one request: a second's worth; None for any number."""
        return max(1, int(1 / self._each)) if self._each else None

    def took(self, photos: int) -> None:
        """So many go now."""
        self._next = max(self._next, self._clock()) + photos * self._each
