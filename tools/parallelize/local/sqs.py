"""An SQS queue for moto that does not slow down as it fills.

moto 5.2 keeps the messages of a queue in one list. Each message received asks for the queue's
retention period, which builds all of the queue's attributes three times, and these include the
three counts: nine walks over the list, each reading the clock for every message. A send builds
them once, a delete compares every receipt handle ever given out, and every message handed over is
deep-copied. A long poll looks whether something is there only once a second.

`install()` puts a queue in its place that keeps the messages in a `MessageIndex`. Everything that
is not about messages (names, attributes, policies, tags, the protocol) is still moto's.

Three answers are AWS's where moto's are not:
- a receipt handle stands for one receive: deleting with an old one succeeds and deletes nothing;
- the visibility of a message that is not in flight cannot be changed;
- the 12 hours that a message may be in flight count from its receive, not from when it was sent.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Mapping, Sequence
from functools import cache
from threading import Condition
from types import ModuleType
from typing import Any, cast

from moto.core.utils import camelcase_to_underscores
from moto.sqs import models, urls
from moto.sqs.exceptions import InvalidParameterValue, ReceiptHandleIsInvalid, SQSException
from moto.sqs.models import Message, Queue, SQSBackend

from parallelize.local.message_index import Entry, MessageIndex, State

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAX_VISIBILITY_TIMEOUT_SECONDS = 12 * 60 * 60

# The message, and which of its receives: nothing has to be remembered to recognise an old handle.
RECEIPT_HANDLE = re.compile(r"(?P<id>[0-9a-f-]{36})#(?P<receive>[0-9]+)")


class MessageNotInflight(SQSException):
    """The visibility timeout of the message has run out."""

    def __init__(self) -> None:
        super().__init__("MessageNotInflight", "The specified message isn't in flight.")


class IndexedQueue(Queue):
    """A standard queue; every method may be called from any thread."""

    # Set by moto from the queue's attributes, under these names.
    message_retention_period: int

    def __init__(self, name: str, region: str, account_id: str, **attributes: Any) -> None:
        # First, because moto's constructor sets attributes and may count messages.
        self._index: MessageIndex[Message] = MessageIndex()
        self._changed = Condition()
        super().__init__(name, region, account_id, **attributes)
        if self.fifo_queue:
            raise InvalidParameterValue("The local cloud has standard queues only.")

    @property
    def approximate_number_of_messages(self) -> int:
        """How many messages could be received now."""
        return self._count(State.VISIBLE)

    @property
    def approximate_number_of_messages_delayed(self) -> int:
        """How many messages wait for their delay to end."""
        return self._count(State.DELAYED)

    @property
    def approximate_number_of_messages_not_visible(self) -> int:
        """How many messages are in flight."""
        return self._count(State.IN_FLIGHT)

    def add_message(self, message: Message) -> None:
        """Take in a message that was sent here, or moved here from its source queue."""
        with self._changed:
            sent_at = cast("int", message.sent_timestamp) / 1000
            visible_at = message.delayed_until / 1000
            self._index.put(message.id, message, sent_at=sent_at, visible_at=visible_at)
            self._changed.notify_all()

    def receive(self, count: int, wait_seconds: float, visibility_timeout: int) -> list[Message]:
        """Put up to `count` messages in flight, waiting up to `wait_seconds` for the first."""
        deadline = time.time() + wait_seconds
        while True:
            received, exhausted = self._take(count, visibility_timeout)
            # Without the lock: two queues may be each other's dead-letter queue.
            for dead_letter_queue, message in exhausted:
                dead_letter_queue.add_message(message)
            if received or time.time() >= deadline:
                return received
            self._wait_for_visible(deadline)

    def delete_message(self, receipt_handle: str) -> None:
        """Delete the message if this handle is from its latest receive, else do nothing."""
        with self._changed:
            entry = self._find(receipt_handle)
            if entry:
                self._index.remove(entry)

    def change_visibility(self, receipt_handle: str, seconds: int) -> None:
        """Let a message in flight be visible again `seconds` from now."""
        with self._changed:
            now = self._advance()
            entry = self._find(receipt_handle)
            if entry is None:
                raise InvalidParameterValue(
                    f"Value {receipt_handle} for parameter ReceiptHandle is invalid. Reason: "
                    "Message does not exist or is not available for visibility timeout change."
                )
            if entry.state is not State.IN_FLIGHT:
                raise MessageNotInflight
            if now + seconds > entry.received_at + MAX_VISIBILITY_TIMEOUT_SECONDS:
                raise InvalidParameterValue(
                    f"Value {seconds} for parameter VisibilityTimeout is invalid. Reason: Total "
                    "VisibilityTimeout for the message is beyond the limit [43200 seconds]"
                )
            self._index.hide_until(entry, now + seconds)
            self._changed.notify_all()

    def purge(self) -> None:
        """Delete every message."""
        with self._changed:
            self._index = MessageIndex()

    def _count(self, state: State) -> int:
        with self._changed:
            self._advance()
            return self._index.count(state)

    def _advance(self) -> float:
        now = time.time()
        self._index.advance(now, self.message_retention_period)
        return now

    def _wait_for_visible(self, deadline: float) -> None:
        """Return at the deadline, or earlier if a message is visible or something has changed."""
        with self._changed:
            now = self._advance()
            if self._index.count(State.VISIBLE) == 0:
                self._changed.wait(min(deadline, self._index.next_change()) - now)

    def _take(
        self, count: int, visibility_timeout: int
    ) -> tuple[list[Message], list[tuple[Queue, Message]]]:
        """Return the messages taken, and those received too often with where they have to go."""
        taken: list[Message] = []
        exhausted: list[tuple[Queue, Message]] = []
        with self._changed:
            now = self._advance()
            while len(taken) < count and (entry := self._index.take(now, now + visibility_timeout)):
                if dead_letter_queue := self._dead_letter_queue_for(entry.message):
                    self._index.remove(entry)
                    exhausted.append((dead_letter_queue, entry.message))
                else:
                    taken.append(_deliver(entry.message))
        return taken, exhausted

    def _dead_letter_queue_for(self, message: Message) -> Queue | None:
        if self.redrive_policy is None:
            return None
        limit = self.redrive_policy["maxReceiveCount"]
        return self.dead_letter_queue if message.approximate_receive_count >= limit else None

    def _find(self, receipt_handle: str) -> Entry[Message] | None:
        """The message whose latest receive gave out this handle."""
        handle = RECEIPT_HANDLE.fullmatch(receipt_handle)
        if handle is None:
            raise ReceiptHandleIsInvalid
        entry = self._index.get(handle["id"])
        if entry and entry.message.receipt_handle == receipt_handle:
            return entry
        return None


class IndexedBackend(SQSBackend):
    """moto's SQS, with the calls about messages handed to `IndexedQueue`."""

    @property
    def _url_module(self) -> ModuleType:
        # moto would look for it beside this module.
        return urls

    def get_queue(self, queue_name: str) -> IndexedQueue:
        """Return a queue; raises QueueDoesNotExist."""
        return cast("IndexedQueue", super().get_queue(queue_name))

    def receive_message(
        self,
        queue_name: str,
        count: int,
        wait_seconds_timeout: int,
        visibility_timeout: int,
        message_attribute_names: list[str] | None = None,
    ) -> list[Message]:
        """Receive, with the message attributes that were asked for."""
        messages = self.get_queue(queue_name).receive(
            count, wait_seconds_timeout, visibility_timeout
        )
        for message in messages:
            models._filter_message_attributes(message, message_attribute_names or [])
        return messages

    def change_message_visibility(
        self, queue_name: str, receipt_handle: str, visibility_timeout: int
    ) -> None:
        """Change one; raises SQSException if the message cannot be changed."""
        self.get_queue(queue_name).change_visibility(receipt_handle, int(visibility_timeout))

    def change_message_visibility_batch(
        self, queue_name: str, entries: Sequence[Mapping[str, Any]]
    ) -> tuple[list[str], list[dict[str, Any]]]:
        """Change each; one that cannot be changed is a failed entry and spoils no other."""
        changed, failed = [], []
        for entry in entries:
            try:
                self.change_message_visibility(
                    queue_name, entry["ReceiptHandle"], entry["VisibilityTimeout"]
                )
                changed.append(entry["Id"])
            except SQSException as error:
                failed.append(_failed_entry(entry["Id"], error))
        return changed, failed

    def purge_queue(self, queue_name: str) -> None:
        """Delete every message; raises PurgeQueueInProgress within 60 s of the last purge."""
        super().purge_queue(queue_name)
        self.get_queue(queue_name).purge()


def install() -> None:
    """Let moto use these in place of its own; to be called before its first use."""
    # The backend makes queues by this name.
    models.Queue = IndexedQueue  # type: ignore[misc]
    models.sqs_backends.backend = IndexedBackend
    # A send asks for one attribute of the queue; moto then spells the names of all of them.
    models.camelcase_to_underscores = cache(camelcase_to_underscores)  # type: ignore[attr-defined]


def _deliver(message: Message) -> Message:
    """Note the receive, and return the message as it is now.

    A shallow copy is enough: what happens to the message later replaces its fields.
    """
    message.approximate_receive_count += 1
    if message.approximate_first_receive_timestamp is None:
        message.approximate_first_receive_timestamp = int(time.time() * 1000)
    message.receipt_handle = f"{message.id}#{message.approximate_receive_count}"
    return copy.copy(message)


def _failed_entry(entry_id: str, error: SQSException) -> dict[str, Any]:
    return {"Id": entry_id, "SenderFault": True, "Code": error.code, "Message": error.message}
