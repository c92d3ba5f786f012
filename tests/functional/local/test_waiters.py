"""Polls that wait for the same queue: a message goes to any of them, as with SQS."""

from __future__ import annotations

import asyncio
from pathlib import Path

from parallelize.local.disk import Disk
from parallelize.local.sqs.queue import OVER_WAIT_SECONDS, Queue

ROUNDS = 60


async def winners(queue: Queue) -> set[str]:
    """Return who is woken first by one message, when `first` always asks before `second`."""
    won = set()
    for _ in range(ROUNDS):
        tasks = {
            asyncio.create_task(queue.wait(60), name=name): name for name in ("first", "second")
        }
        await asyncio.sleep(0)
        queue.send("body", {}, 0)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == 1, "one message wakes one"
        won |= {tasks[task] for task in done}
        queue.purge()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return won


def test_no_poll_gets_every_message_because_it_always_asks_first(tmp_path: Path) -> None:
    assert asyncio.run(winners(Queue("q", Disk(tmp_path)))) == {"first", "second"}


def test_polls_end_when_the_last_message_is_deleted(tmp_path: Path) -> None:
    async def found() -> list[bool]:
        queue = Queue("q", Disk(tmp_path))
        for body in ("first", "second"):
            queue.send(body, {}, 0)
        first, second = (message.receipt_handle for message in queue.receive(2, 60))
        polls = [asyncio.create_task(queue.wait(3600)) for _ in range(2)]
        await asyncio.sleep(0)
        queue.delete(first)
        await asyncio.sleep(0)
        assert not any(poll.done() for poll in polls), "a job that goes on may still come back"
        queue.delete(second)
        return await asyncio.gather(*polls)

    assert asyncio.run(found()) == [False, False]


def test_polls_soon_after_the_last_message_was_deleted_are_short(tmp_path: Path) -> None:
    async def found() -> bool:
        queue = Queue("q", Disk(tmp_path))
        queue.send("body", {}, 0)
        queue.delete(queue.receive(1, 60)[0].receipt_handle)
        return await queue.wait(3600)

    assert asyncio.run(found()) is False


def test_polls_of_a_queue_that_never_had_a_message_wait_for_one(tmp_path: Path) -> None:
    async def found() -> bool:
        queue = Queue("q", Disk(tmp_path))
        poll = asyncio.create_task(queue.wait(3600))
        await asyncio.wait([poll], timeout=2 * OVER_WAIT_SECONDS)
        queue.send("body", {}, 0)
        return await poll

    assert asyncio.run(found())
