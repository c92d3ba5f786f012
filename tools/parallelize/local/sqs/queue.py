"""One standard queue: its messages are indexed in memory, and each change is on disk.

A receipt handle stands for one receive: deleting with an old one succeeds and deletes nothing.
The visibility of a message that is not in flight cannot be changed. The 12 hours that a message
may be in flight count from its receive.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parallelize.local.disk import Disk
from parallelize.local.message_index import Entry, MessageIndex, State
from parallelize.local.sqs.answers import SQSError, invalid

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAX_VISIBILITY_TIMEOUT_SECONDS = 12 * 60 * 60

# The message and the number of its receive: old handles are recognized without stored state.
RECEIPT_HANDLE = re.compile(r"(?P<id>[0-9a-f-]{36})#(?P<receive>[0-9]+)")

OVER_SECONDS = 5.0
"""For so long after the last message is deleted, long polls end after `OVER_WAIT_SECONDS`."""

OVER_WAIT_SECONDS = 0.2

_INSERT = (
    "insert into messages (queue, id, body, attributes, sent_at, visible_at, receives,"
    " first_received) values (?, ?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(slots=True)
class Message:
    """A message; times are in seconds since 1970, `number` is its row on disk."""

    number: int
    id: str
    body: str
    attributes: Mapping[str, Any]
    sent_at: float
    receives: int = 0
    first_received: float = 0.0

    @property
    def receipt_handle(self) -> str:
        """The handle of its latest receive."""
        return f"{self.id}#{self.receives}"


@dataclass(frozen=True)
class Redrive:
    """Where a message goes once it was received `max_receives` times and not deleted."""

    max_receives: int
    target: Queue


class Queue:
    """A standard queue. Not thread-safe: all its waiters are on one event loop."""

    def __init__(self, name: str, disk: Disk) -> None:
        self.name = name
        self.retention_seconds = float("inf")
        self.redrive: Redrive | None = None
        self._disk = disk
        self._index: MessageIndex[Message] = MessageIndex()
        self._waiters: list[asyncio.Future[bool]] = []
        self._alarm: asyncio.TimerHandle | None = None
        self._over_until = 0.0
        self._load()

    def count(self, state: State) -> int:
        """How many messages are in a state."""
        self._advance()
        return self._index.count(state)

    def send(self, body: str, attributes: Mapping[str, Any], delay_seconds: float) -> Message:
        """Add a message."""
        now = time.time()
        message = Message(0, str(uuid.uuid4()), body, attributes, now)
        self._add(message, now + delay_seconds)
        return message

    def receive(self, limit: int, lease_seconds: float) -> list[Message]:
        """Put up to `limit` messages in flight; move those received too often."""
        now = self._advance()
        taken: list[Message] = []
        until = now + lease_seconds
        while len(taken) < limit and (entry := self._index.take(now, until)):
            message = entry.message
            if self.redrive and message.receives >= self.redrive.max_receives:
                self._move_to(self.redrive.target, entry)
                continue
            message.receives += 1
            message.first_received = message.first_received or now
            taken.append(message)
        self._disk.executemany(
            "update messages set receives = ?, first_received = ?, received_at = ?, visible_at = ?"
            " where number = ?",
            [(one.receives, one.first_received, now, until, one.number) for one in taken],
        )
        self._rearm()
        return taken

    def delete(self, receipt_handle: str) -> None:
        """Delete the message if this handle is from its latest receive, else do nothing."""
        entry = self._find(receipt_handle)
        if entry:
            self._remove(entry)
            self._end_waits_for_nothing()

    def change_visibility(self, receipt_handle: str, seconds: float) -> None:
        """Make a message in flight visible again `seconds` from now. Raises SQSError."""
        now = self._advance()
        entry = self._find(receipt_handle)
        if entry is None:
            raise invalid(
                "ReceiptHandle", receipt_handle,
                "Message does not exist or is not available for visibility timeout change.",
            )  # fmt: skip
        if entry.state is not State.IN_FLIGHT:
            raise SQSError("MessageNotInflight", "The specified message isn't in flight.")
        if now + seconds > entry.received_at + MAX_VISIBILITY_TIMEOUT_SECONDS:
            raise invalid(
                "VisibilityTimeout", seconds,
                "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]",
            )  # fmt: skip
        self._index.hide_until(entry, now + seconds)
        self._disk.execute(
            "update messages set visible_at = ? where number = ?",
            (now + seconds, entry.message.number),
        )
        self._wake()

    def purge(self) -> None:
        """Delete every message."""
        self._index = MessageIndex()
        self._disk.execute("delete from messages where queue = ?", (self.name,))

    async def wait(self, seconds: float) -> bool:
        """Return True when there may be a message to receive, False if waiting is over.

        Waiting is over after `seconds`, and when the queue's last message is deleted: the workers
        find out at once that their run is over. For a while after that, waits are short, because
        the other workers poll again until the leader has reported the end.
        """
        loop = asyncio.get_running_loop()
        if time.monotonic() < self._over_until and not len(self._index):
            seconds = min(seconds, OVER_WAIT_SECONDS)
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiters.append(waiter)
        timer = loop.call_later(seconds, _finish, waiter)
        self._rearm()
        try:
            return await waiter
        except asyncio.CancelledError:
            # Its client is gone; pass the wake-up on to the next one.
            self._wake()
            raise
        finally:
            timer.cancel()

    def _load(self) -> None:
        rows = self._disk.execute(
            "select number, id, body, attributes, sent_at, receives, first_received, visible_at,"
            " received_at from messages where queue = ? order by number",
            (self.name,),
        )
        for number, name, body, attributes, sent_at, receives, first, visible_at, received in rows:
            message = Message(number, name, body, json.loads(attributes), sent_at, receives, first)
            self._index.put(
                name, message, sent_at=sent_at, visible_at=visible_at, received_at=received
            )

    def _add(self, message: Message, visible_at: float) -> None:
        added = self._disk.execute(
            _INSERT,
            (
                self.name, message.id, message.body, json.dumps(message.attributes),
                message.sent_at, visible_at, message.receives, message.first_received,
            ),
        )  # fmt: skip
        message.number = added.lastrowid or 0
        self._index.put(message.id, message, sent_at=message.sent_at, visible_at=visible_at)
        self._wake()

    def _move_to(self, target: Queue, entry: Entry[Message]) -> None:
        self._remove(entry)
        target._add(entry.message, 0.0)

    def _remove(self, entry: Entry[Message]) -> None:
        self._index.remove(entry)
        self._disk.execute("delete from messages where number = ?", (entry.message.number,))

    def _advance(self) -> float:
        now = time.time()
        for entry in self._index.advance(now, self.retention_seconds):
            number = entry.message.number
            self._disk.execute("delete from messages where number = ?", (number,))
        return now

    def _find(self, receipt_handle: str) -> Entry[Message] | None:
        """The message whose latest receive gave out this handle."""
        handle = RECEIPT_HANDLE.fullmatch(receipt_handle)
        if handle is None:
            raise SQSError("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
        entry = self._index.get(handle["id"])
        if entry and entry.message.receipt_handle == receipt_handle:
            return entry
        return None

    def _wake(self) -> None:
        """Wake one waiter for each message that can be received, and schedule the next wake-up.

        The waiters are chosen at random, as in SQS. In order of arrival, a worker that passes on a
        message could get it back forever, if its polls and the message's delay keep time.
        """
        if not self._waiters:
            return
        self._advance()
        waiting = [waiter for waiter in self._waiters if not waiter.done()]
        random.shuffle(waiting)
        visible = self._index.count(State.VISIBLE)
        for waiter in waiting[:visible]:
            waiter.set_result(True)
        self._waiters = waiting[visible:]
        self._rearm()

    def _end_waits_for_nothing(self) -> None:
        """End all waits if the queue has no messages left."""
        if not len(self._index):
            self._over_until = time.monotonic() + OVER_SECONDS
            waiting, self._waiters = self._waiters, []
            for waiter in waiting:
                _finish(waiter)

    def _rearm(self) -> None:
        """Wake the waiters when the next hidden message will be visible."""
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        at = self._index.next_change()
        if self._waiters and at < float("inf"):
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(max(0.001, at - time.time()), self._wake)


def _finish(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)
