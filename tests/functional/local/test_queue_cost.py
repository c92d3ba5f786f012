"""What one receive costs, in function calls: the length of the queue must not matter."""

from __future__ import annotations

import sys
from types import FrameType

from moto.core import DEFAULT_ACCOUNT_ID
from moto.sqs.models import Message

from parallelize.local.sqs import IndexedQueue


def filled_queue(length: int) -> IndexedQueue:
    queue = IndexedQueue("q", "us-east-1", DEFAULT_ACCOUNT_ID)
    for number in range(length):
        message = Message(f"00000000-0000-0000-0000-{number:012}", "body")
        message.mark_sent()
        queue.add_message(message)
    assert queue.approximate_number_of_messages == length
    return queue


def calls_of_a_delivery(queue: IndexedQueue) -> int:
    """Count the calls of receiving, renewing and deleting ten messages, and of the counts."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        for message in queue.receive(10, 0, 30):
            assert message.receipt_handle
            queue.change_visibility(message.receipt_handle, 60)
            queue.delete_message(message.receipt_handle)
        assert queue.approximate_number_of_messages_not_visible == 0
    finally:
        sys.setprofile(None)
    return calls


def test_a_delivery_costs_the_same_in_a_short_and_in_a_long_queue() -> None:
    short, long = (calls_of_a_delivery(filled_queue(length)) for length in (100, 20_000))
    assert long <= short * 1.1
