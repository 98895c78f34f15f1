"""How a run finds out how much may be under way."""

from __future__ import annotations

import itertools

from client.pacing import BUDGET_START, Budget, Limit, PackSize, Rate


def _played(limit: Limit, capacity: float, rounds: int = 60, each: float = 0.1) -> list[int]:
    """The limit's values before an API that works on `capacity` requests at once and lets the others wait."""
    values = []
    for moment in range(rounds):
        seconds = each * max(1.0, limit.value / capacity)
        limit.succeeded(1, seconds, moment - seconds, float(moment))
        values.append(limit.value)
    return values


def test_the_limit_grows_until_requests_wait() -> None:
    """It ends a little above what the API works on at once, not at the most that is allowed."""
    values = _played(Limit(64), capacity=6)
    assert max(values) <= 12
    assert 6 <= values[-1] <= 11


def test_the_limit_never_exceeds_what_is_allowed() -> None:
    """The user's number holds where the API would take more."""
    assert max(_played(Limit(3), capacity=100)) == 3
    assert max(_played(Limit(1), capacity=100)) == 1


def test_a_refusal_halves_the_limit_once() -> None:
    """All that was under way together counts as one sign; what begins later is another."""
    limit = Limit(64)
    _played(limit, capacity=100, rounds=30)
    before = limit.value
    for _ in range(5):
        limit.refused(started=29.5, now=30.0)
    assert limit.value == before // 2
    limit.refused(started=30.5, now=31.0)
    assert limit.value == before // 4
    for moment in itertools.count(32):
        limit.refused(moment, moment + 0.5)
        if moment > 60:
            break
    assert limit.value == 1


def test_the_limit_comes_back_step_by_step() -> None:
    """After a refusal it grows by one a round, not by doubling."""
    limit = Limit(64)
    _played(limit, capacity=100, rounds=30)
    limit.refused(29.5, 30.0)
    low = limit.value
    for moment in range(low):
        limit.succeeded(1, 0.1, 31.0 + moment, 31.1 + moment)
    assert limit.value == low + 1 or limit.value == low


def test_packs_grow_while_answers_are_quick_and_shrink_when_slow() -> None:
    """From 8 by doubling up to the most; by half when an answer takes too long, down to single photos."""
    size = PackSize(100)
    for _ in range(10):
        size.answered(size.value, 0.01 * size.value)
    assert size.value in (64, 100)
    for _ in range(10):
        size.answered(size.value, 3.0 * size.value)
    assert size.value == 1


def test_packs_do_not_grow_by_answers_to_small_ones() -> None:
    """A quick answer to the two photos that were left says nothing of a full pack."""
    size = PackSize(100)
    size.answered(2, 0.01)
    assert size.value == 8


def test_the_budget_is_spent_and_earned() -> None:
    """So many failures in a row use it up; successes bring it back."""
    budget = Budget()
    for _ in range(int(BUDGET_START)):
        assert not budget.used_up
        budget.spend()
    assert budget.used_up
    budget.earn(10)
    assert not budget.used_up


def test_the_rate_spaces_photos() -> None:
    """Two a second: the second waits half a second, a pack of four two seconds; a pack holds a second's worth."""
    now = [100.0]
    rate = Rate(2.0, lambda: now[0])
    assert rate.wait() == 0
    rate.took(1)
    assert rate.wait() == 0.5
    now[0] += 0.5
    rate.took(4)
    assert rate.wait() == 2.0
    assert rate.most() == 2
    assert Rate(None).most() is None
    assert Rate(0.1).most() == 1
