"""A queue in SQS by boto3, for callers that may block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from parallelize_core.errors import UnavailableError
from parallelize_core.queue import BATCH, Message, QueueCounts, batches
from parallelize_core.translated import translated

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

_GONE = {"ReceiptHandleIsInvalid", "InvalidParameterValue", "MessageNotInflight"}


class _BatchError(UnavailableError):
    """Some entries of a batch failed for a reason that may pass."""


def _insist(call: Callable[[list[dict[str, Any]]], None], entries: list[dict[str, Any]]) -> None:
    # Commands that only find or count queues need no retries of batches.
    from tenacity import (  # noqa: PLC0415
        Retrying,
        retry_if_exception_type,
        stop_after_attempt,
        wait_random_exponential,
    )

    insist = Retrying(
        retry=retry_if_exception_type(_BatchError),
        stop=stop_after_attempt(8),
        wait=wait_random_exponential(multiplier=0.1, max=5),
        reraise=True,
    )
    insist(call, entries)


class SQSQueue:
    """A standard queue in SQS, or in anything that speaks its protocol."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self.url = url

    def send(self, bodies: Sequence[str], delay_seconds: int = 0) -> None:
        """Send messages, any number of them; returns when all are on the queue."""
        with self._asked():
            for batch in batches(bodies):
                entries = [{"MessageBody": body, "DelaySeconds": delay_seconds} for body in batch]
                _insist(self._send, entries)

    def receive(self, limit: int, wait_seconds: int, lease_seconds: int) -> list[Message]:
        """Lease up to `limit` (1 to 10) messages; wait up to 20 s for the first."""
        with self._asked():
            answer = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=min(limit, BATCH),
                WaitTimeSeconds=wait_seconds,
                VisibilityTimeout=lease_seconds,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
            return [_message(item) for item in answer.get("Messages", ())]

    def extend(self, receipts: Sequence[str], lease_seconds: int) -> list[str]:
        """Renew leases from now on; answer the receipts whose lease is lost."""
        lost = []
        with self._asked():
            for batch in batches(receipts):
                entries = [{"ReceiptHandle": r, "VisibilityTimeout": lease_seconds} for r in batch]
                lost += [batch[place] for place in self._extend(entries)]
        return lost

    def delete(self, receipts: Sequence[str]) -> None:
        """Acknowledge messages."""
        with self._asked():
            for batch in batches(receipts):
                _insist(self._delete, [{"ReceiptHandle": receipt} for receipt in batch])

    def counts(self) -> QueueCounts:
        """Count the messages, approximately."""
        names = {
            "visible": "ApproximateNumberOfMessages",
            "in_flight": "ApproximateNumberOfMessagesNotVisible",
            "delayed": "ApproximateNumberOfMessagesDelayed",
        }
        with self._asked():
            answer: Any = self._client.get_queue_attributes(
                QueueUrl=self.url,
                AttributeNames=list(names.values()),  # type: ignore[arg-type]
            )
            found = answer.get("Attributes", {})
            if not found.keys() >= set(names.values()):
                raise UnavailableError(
                    "an answer of SQS is incomplete", f"it has only {sorted(found)}"
                )
            return QueueCounts(**{field: int(found[name]) for field, name in names.items()})

    def _asked(self) -> AbstractContextManager[None]:
        return translated("SQS", self.url)

    def _send(self, entries: list[dict[str, Any]]) -> None:
        answer = self._client.send_message_batch(QueueUrl=self.url, Entries=_numbered(entries))
        _check_whole(answer)
        failed = answer.get("Failed", ())
        # What was sent must not be sent again when the call is retried.
        entries[:] = [entries[int(item["Id"])] for item in failed]
        _check("send", failed)

    def _delete(self, entries: list[dict[str, Any]]) -> None:
        answer = self._client.delete_message_batch(QueueUrl=self.url, Entries=_numbered(entries))
        failed = [item for item in answer.get("Failed", ()) if not _gone(item)]
        entries[:] = [entries[int(item["Id"])] for item in failed]
        _check("acknowledge", failed)

    def _extend(self, entries: list[dict[str, Any]]) -> list[int]:
        answer = self._client.change_message_visibility_batch(
            QueueUrl=self.url, Entries=_numbered(entries)
        )
        _check_whole(answer)
        failed = answer.get("Failed", ())
        _check("renew", [item for item in failed if not _gone(item)])
        return [int(item["Id"]) for item in failed]


def _message(item: Any) -> Message:
    receives = item.get("Attributes", {}).get("ApproximateReceiveCount", 1)
    return Message(item["MessageId"], item["Body"], item["ReceiptHandle"], int(receives))


def _numbered(entries: Sequence[dict[str, Any]]) -> list[Any]:
    return [{"Id": str(place), **entry} for place, entry in enumerate(entries)]


def _gone(item: Any) -> bool:
    # The same code has a prefix in SQS's older protocol, and a suffix in some servers.
    return item["Code"].rpartition(".")[2].removesuffix("Exception") in _GONE


def _check_whole(answer: Any) -> None:
    """Raise a transient error for an empty answer, which a cut connection leaves."""
    if not answer.keys() & {"Successful", "Failed"}:
        raise _BatchError("an answer of SQS is incomplete", "it names no message")


def _check(verb: str, failed: Sequence[Any]) -> None:
    if failed:
        first = failed[0]
        raise _BatchError(
            f"SQS did not {verb} {len(failed)} messages",
            f"{first['Code']}: {first.get('Message', 'no reason given')}",
        )
