"""A queue in SQS for an event loop, over its own connections.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from parallelize_core.errors import UnavailableError
from parallelize_core.queue import BATCH, Message, QueueCounts, batches
from parallelize_core.transport.answers import short_code
from parallelize_core.transport.client import Client, Request
from parallelize_core.transport.connection import Patience
from parallelize_core.transport.retries import ATTEMPTS, MAX_DELAY_SECONDS

ANSWER_SECONDS = 20.0
"""The time limit of a call that does not wait for messages."""

POLL_MARGIN_SECONDS = 10.0
"""The additional time that a long poll may take besides its wait for messages."""

_GONE = {"ReceiptHandleIsInvalid", "InvalidParameterValue", "MessageNotInflight"}
_COUNTS = {
    "visible": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}


class AsyncSQSQueue:
    """A standard queue; see `AsyncQueue` for what its methods promise; raises the error tree."""

    def __init__(self, url: str, connect: Callable[[], Awaitable[Client]]) -> None:
        self.url = url
        self._connect = connect
        self._client: Client | None = None

    async def send(self, bodies: Sequence[str], delay_seconds: int = 0) -> None:
        """Send messages, any number of them; returns when all are on the queue."""
        for batch in batches(bodies):
            entries = [{"MessageBody": body, "DelaySeconds": delay_seconds} for body in batch]
            await self._insist("send", "SendMessageBatch", entries)

    async def receive(self, limit: int, wait_seconds: int, lease_seconds: int) -> list[Message]:
        """Lease up to `limit` (1 to 10) messages; wait up to 20 s for the first."""
        answer = await self._call(
            "ReceiveMessage",
            {
                "MaxNumberOfMessages": min(limit, BATCH),
                "WaitTimeSeconds": wait_seconds,
                "VisibilityTimeout": lease_seconds,
                "MessageSystemAttributeNames": ["ApproximateReceiveCount"],
            },
            Patience(wait_seconds + POLL_MARGIN_SECONDS),
        )
        return [_message(item) for item in answer.get("Messages") or ()]

    async def extend(self, receipts: Sequence[str], lease_seconds: int) -> list[str]:
        """Renew leases from now on; answer the receipts whose lease is lost."""
        lost: list[str] = []
        for batch in batches(receipts):
            entries = [{"ReceiptHandle": r, "VisibilityTimeout": lease_seconds} for r in batch]
            failed = await self._batch("ChangeMessageVisibilityBatch", entries)
            _check("renew", [item for item in failed if not _gone(item)])
            lost += [batch[int(item["Id"])] for item in failed]
        return lost

    async def delete(self, receipts: Sequence[str]) -> None:
        """Acknowledge messages."""
        for batch in batches(receipts):
            entries = [{"ReceiptHandle": receipt} for receipt in batch]
            await self._insist("acknowledge", "DeleteMessageBatch", entries)

    async def counts(self) -> QueueCounts:
        """Count the messages, approximately."""
        answer = await self._call("GetQueueAttributes", {"AttributeNames": [*_COUNTS.values()]})
        found = answer.get("Attributes") or {}
        if not found.keys() >= set(_COUNTS.values()):
            raise UnavailableError("an answer of SQS is incomplete", f"it has only {sorted(found)}")
        return QueueCounts(**{field: int(found[name]) for field, name in _COUNTS.items()})

    async def _insist(self, verb: str, action: str, entries: list[dict[str, Any]]) -> None:
        """Make a batch call, and repeat it for entries that fail for a transient reason."""
        for attempt in range(1, ATTEMPTS + 1):
            failed = [item for item in await self._batch(action, entries) if not _gone(item)]
            # Entries that succeeded must not be repeated.
            entries = [entries[int(item["Id"])] for item in failed]
            if not failed:
                return
            if attempt == ATTEMPTS:
                _check(verb, failed)
            longest = min(MAX_DELAY_SECONDS, 0.1 * 2**attempt)
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - jitter

    async def _batch(self, action: str, entries: list[dict[str, Any]]) -> list[Any]:
        numbered = [{"Id": str(place), **entry} for place, entry in enumerate(entries)]
        answer = await self._call(action, {"Entries": numbered})
        if not answer.keys() & {"Successful", "Failed"}:
            raise UnavailableError("an answer of SQS is incomplete", "it names no message")
        return answer.get("Failed") or []

    async def _call(
        self, action: str, parameters: dict[str, Any], patience: Patience | None = None
    ) -> dict[str, Any]:
        if self._client is None:
            self._client = await self._connect()
        return await ask(self._client, action, {"QueueUrl": self.url, **parameters}, patience)


async def ask(
    client: Client, action: str, parameters: Mapping[str, Any], patience: Patience | None = None
) -> dict[str, Any]:
    """Make a call of SQS that names a queue by its URL or its name; raises the error tree."""
    body = json.dumps(parameters).encode()
    request = Request(
        "POST",
        "",
        f"the queue {parameters.get('QueueUrl') or parameters['QueueName']}",
        patience or Patience(ANSWER_SECONDS),
        headers=[
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", f"AmazonSQS.{action}"),
            ("x-amzn-query-mode", "true"),
        ],
        body=body,
        digest=hashlib.sha256(body).hexdigest(),
    )
    return _decoded((await client.call(request)).body)


def _decoded(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise UnavailableError("the server that answers is not SQS", str(error)) from error
    if not isinstance(answer, dict):
        raise UnavailableError(
            "the server that answers is not SQS", f"it sends a {type(answer).__name__}"
        )
    return answer


def _message(item: Any) -> Message:
    return Message(
        item["MessageId"],
        item["Body"],
        item["ReceiptHandle"],
        int((item.get("Attributes") or {}).get("ApproximateReceiveCount", 1)),
    )


def _gone(item: Any) -> bool:
    return short_code(item["Code"]) in _GONE


def _check(verb: str, failed: Sequence[Any]) -> None:
    if failed:
        first = failed[0]
        raise UnavailableError(
            f"SQS did not {verb} {len(failed)} messages",
            f"{first['Code']}: {first.get('Message') or 'no reason given'}",
        )
