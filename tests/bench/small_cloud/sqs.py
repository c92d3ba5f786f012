"""SQS in memory, by its JSON protocol: leases, long polling, batches, delays, counts."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.bench.small_cloud.http import Answer, Request, Response
from tests.bench.small_cloud.message_queue import Lease, Message, MessageQueue

TYPE = "application/x-amz-json-1.0"
PREFIX = "AmazonSQS."
ACCOUNT = "000000000000"
DEFAULT_LEASE_SECONDS = 30
Fields = Mapping[str, Any]


class SQSError(Exception):
    """An answer that is an error; `code` is SQS's word for it."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code

    @property
    def response(self) -> Response:
        """The error as SQS words it."""
        return _json({"__type": f"com.amazonaws.sqs#{self.code}", "message": self.code}, 400)


class SQS:
    """All queues, by name."""

    def __init__(self) -> None:
        self.queues: dict[str, MessageQueue] = {}

    def handle(self, operation: str, request: Request) -> Answer:
        """Answer one request."""
        fields = json.loads(request.body or b"{}")
        host = request.headers.get("host", "localhost")
        try:
            if operation in self._of_all:
                return _json(self._of_all[operation](self, fields, f"http://{host}/{ACCOUNT}/"))
            queue = self._queue(fields["QueueUrl"])
            if operation == "ReceiveMessage":
                return receive(queue, fields)
            return _json(_OF_ONE.get(operation, _unknown)(queue, fields))
        except SQSError as error:
            return error.response

    def _queue(self, url: str) -> MessageQueue:
        found = self.queues.get(url.rpartition("/")[2])
        if found is None:
            raise SQSError("QueueDoesNotExist")
        return found

    def _create(self, fields: Fields, base: str) -> Fields:
        name = fields["QueueName"]
        self.queues.setdefault(name, MessageQueue()).attributes |= fields.get("Attributes", {})
        return {"QueueUrl": base + name}

    def _find(self, fields: Fields, base: str) -> Fields:
        self._queue(fields["QueueName"])
        return {"QueueUrl": base + fields["QueueName"]}

    def _list(self, fields: Fields, base: str) -> Fields:
        prefix = fields.get("QueueNamePrefix", "")
        return {"QueueUrls": [base + name for name in self.queues if name.startswith(prefix)]}

    def _delete(self, fields: Fields, base: str) -> Fields:
        self._queue(fields["QueueUrl"])
        del self.queues[fields["QueueUrl"].rpartition("/")[2]]
        return {}

    _of_all: Mapping[str, Callable[[SQS, Fields, str], Fields]] = {
        "CreateQueue": _create,
        "GetQueueUrl": _find,
        "ListQueues": _list,
        "DeleteQueue": _delete,
    }


def receive(queue: MessageQueue, fields: Fields) -> Answer:
    """Answer at once if there is something, or nothing is to be waited for."""
    limit = int(fields.get("MaxNumberOfMessages", 1))
    lease = float(fields.get("VisibilityTimeout", DEFAULT_LEASE_SECONDS))
    wait = float(fields.get("WaitTimeSeconds", 0))
    if (leased := queue.receive(limit, lease)) or not wait:
        return _received(leased)
    return _receive_later(queue, limit, lease, time.monotonic() + wait)


async def _receive_later(
    queue: MessageQueue, limit: int, lease_seconds: float, deadline: float
) -> Response:
    leased: list[Lease] = []
    while not leased and (left := deadline - time.monotonic()) > 0:
        await queue.wait(left)
        leased = queue.receive(limit, lease_seconds)
    return _received(leased)


def _received(leases: list[Lease]) -> Response:
    messages = [_shown(lease.message, lease.receipt) for lease in leases]
    return _json({"Messages": messages} if messages else {})


def _shown(message: Message, receipt: str) -> Fields:
    return {
        "MessageId": message.id,
        "ReceiptHandle": receipt,
        "MD5OfBody": _md5(message.body),
        "Body": message.body,
        "Attributes": {"ApproximateReceiveCount": str(message.receives)},
    }


def _send(queue: MessageQueue, fields: Fields) -> Fields:
    message = queue.send(fields["MessageBody"], float(fields.get("DelaySeconds", 0)))
    return {"MessageId": message.id, "MD5OfMessageBody": _md5(message.body)}


def _delete(queue: MessageQueue, fields: Fields) -> Fields:
    queue.delete(fields["ReceiptHandle"])
    return {}


def _change(queue: MessageQueue, fields: Fields) -> Fields:
    if not queue.change(fields["ReceiptHandle"], float(fields["VisibilityTimeout"])):
        raise SQSError("ReceiptHandleIsInvalid")
    return {}


def _each(one: Callable[[MessageQueue, Fields], Fields]) -> Callable[..., Fields]:
    """Make the batch call of a call."""

    def batch(queue: MessageQueue, fields: Fields) -> Fields:
        done: list[Fields] = []
        failed: list[Fields] = []
        for entry in fields["Entries"]:
            try:
                done.append({"Id": entry["Id"], **one(queue, entry)})
            except SQSError as error:
                failed.append({"Id": entry["Id"], "Code": error.code, "SenderFault": True})
        return {"Successful": done, "Failed": failed}

    return batch


def _attributes(queue: MessageQueue, fields: Fields) -> Fields:
    counts = queue.counts()
    return {
        "Attributes": {
            **queue.attributes,
            "ApproximateNumberOfMessages": str(counts.visible),
            "ApproximateNumberOfMessagesNotVisible": str(counts.leased),
            "ApproximateNumberOfMessagesDelayed": str(counts.delayed),
            "QueueArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:queue",
        }
    }


def _set_attributes(queue: MessageQueue, fields: Fields) -> Fields:
    queue.attributes |= fields.get("Attributes", {})
    return {}


def _purge(queue: MessageQueue, fields: Fields) -> Fields:
    queue.purge()
    return {}


def _unknown(queue: MessageQueue, fields: Fields) -> Fields:
    raise SQSError("InvalidAction")


_OF_ONE: Mapping[str, Callable[[MessageQueue, Fields], Fields]] = {
    "SendMessage": _send,
    "SendMessageBatch": _each(_send),
    "DeleteMessage": _delete,
    "DeleteMessageBatch": _each(_delete),
    "ChangeMessageVisibility": _change,
    "ChangeMessageVisibilityBatch": _each(_change),
    "GetQueueAttributes": _attributes,
    "SetQueueAttributes": _set_attributes,
    "PurgeQueue": _purge,
    "TagQueue": lambda queue, fields: {},
    "ListQueueTags": lambda queue, fields: {"Tags": {}},
}


def operation_of(request: Request) -> str | None:
    """Return what SQS calls a request; None if it is not for SQS."""
    target = request.headers.get("x-amz-target", "")
    return target.removeprefix(PREFIX) if target.startswith(PREFIX) else None


def _md5(body: str) -> str:
    return hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()


def _json(fields: Fields, status: int = 200) -> Response:
    return Response(status, json.dumps(fields).encode(), content_type=TYPE)
