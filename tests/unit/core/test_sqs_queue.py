"""What SQS says that no emulator does: batches of which only a part succeeds."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.stub import Stubber

from parallelize_core.boto_queue import SQSQueue
from parallelize_core.clients import Clients
from parallelize_core.errors import ServiceError
from parallelize_core.queue import Queue

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/queue"
LOST = {"SenderFault": True, "Code": "ReceiptHandleIsInvalid", "Message": "expired"}
BUSY = {"SenderFault": False, "Code": "InternalError", "Message": "try again"}


@pytest.fixture
def queue(clients: Clients) -> Queue:
    return clients.queue(URL)


def bodies(*texts: str) -> dict[str, object]:
    entries = [
        {"Id": str(place), "MessageBody": text, "DelaySeconds": 0}
        for place, text in enumerate(texts)
    ]
    return {"QueueUrl": URL, "Entries": entries}


def receipts(*handles: str, **more: int) -> dict[str, object]:
    entries = [
        {"Id": str(place), "ReceiptHandle": handle, **more} for place, handle in enumerate(handles)
    ]
    return {"QueueUrl": URL, "Entries": entries}


def answer(**failed: dict[str, object]) -> dict[str, object]:
    return {"Successful": [], "Failed": [{"Id": id_, **why} for id_, why in failed.items()]}


def test_only_the_messages_that_were_not_taken_are_sent_again(sqs: Stubber, queue: Queue) -> None:
    sqs.add_response(
        "send_message_batch", answer(**{"1": BUSY, "3": BUSY}), bodies("a", "b", "c", "d")
    )
    sqs.add_response("send_message_batch", answer(**{"0": BUSY}), bodies("b", "d"))
    sqs.add_response("send_message_batch", answer(), bodies("b"))
    queue.send(["a", "b", "c", "d"])


def test_a_message_that_is_never_taken_is_an_error_with_the_reason(
    sqs: Stubber, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for _ in range(8):
        sqs.add_response("send_message_batch", answer(**{"0": BUSY}))
    with pytest.raises(ServiceError, match="InternalError: try again"):
        queue.send(["a"])


def test_only_the_messages_that_may_still_be_there_are_deleted_again(
    sqs: Stubber, queue: Queue
) -> None:
    sqs.add_response(
        "delete_message_batch", answer(**{"0": LOST, "2": BUSY}), receipts("a", "b", "c")
    )
    sqs.add_response("delete_message_batch", answer(), receipts("c"))
    queue.delete(["a", "b", "c"])


@pytest.mark.parametrize(
    "code",
    [
        "ReceiptHandleIsInvalid",
        "InvalidParameterValue",
        "MessageNotInflight",
        "AWS.SimpleQueueService.MessageNotInflight",
        "InvalidParameterValueException",
    ],
)
def test_a_lost_lease_is_answered_by_its_receipt(sqs: Stubber, queue: Queue, code: str) -> None:
    sqs.add_response(
        "change_message_visibility_batch",
        answer(**{"1": {**LOST, "Code": code}}),
        receipts("a", "b", "c", VisibilityTimeout=120),
    )
    assert queue.extend(["a", "b", "c"], 120) == ["b"]


def test_a_renewal_that_may_succeed_later_is_an_error_and_not_a_lost_lease(
    sqs: Stubber, queue: Queue
) -> None:
    sqs.add_response("change_message_visibility_batch", answer(**{"0": LOST, "1": BUSY}))
    with pytest.raises(ServiceError, match="1 messages"):
        queue.extend(["a", "b"], 120)


def test_counts_that_break_off_are_an_error_that_may_pass(sqs: Stubber, queue: Queue) -> None:
    """A connection that ends within the headers leaves an answer of 200 without a body."""
    sqs.add_response("get_queue_attributes", {})
    with pytest.raises(ServiceError, match="is incomplete"):
        queue.counts()


class CutOnce:
    """What boto3 returns if the connection ends within the headers; the next answer is whole."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send_message_batch(self, **request: Any) -> dict[str, Any]:
        self.sent += [entry["MessageBody"] for entry in request["Entries"]]
        return {} if len(self.sent) == 1 else {"Successful": [{"Id": "0"}]}


def test_messages_whose_answer_breaks_off_are_sent_again() -> None:
    client: Any = CutOnce()
    SQSQueue(client, URL).send(["a"])
    assert client.sent == ["a", "a"]
