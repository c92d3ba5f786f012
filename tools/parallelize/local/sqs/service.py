"""SQS as the local cloud serves it: standard queues, by the JSON protocol.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from parallelize.local.disk import Disk
from parallelize.local.http import Answer, Request, Response
from parallelize.local.sqs.answers import (
    MAX_BATCH,
    Fields,
    SQSError,
    check_batch,
    check_body,
    md5,
    md5_of_attributes,
    number,
    to_json,
)
from parallelize.local.sqs.queue import MAX_VISIBILITY_TIMEOUT_SECONDS, Message, Queue
from parallelize.local.sqs.queues import ACCOUNT, DEFAULTS, Queues

PREFIX = "AmazonSQS."
MAX_DELAY_SECONDS = 900
MAX_WAIT_SECONDS = 20


class SQS:
    """All queues, by name."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._queues = Queues(disk)

    def handle(self, request: Request) -> Answer:
        """Answer one request."""
        operation = request.headers["x-amz-target"].removeprefix(PREFIX)
        try:
            return self._handle(operation, request)
        except SQSError as error:
            return error.response

    def _handle(self, operation: str, request: Request) -> Answer:
        fields: Fields = json.loads(request.body or b"{}")
        if of_all := _OF_ALL.get(operation):
            host = request.headers.get("host", "localhost")
            return to_json(of_all(self._queues, fields, f"http://{host}/{ACCOUNT}/"))
        queue = self._queues.find(fields.get("QueueUrl", "").rpartition("/")[2])
        if operation == "ReceiveMessage":
            return self._receive(queue, fields)
        if of_messages := _OF_MESSAGES.get(operation):
            with self._disk.transaction():
                return to_json(of_messages(self, queue, fields))
        if of_queue := _OF_QUEUE.get(operation):
            return to_json(of_queue(self._queues, queue.name, fields))
        raise SQSError("InvalidAction", f"The local cloud does not support {operation}.")

    def _receive(self, queue: Queue, fields: Fields) -> Answer:
        """Answer at once if there are messages, or if the request does not wait."""
        limit = number(fields, "MaxNumberOfMessages", 1, MAX_BATCH, 1)
        default = self._default(queue, "VisibilityTimeout")
        lease = number(fields, "VisibilityTimeout", default, MAX_VISIBILITY_TIMEOUT_SECONDS)
        default = self._default(queue, "ReceiveMessageWaitTimeSeconds")
        wait = number(fields, "WaitTimeSeconds", default, MAX_WAIT_SECONDS)

        def take() -> list[Message]:
            with self._disk.transaction():
                return queue.receive(limit, lease)

        taken = take()
        if taken or not wait:
            return _received(taken, fields)
        return _receive_later(queue, take, wait, fields)

    def send(self, queue: Queue, fields: Fields) -> Fields:
        """Send one message."""
        check_body(fields)
        default = self._default(queue, "DelaySeconds")
        delay = number(fields, "DelaySeconds", default, MAX_DELAY_SECONDS)
        attributes = fields.get("MessageAttributes") or {}
        message = queue.send(fields["MessageBody"], attributes, delay)
        answer = {"MessageId": message.id, "MD5OfMessageBody": md5(message.body)}
        if attributes:
            answer["MD5OfMessageAttributes"] = md5_of_attributes(attributes)
        return answer

    def delete(self, queue: Queue, fields: Fields) -> Fields:
        """Delete one message."""
        queue.delete(fields.get("ReceiptHandle", ""))
        return {}

    def change(self, queue: Queue, fields: Fields) -> Fields:
        """Change one message's visibility."""
        most = MAX_VISIBILITY_TIMEOUT_SECONDS
        seconds = number(fields, "VisibilityTimeout", -1, most)
        queue.change_visibility(fields.get("ReceiptHandle", ""), seconds)
        return {}

    def _default(self, queue: Queue, name: str) -> int:
        return int(self._queues.attributes[queue.name].get(name, DEFAULTS[name]))


async def _receive_later(
    queue: Queue, take: Callable[[], list[Message]], seconds: float, fields: Fields
) -> Response:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    taken: list[Message] = []
    goes_on = True
    while goes_on and not taken and (left := deadline - loop.time()) > 0:
        goes_on = await queue.wait(left)
        taken = take()
    return _received(taken, fields)


def _received(taken: list[Message], fields: Fields) -> Response:
    named = [*fields.get("MessageSystemAttributeNames", ()), *fields.get("AttributeNames", ())]
    wanted = fields.get("MessageAttributeNames", ())
    messages = [_shown(message, named, wanted) for message in taken]
    return to_json({"Messages": messages} if messages else {})


def _shown(message: Message, named: list[str], wanted: list[str]) -> Fields:
    shown: dict[str, Any] = {
        "MessageId": message.id,
        "ReceiptHandle": message.receipt_handle,
        "MD5OfBody": md5(message.body),
        "Body": message.body,
    }
    if named:
        every = _system_attributes(message)
        shown["Attributes"] = {
            name: value for name, value in every.items() if name in named or "All" in named
        }
    if message.attributes and wanted:
        chosen = {
            name: value for name, value in message.attributes.items() if _is_wanted(name, wanted)
        }
        shown["MessageAttributes"] = chosen
        shown["MD5OfMessageAttributes"] = md5_of_attributes(chosen)
    return shown


def _is_wanted(name: str, wanted: list[str]) -> bool:
    prefixes = tuple(one[:-2] for one in wanted if one.endswith(".*"))
    return bool({"All", ".*", name} & {*wanted}) or name.startswith(prefixes)


def _system_attributes(message: Message) -> Mapping[str, str]:
    return {
        "SenderId": ACCOUNT,
        "SentTimestamp": str(int(message.sent_at * 1000)),
        "ApproximateReceiveCount": str(message.receives),
        "ApproximateFirstReceiveTimestamp": str(int(message.first_received * 1000)),
    }


OfMessages = Callable[[SQS, Queue, Fields], Fields]


def _each(one: OfMessages) -> OfMessages:
    """Turn a call into its batch form: one rejected entry does not spoil the others."""

    def batch(sqs: SQS, queue: Queue, fields: Fields) -> Fields:
        entries = fields.get("Entries", [])
        check_batch(entries)
        done: list[Fields] = []
        failed: list[Fields] = []
        for entry in entries:
            try:
                done.append({"Id": entry["Id"], **one(sqs, queue, entry)})
            except SQSError as error:
                failed.append(error.as_failed(entry["Id"]))
        return {"Successful": done, "Failed": failed}

    return batch


_OF_ALL: Mapping[str, Callable[[Queues, Fields, str], Fields]] = {
    "CreateQueue": Queues.create,
    "GetQueueUrl": Queues.get_url,
    "ListQueues": Queues.list,
}
_OF_QUEUE: Mapping[str, Callable[[Queues, str, Fields], Fields]] = {
    "DeleteQueue": Queues.delete,
    "GetQueueAttributes": Queues.get_attributes,
    "SetQueueAttributes": Queues.set_attributes,
    "PurgeQueue": Queues.purge,
    "TagQueue": Queues.tag,
    "UntagQueue": Queues.untag,
    "ListQueueTags": Queues.list_tags,
}
_OF_MESSAGES: Mapping[str, OfMessages] = {
    "SendMessage": SQS.send,
    "SendMessageBatch": _each(SQS.send),
    "DeleteMessage": SQS.delete,
    "DeleteMessageBatch": _each(SQS.delete),
    "ChangeMessageVisibility": SQS.change,
    "ChangeMessageVisibilityBatch": _each(SQS.change),
}
