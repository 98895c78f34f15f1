"""Jobs between their steps: what is lost, comes late or meets another at the same moment."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api_world import JobWorld, call, job_world
from tests.job_steps import lines, start, state, uploaded


@pytest.fixture
def world() -> Iterator[JobWorld]:
    """Nothing asked for yet."""
    with job_world() as found:
        found.hooks.last_is_damaged = False
        yield found


@pytest.fixture
def handler(world: JobWorld) -> Any:
    """The function of that world."""
    from lambda_api.app import handler

    return handler


def test_a_cancelled_job_gets_its_results_though_the_first_message_was_lost(
    world: JobWorld, handler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelling again asks again."""
    from lambda_api.jobs import queue

    job = start(handler, uploads=uploaded(world, handler, 2))
    world.deliver()

    def fail(*_: Any) -> None:
        raise RuntimeError("the queue is away")

    with monkeypatch.context() as patch:
        patch.setattr(queue.Queue, "send", fail)
        assert call(handler, "DELETE", f"/v1/jobs/{job['id']}")[0] == 500
    assert call(handler, "DELETE", f"/v1/jobs/{job['id']}")[1]["state"] == "cancelled"
    world.work()
    assert len(lines(handler, job)) == 2


def test_a_page_that_ends_after_its_photos_did(world: JobWorld, handler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lists may be overtaken by whoever classifies, and die then: the page's message comes again and sees."""
    from lambda_api.jobs import classify, queue, store

    job = start(handler, uploads=uploaded(world, handler, 3))
    real = store.Jobs.page_done

    def overtaken(*given: Any, **more: Any) -> None:
        records = world.received()
        found = store.jobs().job(job["id"])
        assert found is not None
        classify.run(found, [queue.Received.of(record) for record in records], deadline=math.inf)
        world.delete(records, set())
        real(*given, **more)
        raise SystemExit("killed")

    with monkeypatch.context() as patch:
        patch.setattr(store.Jobs, "page_done", overtaken)
        with pytest.raises(SystemExit):
            world.deliver()
    assert state(handler, job)["state"] == "running"
    world.show_again()
    world.work()
    assert (state(handler, job)["state"], len(lines(handler, job))) == ("done", 3)


def test_no_photo_is_added_to_a_job_that_has_ended(world: JobWorld, handler: Any) -> None:
    """A list that comes late changes no counts, or there would be photos without a line."""
    from lambda_api.jobs import listing, store
    from lambda_api.jobs.queue import Message

    job = start(handler, uploads=uploaded(world, handler, 3))
    before = store.jobs().job(job["id"])
    assert before is not None
    call(handler, "DELETE", f"/v1/jobs/{job['id']}")
    listing.run(before, Message(job["id"], "list"))
    world.work()
    assert state(handler, job)["photos"] == len(lines(handler, job)) == 0


@pytest.mark.parametrize("code", ["TransactionConflict", "ThrottlingError"])
def test_changes_at_the_same_moment_are_made_again(
    world: JobWorld, handler: Any, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers of one job meet at its item: they wait a little instead of asking the endpoint again."""
    from botocore.exceptions import ClientError

    from lambda_api.jobs import store

    job = start(handler, uploads=uploaded(world, handler, 2))
    client: Any = store.jobs()._client
    transact, update, refusals = client.transact_write_items, client.update_item, {"transact": 2, "update": 2}

    def refused(name: str, ask: Any, error: dict[str, Any]) -> Any:
        def asked(**given: Any) -> Any:
            if refusals[name]:
                refusals[name] -= 1
                kind: Any = client.exceptions.TransactionCanceledException if name == "transact" else ClientError
                raise kind(error, name)
            return ask(**given)

        return asked

    cancelled = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": [{"Code": code}]}
    monkeypatch.setattr(client, "transact_write_items", refused("transact", transact, cancelled))
    conflict = {"Error": {"Code": "TransactionConflictException"}}
    monkeypatch.setattr(client, "update_item", refused("update", update, conflict))
    world.work()
    assert refusals == {"transact": 0, "update": 0}
    assert (state(handler, job)["ok"], len(world.hooks.bodies)) == (2, 1)


def test_a_job_that_cannot_be_done_any_more_ends(
    world: JobWorld, handler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its messages and photos are gone after a day: whoever looks at it learns so."""
    from lambda_api import job_routes

    job = start(handler, uploads=uploaded(world, handler, 1))
    monkeypatch.setattr(job_routes, "LONGEST_SECONDS", -1)
    ended = state(handler, job)
    assert (ended["state"], ended["error"]["code"]) == ("failed", "internal")
