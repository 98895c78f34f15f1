"""When a job is over: whoever notices asks for its last steps."""

from __future__ import annotations

from ..errors import ApiError
from .queue import Message, queue
from .store import jobs


def fail(identifier: str, error: ApiError) -> None:
    """End a job that cannot go on; whoever waits for it is told."""
    jobs().end(identifier, "failed", error.as_item())
    see_to_the_end(identifier)


def see_to_the_end(identifier: str) -> None:
    """Ask for the step that ends a job, where it is due: all photos have results, or it ended and somebody is not told.

    Twice does no harm.
    """
    job = jobs().job(identifier)
    if job and (job.complete if job.active else job.in_debt):
        queue().send(Message(identifier, "finish"))
