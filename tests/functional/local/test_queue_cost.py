"""What one receive costs, in function calls: the length of the queue must not matter."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

from parallelize.local.disk import Disk
from parallelize.local.message_index import State
from parallelize.local.sqs.queue import Queue


def filled_queue(folder: Path, length: int) -> Queue:
    disk = Disk(folder)
    queue = Queue("q", disk)
    with disk.transaction():
        for number in range(length):
            queue.send(f"body {number}", {}, 0)
    assert queue.count(State.VISIBLE) == length
    return queue


def calls_of_a_delivery(queue: Queue) -> int:
    """Count the calls of receiving, renewing and deleting ten messages, and of the counts."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        for message in queue.receive(10, 30):
            queue.change_visibility(message.receipt_handle, 60)
            queue.delete(message.receipt_handle)
        assert queue.count(State.IN_FLIGHT) == 0
    finally:
        sys.setprofile(None)
    return calls


def test_a_delivery_costs_the_same_in_a_short_and_in_a_long_queue(tmp_path: Path) -> None:
    short = calls_of_a_delivery(filled_queue(tmp_path / "short", 100))
    long = calls_of_a_delivery(filled_queue(tmp_path / "long", 20_000))
    assert long <= short * 1.1
