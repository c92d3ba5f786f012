"""The local cloud's SQS through boto3: what a consumer may rely on, as with AWS."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from tests.functional.local.helpers import until

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import MessageTypeDef

MIB = 1024 * 1024


def send(sqs: SQSClient, queue: str, *bodies: str) -> None:
    for start in range(0, len(bodies), 10):
        entries = [
            {"Id": str(number), "MessageBody": body}
            for number, body in enumerate(bodies[start : start + 10])
        ]
        answer = sqs.send_message_batch(QueueUrl=queue, Entries=entries)
        assert len(answer["Successful"]) == len(entries)


def receive(sqs: SQSClient, queue: str, *, lease: int = 30, wait: int = 0) -> list[MessageTypeDef]:
    answer = sqs.receive_message(
        QueueUrl=queue,
        MaxNumberOfMessages=10,
        VisibilityTimeout=lease,
        WaitTimeSeconds=wait,
        MessageSystemAttributeNames=["All"],
        MessageAttributeNames=["All"],
    )
    return answer.get("Messages", [])


def receive_one(sqs: SQSClient, queue: str, *, lease: int = 30, wait: int = 0) -> MessageTypeDef:
    (message,) = receive(sqs, queue, lease=lease, wait=wait)
    return message


def counts(sqs: SQSClient, queue: str) -> tuple[int, int, int]:
    """Messages visible, in flight, delayed."""
    names = ["", "NotVisible", "Delayed"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    visible, in_flight, delayed = (
        int(attributes[f"ApproximateNumberOfMessages{name}"]) for name in names
    )
    return visible, in_flight, delayed


def error_code(refused: pytest.ExceptionInfo[ClientError]) -> str:
    return refused.value.response["Error"]["Code"]


def queue_with_dead_letters(sqs: SQSClient, tries: int) -> tuple[str, str]:
    dead = sqs.create_queue(QueueName=f"dead-{uuid4()}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]
    policy = {"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": tries}
    attributes = {"RedrivePolicy": json.dumps(policy)}
    return sqs.create_queue(QueueName=f"q-{uuid4()}", Attributes=attributes)["QueueUrl"], dead


def test_a_message_comes_back_as_it_was_sent(sqs: SQSClient, queue: str) -> None:
    attributes = {"colour": {"DataType": "String", "StringValue": "blue"}}
    sqs.send_message(QueueUrl=queue, MessageBody="grüße", MessageAttributes=attributes)
    message = receive_one(sqs, queue)
    assert message["Body"] == "grüße"
    assert message["MessageAttributes"]["colour"]["StringValue"] == "blue"
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"


def test_messages_are_received_in_the_order_sent(sqs: SQSClient, queue: str) -> None:
    bodies = [str(number) for number in range(10)]
    send(sqs, queue, *bodies)
    assert [message["Body"] for message in receive(sqs, queue)] == bodies


def test_counts_follow_each_message(sqs: SQSClient, queue: str) -> None:
    send(sqs, queue, "a", "b")
    sqs.send_message(QueueUrl=queue, MessageBody="c", DelaySeconds=60)
    assert counts(sqs, queue) == (2, 0, 1)
    first, second = receive(sqs, queue)
    assert counts(sqs, queue) == (0, 2, 1)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=first["ReceiptHandle"])
    sqs.change_message_visibility(
        QueueUrl=queue, ReceiptHandle=second["ReceiptHandle"], VisibilityTimeout=0
    )
    assert counts(sqs, queue) == (1, 0, 1)


def poll(pool: ThreadPoolExecutor, sqs: SQSClient, queue: str) -> Future[list[MessageTypeDef]]:
    """A long poll that has found nothing so far."""
    waiting = pool.submit(receive, sqs, queue, wait=20)
    assert counts(sqs, queue)[0] == 0
    assert not waiting.done()
    return waiting


def test_a_long_poll_wakes_for_a_message_that_is_sent(sqs: SQSClient, queue: str) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = poll(pool, sqs, queue)
        sqs.send_message(QueueUrl=queue, MessageBody="wake up")
        assert waiting.result(timeout=10)[0]["Body"] == "wake up"


def test_a_long_poll_wakes_for_a_message_that_is_handed_back(sqs: SQSClient, queue: str) -> None:
    send(sqs, queue, "mine")
    handle = receive_one(sqs, queue)["ReceiptHandle"]
    with ThreadPoolExecutor() as pool:
        waiting = poll(pool, sqs, queue)
        sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=0)
        assert waiting.result(timeout=10)[0]["Body"] == "mine"


def test_a_long_poll_wakes_when_a_lease_runs_out(sqs: SQSClient, queue: str) -> None:
    send(sqs, queue, "lost")
    receive_one(sqs, queue, lease=1)
    message = receive_one(sqs, queue, wait=20)
    assert message["Attributes"]["ApproximateReceiveCount"] == "2"


def test_a_long_poll_wakes_when_a_delay_ends(sqs: SQSClient, queue: str) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="later", DelaySeconds=1)
    assert receive(sqs, queue) == []
    assert receive_one(sqs, queue, wait=20)["Body"] == "later"


def test_a_poll_of_an_empty_queue_ends_empty(sqs: SQSClient, queue: str) -> None:
    assert receive(sqs, queue, wait=1) == []


def test_a_renewed_lease_lasts_longer_than_the_first(sqs: SQSClient, queue: str) -> None:
    send(sqs, queue, "kept", "lost")
    kept, lost = receive(sqs, queue, lease=1)
    entry = {"Id": "a", "ReceiptHandle": kept["ReceiptHandle"], "VisibilityTimeout": 60}
    answer = sqs.change_message_visibility_batch(QueueUrl=queue, Entries=[entry])
    assert [changed["Id"] for changed in answer["Successful"]] == ["a"]
    assert receive_one(sqs, queue, wait=20)["MessageId"] == lost["MessageId"]
    assert counts(sqs, queue) == (0, 2, 0)


def test_a_lease_that_ran_out_cannot_be_renewed(sqs: SQSClient, queue: str) -> None:
    send(sqs, queue, "lost")
    handle = receive_one(sqs, queue, lease=0)["ReceiptHandle"]
    with pytest.raises(sqs.exceptions.MessageNotInflight):
        sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=60)
    assert counts(sqs, queue) == (1, 0, 0)


def test_a_lease_that_another_has_cannot_be_renewed(sqs: SQSClient, queue: str) -> None:
    send(sqs, queue, "contested")
    old = receive_one(sqs, queue, lease=0)["ReceiptHandle"]
    receive_one(sqs, queue)
    with pytest.raises(ClientError, match="not available for visibility timeout") as refused:
        sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=old, VisibilityTimeout=0)
    assert error_code(refused) == "InvalidParameterValue"


def test_one_refused_renewal_spoils_no_other(sqs: SQSClient, queue: str) -> None:
    send(sqs, queue, "deleted", "kept")
    deleted, kept = receive(sqs, queue)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=deleted["ReceiptHandle"])
    entries = [
        {"Id": name, "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 60}
        for name, message in {"deleted": deleted, "kept": kept}.items()
    ]
    answer = sqs.change_message_visibility_batch(QueueUrl=queue, Entries=entries)
    assert [changed["Id"] for changed in answer["Successful"]] == ["kept"]
    assert [(e["Id"], e["Code"]) for e in answer["Failed"]] == [
        ("deleted", "InvalidParameterValue")
    ]


def test_no_lease_lasts_longer_than_twelve_hours(sqs: SQSClient, queue: str) -> None:
    send(sqs, queue, "long")
    handle = receive_one(sqs, queue)["ReceiptHandle"]
    with pytest.raises(ClientError, match="43200"):
        sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=43200)


def test_an_old_handle_deletes_nothing(sqs: SQSClient, queue: str) -> None:
    send(sqs, queue, "contested")
    old = receive_one(sqs, queue, lease=0)["ReceiptHandle"]
    new = receive_one(sqs, queue)["ReceiptHandle"]
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=old)
    assert counts(sqs, queue) == (0, 1, 0)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=new)
    assert counts(sqs, queue) == (0, 0, 0)


def test_a_message_may_be_deleted_twice(sqs: SQSClient, queue: str) -> None:
    send(sqs, queue, "done")
    entry = {"Id": "a", "ReceiptHandle": receive_one(sqs, queue)["ReceiptHandle"]}
    for _ in range(2):
        answer = sqs.delete_message_batch(QueueUrl=queue, Entries=[entry])
        assert len(answer["Successful"]) == 1


def test_a_message_whose_lease_ran_out_can_still_be_deleted(sqs: SQSClient, queue: str) -> None:
    send(sqs, queue, "done", "next")
    late, _ = receive(sqs, queue, lease=0)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=late["ReceiptHandle"])
    assert receive_one(sqs, queue)["Body"] == "next"


def test_a_handle_that_never_was_is_refused(sqs: SQSClient, queue: str) -> None:
    with pytest.raises(sqs.exceptions.ReceiptHandleIsInvalid):
        sqs.delete_message(QueueUrl=queue, ReceiptHandle="made-up")


def test_a_message_received_too_often_goes_to_the_dead_letters(sqs: SQSClient) -> None:
    queue, dead = queue_with_dead_letters(sqs, tries=2)
    send(sqs, queue, "poison")
    sent_at = receive_one(sqs, queue, lease=0)["Attributes"]["SentTimestamp"]
    receive_one(sqs, queue, lease=0)
    assert counts(sqs, dead) == (0, 0, 0), "the move happens at the next receive"
    assert receive(sqs, queue) == []
    message = receive_one(sqs, dead)
    assert message["Body"] == "poison"
    assert message["Attributes"]["SentTimestamp"] == sent_at
    assert counts(sqs, queue) == (0, 0, 0)


def test_dead_letters_do_not_wait_for_the_end_of_a_long_poll(sqs: SQSClient) -> None:
    queue, dead = queue_with_dead_letters(sqs, tries=1)
    send(sqs, queue, "poison")
    receive_one(sqs, queue, lease=0)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(receive, sqs, queue, wait=20)
        assert receive_one(sqs, dead, wait=20)["Body"] == "poison"
        assert not waiting.done()
        send(sqs, queue, "next")
        assert waiting.result(timeout=10)[0]["Body"] == "next"


def test_one_megabyte_is_the_limit(sqs: SQSClient, queue: str) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="x" * MIB)
    assert len(receive_one(sqs, queue)["Body"]) == MIB
    with pytest.raises(ClientError):
        sqs.send_message(QueueUrl=queue, MessageBody="x" * (MIB + 1))
    with pytest.raises(ClientError) as refused:
        send(sqs, queue, "x" * (MIB // 2), "x" * (MIB // 2 + 1))
    assert "BatchRequestTooLong" in error_code(refused)


def test_ten_messages_are_the_most_in_a_batch(sqs: SQSClient, queue: str) -> None:
    entries = [{"Id": str(number), "MessageBody": "x"} for number in range(11)]
    with pytest.raises(ClientError) as refused:
        sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    assert "TooManyEntriesInBatchRequest" in error_code(refused)
    with pytest.raises(ClientError):
        sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=11)


def test_a_purge_takes_every_message_whatever_its_state(sqs: SQSClient, queue: str) -> None:
    send(sqs, queue, "in flight")
    receive_one(sqs, queue)
    send(sqs, queue, "visible")
    sqs.send_message(QueueUrl=queue, MessageBody="delayed", DelaySeconds=60)
    assert counts(sqs, queue) == (1, 1, 1)
    sqs.purge_queue(QueueUrl=queue)
    assert counts(sqs, queue) == (0, 0, 0)


def test_messages_vanish_after_the_retention_period(sqs: SQSClient, queue: str) -> None:
    send(sqs, queue, "waiting", "in flight")
    # moto takes any period here, AWS none below a minute.
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"MessageRetentionPeriod": "1"})
    until(lambda: counts(sqs, queue) == (0, 0, 0))
    assert receive(sqs, queue) == []


def test_a_fifo_queue_is_refused(sqs: SQSClient) -> None:
    with pytest.raises(ClientError, match="standard queues only"):
        sqs.create_queue(QueueName=f"{uuid4()}.fifo", Attributes={"FifoQueue": "true"})


def test_sixteen_consumers_share_two_thousand_messages_without_duplicates(
    sqs: SQSClient, queue: str
) -> None:
    bodies = [str(number) for number in range(2_000)]
    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(lambda at: send(sqs, queue, *bodies[at : at + 10]), range(0, 2_000, 10)))
        received = Counter(
            body for part in pool.map(lambda _: consume(sqs, queue), range(16)) for body in part
        )
    assert received == Counter(bodies)
    assert counts(sqs, queue) == (0, 0, 0)


def consume(sqs: SQSClient, queue: str) -> list[str]:
    """Receive and delete until there is nothing left."""
    bodies = []
    while messages := receive(sqs, queue, lease=60):
        bodies += [message["Body"] for message in messages]
        entries = [
            {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
            for number, message in enumerate(messages)
        ]
        sqs.delete_message_batch(QueueUrl=queue, Entries=entries)
    return bodies
