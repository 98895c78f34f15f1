"""Bounded concurrency: many items, few threads, results in order of completion or of the items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run(work: Callable[[Item], Result], items: Iterable[Item], concurrency: int) -> Generator[Result, None, None]:
    """Yield `work(item)` for every item as it completes, with `concurrency` threads.

    At most twice as many items are taken ahead, so that endless listings cost no memory. Closing the
    iterator, or an exception in it, drops what has not begun; what is under way ends by itself.
    """
    remaining = iter(items)
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="classify")
    pending: set[Future[Result]] = set()
    try:
        while True:
            room = 2 * concurrency - len(pending)
            pending.update(pool.submit(work, item) for item in islice(remaining, room))
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def in_order(work: Callable[[Item], Result], items: Iterable[Item], concurrency: int) -> Generator[Result, None, None]:
    """The same in the order of the items: one that takes long holds up to four times `concurrency` others back."""
    remaining = iter(items)
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="read")
    try:
        pending = deque(pool.submit(work, item) for item in islice(remaining, 4 * concurrency))
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(work, item) for item in islice(remaining, 1))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
