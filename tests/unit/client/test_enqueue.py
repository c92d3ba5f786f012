"""Sending jobs, with the shipped fakes: what a crash, a limit or a second sender does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize.operations.enqueue import (
    CHUNK,
    Sender,
    check_names,
    lost_jobs,
    settled_counts,
    spread,
    waiting_jobs,
)
from parallelize.runs.jobs.cursor import HOLD_SECONDS, CursorHold
from parallelize_core.config import DrainSettings
from parallelize_core.errors import AccessError, NothingToDoError, ServiceError, UsageError
from parallelize_core.job import JobMessage
from parallelize_core.layout import Location, RunLayout
from parallelize_core.manifest import (
    Entry,
    Part,
    add_corrections,
    encode_part,
    finished,
    read_corrections,
    read_cursor,
    read_parts,
    unfinished,
)
from parallelize_core.queue import QueueCounts
from parallelize_core.run import OutputNaming, Run
from parallelize_core.store import ALWAYS, Condition
from parallelize_core.testing import (
    AsyncInMemoryQueue,
    AsyncInMemoryStore,
    InMemoryQueue,
    InMemoryStore,
)

LAYOUT = RunLayout(Location("bucket"), "demo")
AT_ONCE = DrainSettings(samples=3, interval_seconds=0)


class CrashError(Exception):
    """Stands for a process that is killed."""


class CrashingQueue(InMemoryQueue):
    """A queue whose sender is killed after a number of batches."""

    error: Exception = CrashError()

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.left = batches

    def send(self, bodies: Sequence[str], delay_seconds: int = 0) -> None:
        if self.left == 0:
            raise self.error
        self.left -= 1
        super().send(bodies, delay_seconds)


def store_with(*sizes: int) -> tuple[InMemoryStore, list[Part]]:
    store = InMemoryStore()
    for number, size in enumerate(sizes):
        entries = [Entry(key=f"{number}/{place}", size=1, etag="e") for place in range(size)]
        store.put(LAYOUT.manifest_part(number), encode_part(entries))
    return store, list(read_parts(store, LAYOUT))


def send(
    store: InMemoryStore, queue: InMemoryQueue, limit: int = 10**6, done: Collection[str] = ()
) -> int:
    """Send what is beyond the cursors, as `enqueue` does."""
    numbers = [part.number for part in read_parts(store, LAYOUT)]
    sender = Sender(
        AsyncInMemoryStore(store),
        LAYOUT,
        AsyncInMemoryQueue(queue),
        done,
        read_corrections(store, LAYOUT),
    )
    return asyncio.run(sender.send(numbers, limit))


def take(store: InMemoryStore, now: float) -> CursorHold:
    """Take the right to send the first part at a time that stands still."""
    return asyncio.run(CursorHold.take(AsyncInMemoryStore(store), LAYOUT, 0, lambda: now))


def sent(queue: InMemoryQueue) -> Counter[str]:
    return Counter(JobMessage.decode(body).key for body in queue.bodies())


def test_every_job_is_sent_once_over_all_parts() -> None:
    store, _ = store_with(CHUNK + 5, 3)
    queue = InMemoryQueue()
    assert send(store, queue, 10**6) == CHUNK + 8
    assert set(sent(queue).values()) == {1}
    assert len(sent(queue)) == CHUNK + 8


@given(st.integers(0, 40), st.integers(1, 9))
def test_parts_are_sent_from_several_stretches_in_turn_and_each_once(
    count: int, stretches: int
) -> None:
    order = list(spread(range(count), stretches))
    assert sorted(order) == list(range(count))
    first = order[: min(stretches, count)]
    assert all(later - earlier >= count // stretches for earlier, later in pairwise(first[:2]))


def test_workers_read_and_write_far_apart_in_the_bucket() -> None:
    assert list(spread(range(10), 4)) == [0, 3, 6, 9, 1, 4, 7, 2, 5, 8]


def test_a_limit_is_kept_and_the_rest_follows() -> None:
    store, _ = store_with(20, 20)
    queue = InMemoryQueue()
    for limit, total in ((7, 7), (20, 27), (100, 40), (100, 40)):
        send(store, queue, limit)
        assert len(sent(queue)) == total
    assert set(sent(queue).values()) == {1}


def test_finished_jobs_are_not_sent_and_do_not_count_towards_the_limit() -> None:
    store, _ = store_with(10)
    queue = InMemoryQueue()
    done = {LAYOUT.result(f"0/{place}") for place in (0, 1, 4)}
    assert send(store, queue, 2, done) == 2
    assert sorted(sent(queue)) == ["0/2", "0/3"]


@pytest.mark.parametrize("batches", [0, 1, 5, CHUNK // 10 + 5])
def test_after_a_crash_nothing_is_doubled_and_nothing_is_lost(batches: int) -> None:
    store, _ = store_with(CHUNK * 2, 5)
    queue = CrashingQueue(batches)
    with pytest.raises(CrashError):
        send(store, queue)
    queue.left = 10**6
    send(store, queue)
    assert set(sent(queue).values()) == {1}
    # What was not sent then is found once the queue is empty, by workers as well.
    while messages := queue.receive(10, 0, 60):
        for message in messages:
            store.put(LAYOUT.result(JobMessage.decode(message.body).key), b"{}")
        queue.delete([message.receipt for message in messages])
    later = {entry.key for entry in unfinished(store, LAYOUT)}
    assert len(finished(store, LAYOUT)) + len(later) == CHUNK * 2 + 5
    assert len(later) <= 2 * CHUNK
    if later:
        assert {e.key for e in lost_jobs(store, LAYOUT, queue, AT_ONCE)} == later


def test_a_queue_that_refuses_has_taken_nothing_so_all_is_still_to_be_sent() -> None:
    store, _ = store_with(30)
    queue = CrashingQueue(0)
    queue.error = AccessError("no")
    with pytest.raises(AccessError):
        send(store, queue)
    assert read_cursor(store, LAYOUT, 0).sent == 0
    queue.left = 10**6
    assert send(store, queue) == 30


def test_a_second_sender_at_the_same_time_sends_nothing() -> None:
    store, _ = store_with(30)
    queue = InMemoryQueue()

    async def hold() -> None:
        async with await CursorHold.take(AsyncInMemoryStore(store), LAYOUT, 0):
            with pytest.raises(ServiceError, match="another enqueue"):
                await Sender(AsyncInMemoryStore(store), LAYOUT, AsyncInMemoryQueue(queue), ()).send(
                    [0], 30
                )

    asyncio.run(hold())
    assert queue.bodies() == []
    send(store, queue)
    assert len(sent(queue)) == 30


def test_what_a_killed_sender_held_is_open_again_after_a_while() -> None:
    store, _ = store_with(30)
    take(store, 1000.0)  # and never given back
    with pytest.raises(ServiceError, match="another enqueue"):
        take(store, 1000.0 + HOLD_SECONDS - 1)
    take(store, 1000.0 + HOLD_SECONDS + 1)


def test_a_sender_that_was_overtaken_notices_before_it_sends() -> None:
    store, _ = store_with(30)
    slow = take(store, 0.0)
    asyncio.run(take(store, HOLD_SECONDS + 1.0).advance(20))
    with pytest.raises(ServiceError, match="another enqueue"):
        asyncio.run(slow.advance(10))
    assert read_cursor(store, LAYOUT, 0).sent == 20


def everything_sent() -> tuple[InMemoryStore, InMemoryQueue]:
    store, _ = store_with(3)
    queue = InMemoryQueue()
    send(store, queue, 10**6)
    return store, queue


def test_while_messages_wait_nothing_counts_as_lost() -> None:
    store, queue = everything_sent()
    with pytest.raises(NothingToDoError, match="is on the queue"):
        lost_jobs(store, LAYOUT, queue, AT_ONCE)


def test_messages_that_vanished_are_found_out() -> None:
    store, queue = everything_sent()
    store.put(LAYOUT.result("0/1"), b"{}")
    queue.delete([message.receipt for message in queue.receive(10, 0, 60)])
    assert [e.key for e in lost_jobs(store, LAYOUT, queue, AT_ONCE)] == ["0/0", "0/2"]


def test_when_all_is_finished_there_is_nothing_to_do() -> None:
    store, queue = everything_sent()
    queue.delete([message.receipt for message in queue.receive(10, 0, 60)])
    for place in range(3):
        store.put(LAYOUT.result(f"0/{place}"), b"{}")
    with pytest.raises(NothingToDoError, match="3 jobs finished") as caught:
        lost_jobs(store, LAYOUT, queue, AT_ONCE)
    assert caught.value.exit_code == 3


class Flickering(InMemoryQueue):
    """A queue that SQS counts as empty for a while, although it is not."""

    def __init__(self, empty_looks: int) -> None:
        super().__init__()
        self.looks = empty_looks

    def counts(self) -> QueueCounts:
        self.looks -= 1
        return QueueCounts(0, 0 if self.looks >= 0 else 1, 0)


def test_one_empty_look_means_nothing() -> None:
    waits: list[float] = []
    drain = DrainSettings(samples=4, interval_seconds=20)
    assert settled_counts(Flickering(3), drain, waits.append).total == 1
    assert settled_counts(Flickering(4), drain, waits.append).total == 0
    assert waits == [20.0] * 6


def run_with(**naming: str) -> Run:
    return Run(
        name="demo", command=("./x",), input=LAYOUT.input, output=LAYOUT.output, created_at="now",
        naming=OutputNaming.model_validate(naming),
    )  # fmt: skip


def test_outputs_that_must_clash_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(UsageError, match=r"the same name result\.csv") as caught:
        check_names(run_with(name="result.csv"), ["0/0", "0/1"])
    assert "0/0 and 0/1" in (caught.value.why or "")


def test_outputs_that_may_differ_are_left_to_the_workers() -> None:
    check_names(run_with(name="{stem}{suffix}"), ["0/0", "0/1"])
    check_names(run_with(name="result.csv", on_clash="suffix"), ["0/0", "0/1"])
    check_names(run_with(name="result.csv"), ["0/0"])


@pytest.mark.parametrize("sizes", [(), (1,), (3, 4, 5)])
def test_the_jobs_of_each_part_that_wait_are_counted(sizes: tuple[int, ...]) -> None:
    store, _ = store_with(*sizes)
    expected = dict(enumerate(sizes))
    assert waiting_jobs(run_with(), store, LAYOUT, set()) == expected
    send(store, InMemoryQueue(), 2)
    left = sum(sizes) - min(2, sum(sizes))
    assert waiting_jobs(run_with(), store, LAYOUT, set()).total() == left
    done = {LAYOUT.result(f"{number}/{size - 1}") for number, size in enumerate(sizes)}
    assert waiting_jobs(run_with(), store, LAYOUT, done).total() == max(0, left - len(done))


class LosingStore(InMemoryStore):
    """A bucket that makes a write whose answer is lost; sent again, it finds its own work."""

    def __init__(self, *, nth: int) -> None:
        super().__init__()
        self.nth = nth
        self.puts = 0

    def put(
        self,
        key: str,
        body: bytes,
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        if condition == ALWAYS:
            return super().put(key, body, condition, metadata)
        self.puts += 1
        written = super().put(key, body, condition, metadata)
        return super().put(key, body, condition, metadata) if self.puts == self.nth else written


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_cursor_whose_answer_was_lost_is_known_again(nth: int) -> None:
    store, queue = LosingStore(nth=nth), InMemoryQueue()
    entries = [Entry(key=str(place), size=1, etag="e") for place in range(CHUNK + 3)]
    store.put(LAYOUT.manifest_part(0), encode_part(entries))
    assert send(store, queue, 10**6) == CHUNK + 3
    assert store.puts == 4
    assert set(sent(queue).values()) == {1}
    assert read_cursor(store, LAYOUT, 0).sent == CHUNK + 3


def test_another_senders_cursor_is_not_taken_for_ones_own() -> None:
    store, _ = store_with(3)
    hold = take(store, 1000.0)
    # Somebody else has taken the right at exactly the same time, so only the holder tells.
    theirs = hold.cursor.model_copy(update={"holder": "another"})
    store.put(hold.key, theirs.encode())
    with pytest.raises(ServiceError, match="another enqueue"):
        asyncio.run(hold.advance(3))


def test_a_corrected_input_is_sent_as_it_is_now_by_every_sender() -> None:
    store, _ = store_with(3)
    for etag in ("first", "second"):
        add_corrections(store, LAYOUT, [Entry(key="0/1", size=7, etag=etag)])
    queue = InMemoryQueue()
    send(store, queue, 10)
    first = {m.key: (m.size, m.etag) for m in map(JobMessage.decode, queue.bodies())}
    # What the agents, and a second enqueue, send of that which was lost.
    again = {entry.key: (entry.size, entry.etag) for entry in unfinished(store, LAYOUT)}
    assert first == again == {"0/0": (1, "e"), "0/1": (7, "second"), "0/2": (1, "e")}
