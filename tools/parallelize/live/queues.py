"""SQS: a queue's first second, batches, redelivery, old receipts, dead letters."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from parallelize.live.trial import Kind, Seen, Trial
from parallelize.queues import make_queues
from parallelize_core.boto_queue import SQSQueue
from parallelize_core.outlast import NEW_QUEUE, outlast
from parallelize_core.queue import BATCH, Message, Queue

CHECK = "queues"

LEASE_SECONDS = 3
"""Longer than a call takes, so that a message is still hidden at the next look."""

RECEIVES = 10
"""How often ten messages are requested: SQS returns only what a few servers have of a short queue.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
"""


def probe(trial: Trial) -> Iterator[Seen]:
    """Try what the protocol relies on."""
    yield use_at_once(trial)
    queues = make_queues(trial.client("sqs"), trial.names, trial.tags)
    yield from send_batches(trial, queues.main)
    yield from let_expire(trial, queues.main)
    yield redrive(trial, queues.dead)
    yield purge_twice(trial, queues.dead)
    yield make_again(trial, queues.dead)


def use_at_once(trial: Trial) -> Seen:
    """Use a queue right after CreateQueue, although AWS says to wait for a second."""
    url = make(trial, trial.names.queue)
    code = trial.code("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["QueueArn"])
    is_expected = not code or code in NEW_QUEUE.codes
    return Seen(CHECK, is_expected, f"used at once after creation: {code or 'it answers'}")


def send_batches(trial: Trial, queue: SQSQueue) -> Iterator[Seen]:
    """Send, receive and delete ten at a time; eleven are too many."""
    bodies = [f"{trial.run} {number}" for number in range(BATCH)]
    queue.send(bodies)
    messages = receive(queue, BATCH)
    queue.delete([message.receipt for message in messages])
    came = {message.body for message in messages}
    yield Seen(CHECK, came == set(bodies), f"a batch: {len(came)} of {BATCH} messages came back")
    entries = [{"Id": str(number), "MessageBody": trial.run} for number in range(BATCH + 1)]
    code = trial.code("sqs", "send_message_batch", QueueUrl=queue.url, Entries=entries)
    refused = code == "TooManyEntriesInBatchRequest"
    yield Seen(CHECK, refused, f"a batch of {BATCH + 1}: {code or 'accepted'}")


def let_expire(trial: Trial, queue: SQSQueue) -> Iterator[Seen]:
    """Let a lease expire; then try the old receipt, and that of a deleted message."""
    queue.send([f"{trial.run} expires"])
    leased = receive(queue, 1, LEASE_SECONDS)
    hidden = not queue.receive(1, 0, LEASE_SECONDS)
    time.sleep(LEASE_SECONDS)
    back = receive(queue, 1)
    if not (leased and back):
        yield Seen(CHECK, good=False, text="a message did not arrive in time")
        return
    first, second = leased[0], back[0]
    came_back = hidden and second.id == first.id and second.receives == first.receives + 1
    yield Seen(CHECK, came_back, "a message whose lease ran out: hidden first, then back")
    yield stale_receipt(queue, first, second)
    queue.delete([second.receipt])
    lost = queue.extend([second.receipt], LEASE_SECONDS)
    told = "refused" if lost else "accepted"
    yield Seen(CHECK, bool(lost), f"renewing a deleted message: {told}")


def stale_receipt(queue: Queue, first: Message, second: Message) -> Seen:
    """Use an old receipt: the protocol holds whether SQS accepts it or not, so both are good."""
    renewed = "refused" if queue.extend([first.receipt], LEASE_SECONDS) else "accepted"
    queue.delete([first.receipt])
    deleted = "works" if queue.extend([second.receipt], 60) else "does nothing"
    return Seen(CHECK, good=True, text=f"an old receipt: renewing is {renewed}, deleting {deleted}")


def redrive(trial: Trial, dead: SQSQueue) -> Seen:
    """Let SQS itself move a message that was received once too often."""
    policy = {"deadLetterTargetArn": arn_of(trial, dead.url), "maxReceiveCount": 1}
    attributes = {"RedrivePolicy": json.dumps(policy), "VisibilityTimeout": "1"}
    name = f"{trial.names.queue}-short"
    url = make(trial, name, Attributes=attributes)
    queue = SQSQueue(trial.client("sqs"), url)
    outlast(NEW_QUEUE, lambda: queue.send([f"{trial.run} dies"]))
    receive(queue, 1, 1)
    time.sleep(2)
    again = queue.receive(1, 1, 1)
    moved = receive(dead, 1)
    text = "moved" if moved else "not moved"
    return Seen(CHECK, bool(moved and not again), f"a message received once too often: {text}")


def purge_twice(trial: Trial, queue: SQSQueue) -> Seen:
    """Purge a queue twice within a minute, in which AWS allows it once."""
    codes = [trial.code("sqs", "purge_queue", QueueUrl=queue.url) for _ in range(2)]
    good = codes == ["", "PurgeQueueInProgress"]
    return Seen(CHECK, good, f"purged a second time: {codes[0] or codes[1] or 'accepted'}")


def make_again(trial: Trial, queue: SQSQueue) -> Seen:
    """Create a queue that was just deleted: its name stays taken for 60 s."""
    trial.call("sqs", "delete_queue", QueueUrl=queue.url)
    name = trial.names.dead_letter_queue
    code = trial.code("sqs", "create_queue", QueueName=name, tags=trial.tags)
    good = code == "QueueDeletedRecently"
    return Seen(CHECK, good, f"made again after deletion: {code or 'at once'}")


def make(trial: Trial, name: str, **given: dict[str, str]) -> str:
    """Create a queue, and return its URL."""
    answer = trial.call("sqs", "create_queue", QueueName=name, tags=trial.tags, **given)
    return str(answer["QueueUrl"])


def arn_of(trial: Trial, url: str) -> str:
    """Return a queue's ARN."""
    answer = trial.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["QueueArn"])
    return str(answer["Attributes"]["QueueArn"])


def receive(queue: Queue, count: int, lease_seconds: int = 60) -> list[Message]:
    """Return `count` messages, or as many as arrived in a while."""
    found: list[Message] = []
    for _ in range(RECEIVES):
        found += queue.receive(min(count - len(found), BATCH), 2, lease_seconds)
        if len(found) >= count:
            break
    return found


def find(trial: Trial) -> list[str]:
    """Return the URLs of the queues."""
    answer = trial.call("sqs", "list_queues", QueueNamePrefix=trial.names.queue)
    return list(answer.get("QueueUrls", ()))


def delete(trial: Trial, url: str) -> None:
    """Delete a queue; SQS may list it for a while afterwards."""
    trial.code("sqs", "delete_queue", QueueUrl=url)


KIND = Kind("queue", find, delete)
