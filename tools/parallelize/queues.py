"""The run's queue and its dead-letter queue: made, found, and taken away."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parallelize.console import escape, say
from parallelize_core.aws_errors import translated
from parallelize_core.boto_queue import SQSQueue
from parallelize_core.config import AgentConfig
from parallelize_core.errors import MissingError, UsageError
from parallelize_core.layout import Location
from parallelize_core.names import Names
from parallelize_core.outlast import DELETED_QUEUE, NEW_QUEUE, outlast

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

MAX_RETENTION_SECONDS = 14 * 24 * 60 * 60
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html"""

RETENTION_SECONDS = MAX_RETENTION_SECONDS - 4 * 24 * 60 * 60
"""The queue's own retention. A message that moves to the dead-letter queue keeps its age, so one
that moves on its last day still stays there four more. The run may last longer than this: what
expires has no result, and is sent again."""

MAX_RECEIVES = 10 * AgentConfig.model_fields["max_receives"].default
"""When SQS itself moves a message. The agent gives up far earlier, and writes down why; this is
for messages whose every receiver died before it could do so."""


PLACE = "parallelize:place"
"""The tag that says where in S3 the run lies: a name says which run it is only within a place."""

MAX_TAG_CHARACTERS = 256
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-queue-tags.html"""


def place_tag(root: Location) -> str:
    """Return the place of a run as the value of a tag, which may not have all characters."""
    place = f"{root.bucket}/{root.prefix}"
    if len(place) <= MAX_TAG_CHARACTERS and re.fullmatch(r"[\w.:/=+@-]*", place, re.ASCII):
        return place
    return f"{root.bucket}/{hashlib.sha256(place.encode()).hexdigest()}"


@dataclass(frozen=True)
class Queues:
    """The run's two queues."""

    main: SQSQueue
    dead: SQSQueue


class OthersQueueError(UsageError):
    """A queue of this name belongs to a run of the same name in another place."""


def others_queue(run: str, place: str) -> OthersQueueError:
    """Return the error for a name that a run in another place has."""
    return OthersQueueError(
        f"another run of this account is called {run}: it lies in s3://{escape(place)}",
        "queues and machines are found by the run's name, so theirs would be taken for yours",
        "--run NAME   gives your own run another name",
    )


def find_queues(sqs: SQSClient, names: Names) -> Queues:
    """Return the run's queues; raise MissingError if one of them is not there."""
    both = names.queue, names.dead_letter_queue
    return Queues(*(SQSQueue(sqs, _url(sqs, name)) for name in both))


@translated("SQS")
def _url(sqs: SQSClient, name: str) -> str:
    try:
        return sqs.get_queue_url(QueueName=name)["QueueUrl"]
    except sqs.exceptions.QueueDoesNotExist:
        raise MissingError(f"there is no queue {name} yet", fix="parallelize enqueue") from None


def find_place(sqs: SQSClient, names: Names) -> str | None:
    """Return where the run lies that has the queue of this name, as its tag says.

    None if there is no queue, or if it is a former version's.
    """
    try:
        return _place(sqs, _url(sqs, names.queue))
    except MissingError:
        return None


@translated("SQS")
def _place(sqs: SQSClient, url: str) -> str | None:
    return sqs.list_queue_tags(QueueUrl=url).get("Tags", {}).get(PLACE)


def make_queues(sqs: SQSClient, names: Names, tags: Mapping[str, str]) -> Queues:
    """Make both queues, or bring those that exist up to date; the dead-letter queue first.

    When it returns SQS knows both: a new queue cannot be used in its first second. Raises
    OthersQueueError if they are those of another run, by the tag of its place.
    """
    there = find_place(sqs, names)
    if there and PLACE in tags and there != tags[PLACE]:
        raise others_queue(names.run, there)
    dead = _make(sqs, names.dead_letter_queue, tags, {
        "MessageRetentionPeriod": str(MAX_RETENTION_SECONDS),
    })  # fmt: skip
    redrive = {"deadLetterTargetArn": _arn(sqs, dead), "maxReceiveCount": MAX_RECEIVES}
    main = _make(sqs, names.queue, tags, {
        "MessageRetentionPeriod": str(RETENTION_SECONDS),
        "RedrivePolicy": json.dumps(redrive),
    })  # fmt: skip
    return Queues(SQSQueue(sqs, main), SQSQueue(sqs, dead))


def _make(sqs: SQSClient, name: str, tags: Mapping[str, str], attributes: dict[str, str]) -> str:
    url = outlast(DELETED_QUEUE, lambda: _create(sqs, name, tags), say)
    outlast(NEW_QUEUE, lambda: _set_up(sqs, url, tags, attributes), say)
    return url


@translated("SQS")
def _create(sqs: SQSClient, name: str, tags: Mapping[str, str]) -> str:
    # CreateQueue fails if a queue of this name has other attributes, so they are set afterwards.
    # It has the tags, too: an organization may let nobody make a thing without some.
    return sqs.create_queue(QueueName=name, tags=dict(tags))["QueueUrl"]


@translated("SQS")
def _set_up(
    sqs: SQSClient, url: str, tags: Mapping[str, str], attributes: Mapping[str, str]
) -> None:
    changed: Any = {**attributes, "SqsManagedSseEnabled": "true"}
    sqs.set_queue_attributes(QueueUrl=url, Attributes=changed)
    sqs.tag_queue(QueueUrl=url, Tags=dict(tags))


@translated("SQS")
def _arn(sqs: SQSClient, url: str) -> str:
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return answer["Attributes"]["QueueArn"]


def delete_queues(sqs: SQSClient, names: Names) -> list[str]:
    """Delete those of the run's queues that exist; return their names."""
    gone = []
    for name in (names.queue, names.dead_letter_queue):
        try:
            with translated("SQS"):
                sqs.delete_queue(QueueUrl=_url(sqs, name))
        except MissingError:
            continue
        gone.append(name)
    return gone
