"""What every queue promises; the shipped fake and SQS are held to the same account."""

from __future__ import annotations

import threading

import pytest
from tests.functional.core.conftest import QUEUES

from parallelize_core.job import JobMessage
from parallelize_core.queue import Message, Queue, QueueCounts

LONG_LEASE = 60


def not_in_every_server(reason: str) -> pytest.MarkDecorator:
    """Run a test over every queue; over moto's and LocalStack's it is expected to fail."""
    failing = pytest.mark.xfail(reason=f"moto and LocalStack {reason}")
    queues = [pytest.param(one, marks=failing if one.endswith("server") else ()) for one in QUEUES]
    return pytest.mark.parametrize("queue", queues, indirect=True)


def receive_all(queue: Queue, lease_seconds: int = LONG_LEASE) -> list[Message]:
    found: list[Message] = []
    while messages := queue.receive(10, 0, lease_seconds):
        found += messages
    return found


def receive_one(queue: Queue, lease_seconds: int = LONG_LEASE, wait_seconds: int = 5) -> Message:
    [message] = queue.receive(1, wait_seconds, lease_seconds)
    return message


def test_every_message_sent_is_received_once(queue: Queue) -> None:
    bodies = [f"message {number}" for number in range(25)]
    queue.send(bodies)
    assert sorted(message.body for message in receive_all(queue)) == sorted(bodies)


def test_sending_nothing_sends_nothing(queue: Queue) -> None:
    queue.send([])
    assert queue.counts().total == 0


@pytest.mark.parametrize("key", ["ünï/界 &<>\"'.txt", "a\u2028b", "x/" * 511 + "xy", "🧬" * 63])
def test_a_job_with_an_unusual_key_arrives_as_it_was_sent(queue: Queue, key: str) -> None:
    job = JobMessage(run="run", key=key, size=1)
    queue.send([job.encode()])
    assert JobMessage.decode(receive_one(queue).body) == job


def test_an_empty_queue_answers_nothing(queue: Queue) -> None:
    assert queue.receive(10, 0, LONG_LEASE) == []


@pytest.mark.parametrize(("limit", "most"), [(3, 3), (10, 10), (50, 10)])
def test_a_receive_brings_no_more_than_its_limit_and_never_more_than_ten(
    queue: Queue, limit: int, most: int
) -> None:
    queue.send([str(number) for number in range(12)])
    assert len(queue.receive(limit, 0, LONG_LEASE)) <= most


def test_a_waiting_receive_wakes_when_a_message_comes(queue: Queue) -> None:
    sender = threading.Timer(0.2, lambda: queue.send(["late"]))
    sender.start()
    found = queue.receive(10, 20, LONG_LEASE)
    sender.join()
    assert [message.body for message in found] == ["late"]


def test_a_leased_message_is_nobody_elses(queue: Queue) -> None:
    queue.send(["one"])
    receive_one(queue)
    assert queue.receive(10, 0, LONG_LEASE) == []


def test_a_message_comes_back_when_its_lease_runs_out_and_counts_its_receives(
    queue: Queue,
) -> None:
    queue.send(["one"])
    first = receive_one(queue, lease_seconds=1)
    second = receive_one(queue)
    assert (second.id, second.body) == (first.id, first.body)
    assert (first.receives, second.receives) == (1, 2)


def test_a_renewed_lease_outlasts_its_first_length(queue: Queue) -> None:
    queue.send(["one"])
    message = receive_one(queue, lease_seconds=1)
    assert queue.extend([message.receipt], LONG_LEASE) == []
    assert queue.receive(1, 2, LONG_LEASE) == []


def test_a_lease_set_to_zero_hands_the_message_back_at_once(queue: Queue) -> None:
    queue.send(["one"])
    message = receive_one(queue)
    assert queue.extend([message.receipt], 0) == []
    assert [again.body for again in queue.receive(1, 0, LONG_LEASE)] == ["one"]


@not_in_every_server("renew what is not leased")
def test_a_message_handed_back_is_no_longer_leased(queue: Queue) -> None:
    queue.send(["one"])
    message = receive_one(queue)
    queue.extend([message.receipt], 0)
    assert queue.extend([message.receipt], LONG_LEASE) == [message.receipt]


def test_only_the_lost_leases_are_answered_and_the_others_are_renewed(queue: Queue) -> None:
    queue.send([str(number) for number in range(12)])
    messages = receive_all(queue)
    gone = [messages[3].receipt, messages[11].receipt]
    queue.delete(gone)
    assert sorted(queue.extend([m.receipt for m in messages], LONG_LEASE)) == sorted(gone)
    assert queue.counts().in_flight == 10


@not_in_every_server("renew a lease that ran out")
def test_a_lease_that_ran_out_cannot_be_renewed(queue: Queue) -> None:
    queue.send(["one"])
    old = receive_one(queue, lease_seconds=1)
    new = receive_one(queue)
    assert queue.extend([old.receipt], LONG_LEASE) == [old.receipt]
    assert queue.extend([new.receipt], LONG_LEASE) == []


@not_in_every_server("obey a stale receipt")
def test_a_stale_receipt_deletes_nothing(queue: Queue) -> None:
    queue.send(["one"])
    old = receive_one(queue, lease_seconds=1)
    receive_one(queue)
    queue.delete([old.receipt])
    assert queue.counts().total == 1


def test_deleted_messages_are_gone_however_many(queue: Queue) -> None:
    queue.send([str(number) for number in range(12)])
    queue.delete([message.receipt for message in receive_all(queue)])
    assert queue.counts() == QueueCounts(0, 0, 0)


def test_deleting_twice_is_no_error(queue: Queue) -> None:
    queue.send(["one"])
    message = receive_one(queue)
    queue.delete([message.receipt])
    queue.delete([message.receipt])


def test_a_delayed_message_is_counted_and_comes_later(queue: Queue) -> None:
    queue.send(["later"], delay_seconds=1)
    assert queue.counts() == QueueCounts(visible=0, in_flight=0, delayed=1)
    assert queue.receive(1, 0, LONG_LEASE) == []
    assert receive_one(queue).body == "later"


def test_the_counts_tell_waiting_from_leased(queue: Queue) -> None:
    queue.send(["one", "two", "three"])
    receive_one(queue)
    assert queue.counts() == QueueCounts(visible=2, in_flight=1, delayed=0)


def test_many_receivers_at_once_miss_nothing(queue: Queue) -> None:
    bodies = {str(number) for number in range(60)}
    queue.send(list(bodies))
    found: list[str] = []

    def work() -> None:
        found.extend(message.body for message in receive_all(queue))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Not "each once": a standard queue may deliver twice, and moto does now and then.
    assert set(found) == bodies
