"""The run's queue and its dead-letter queue: creating, finding and deleting them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from parallelize.console import escape, say
from parallelize_core.boto_queue import SQSQueue
from parallelize_core.errors import MissingError, UsageError
from parallelize_core.lane import EXTRA, Lane
from parallelize_core.layout import Location
from parallelize_core.names import Names
from parallelize_core.outlast import DELETED_QUEUE, NEW_QUEUE, outlast
from parallelize_core.queue import QueueCounts
from parallelize_core.translated import translated

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

MAX_RETENTION_SECONDS = 14 * 24 * 60 * 60
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html"""

RETENTION_SECONDS = MAX_RETENTION_SECONDS - 4 * 24 * 60 * 60
"""The queue's own retention, four days less than the maximum.

A message that moves to the dead-letter queue keeps its age, so one that moves on its last day still
stays there for four days. The run may last longer than this: what expires has no result, and is
sent again.
"""

PLACE = "parallelize:place"
"""The tag that says where in S3 the run is: a name identifies a run only within a place."""

MAX_NAME_CHARACTERS = 80
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html"""

MAX_TAG_CHARACTERS = 256
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-queue-tags.html"""


def place_tag(root: Location) -> str:
    """Return the place of a run as the value of a tag, which does not allow all characters."""
    place = f"{root.bucket}/{root.prefix}"
    if len(place) <= MAX_TAG_CHARACTERS and re.fullmatch(r"[\w.:/=+@-]*", place, re.ASCII):
        return place
    return f"{root.bucket}/{hashlib.sha256(place.encode()).hexdigest()}"


@dataclass(frozen=True)
class Queues:
    """The run's queue and its dead-letter queue, and those of its other lanes."""

    main: SQSQueue
    dead: SQSQueue
    lanes: Mapping[Lane, SQSQueue] = field(default_factory=dict)

    def of(self, lane: Lane) -> SQSQueue:
        """Return the queue of a lane."""
        return self.main if lane is Lane.MAIN else self.lanes[lane]

    @property
    def urls(self) -> dict[Lane, str]:
        """The URLs of the queues of all lanes; empty if there is only one."""
        lanes = {lane: queue.url for lane, queue in self.lanes.items()}
        return {Lane.MAIN: self.main.url, **lanes} if lanes else {}

    def counts(self) -> QueueCounts:
        """Count the messages of all lanes, approximately."""
        return added([queue.counts() for queue in (self.main, *self.lanes.values())])


@dataclass(frozen=True)
class RunCounts(QueueCounts):
    """About how many messages a run has in all lanes, and in each besides the main one."""

    lanes: Mapping[Lane, QueueCounts] = field(default_factory=dict)

    @property
    def main(self) -> QueueCounts:
        """The counts of the main lane."""
        others = added(list(self.lanes.values()))
        return QueueCounts(
            self.visible - others.visible,
            self.in_flight - others.in_flight,
            self.delayed - others.delayed,
        )


def added(counts: Sequence[QueueCounts]) -> QueueCounts:
    """Return the sum of the counts of several queues."""
    return QueueCounts(
        sum(one.visible for one in counts),
        sum(one.in_flight for one in counts),
        sum(one.delayed for one in counts),
    )


class OthersQueueError(UsageError):
    """A queue of this name belongs to a run of the same name in another place."""


def others_queue(run: str, place: str) -> OthersQueueError:
    """Return the error for a name that a run in another place has."""
    return OthersQueueError(
        f"another run in this account has the name {run}: its data is in s3://{escape(place)}",
        "queues and machines are found by the run's name, so this run would use the other's",
        "--run NAME   gives your own run another name",
    )


def find_queues(sqs: SQSClient, names: Names, lanes: Sequence[Lane] = ()) -> Queues:
    """Return the run's queues; raise MissingError if one of them does not exist."""
    main, dead, *others = (SQSQueue(sqs, _url(sqs, name)) for name in _queue_names(names, lanes))
    return Queues(main, dead, dict(zip(lanes, others, strict=True)))


def count_lanes(sqs: SQSClient, names: Names) -> RunCounts:
    """Count the messages of all lanes that the run has, or had; MissingError if it has no queue."""
    main, lanes = find_queues(sqs, names).main.counts(), {}
    for lane in EXTRA:
        with suppress(MissingError):
            lanes[lane] = SQSQueue(sqs, _url(sqs, names.of_lane(lane).queue)).counts()
    return RunCounts(**vars(added([main, *lanes.values()])), lanes=lanes)


def _queue_names(names: Names, lanes: Sequence[Lane]) -> list[str]:
    main = names.of_lane(Lane.MAIN).queue
    return [main, names.dead_letter_queue, *(names.of_lane(lane).queue for lane in lanes)]


def _url(sqs: SQSClient, name: str) -> str:
    try:
        with translated("SQS"):
            return sqs.get_queue_url(QueueName=name)["QueueUrl"]
    except MissingError:
        raise MissingError(f"there is no queue {name} yet", fix="parallelize enqueue") from None


def find_place(sqs: SQSClient, names: Names) -> str | None:
    """Return the place of the run that has the queue of this name, as its tag says.

    None if there is no queue, or if an earlier version made it.
    """
    try:
        return _place(sqs, _url(sqs, names.of_lane(Lane.MAIN).queue))
    except MissingError:
        return None


@translated("SQS")
def _place(sqs: SQSClient, url: str) -> str | None:
    return sqs.list_queue_tags(QueueUrl=url).get("Tags", {}).get(PLACE)


def make_queues(
    sqs: SQSClient, names: Names, tags: Mapping[str, str], lanes: Sequence[Lane] = ()
) -> Queues:
    """Create the queues, or bring existing ones up to date; the dead-letter queue first.

    When it returns, SQS knows all of them: a new queue cannot be used in its first second. Raises
    OthersQueueError if they are another run's, by the tag of its place.
    """
    _check_lengths(names, lanes)
    there = find_place(sqs, names)
    if there and PLACE in tags and there != tags[PLACE]:
        raise others_queue(names.run, there)
    dead = _make(sqs, names.dead_letter_queue, tags, {
        "MessageRetentionPeriod": str(MAX_RETENTION_SECONDS),
    })  # fmt: skip
    redrive = {"deadLetterTargetArn": _arn(sqs, dead), "maxReceiveCount": _max_receives()}
    attributes = {
        "MessageRetentionPeriod": str(RETENTION_SECONDS),
        "RedrivePolicy": json.dumps(redrive),
    }
    made = {
        lane: SQSQueue(sqs, _make(sqs, names.of_lane(lane).queue, tags, attributes))
        for lane in (Lane.MAIN, *lanes)
    }
    return Queues(made.pop(Lane.MAIN), SQSQueue(sqs, dead), made)


def _max_receives() -> int:
    """Return when SQS itself moves a message to the dead-letter queue.

    The agent gives up far earlier, and records why; this is for messages whose every receiver died
    before it could do so.
    """
    from parallelize_core.config import AgentConfig  # noqa: PLC0415 - only new queues need it

    return 10 * int(AgentConfig.model_fields["max_receives"].default)


def _check_lengths(names: Names, lanes: Sequence[Lane]) -> None:
    longest = max(_queue_names(names, lanes), key=len)
    if (excess := len(longest) - MAX_NAME_CHARACTERS) > 0:
        raise UsageError(
            f"the name of the queue {longest} is too long: {len(longest)} characters",
            f"SQS allows {MAX_NAME_CHARACTERS} for the stack, the run and the lane together",
            f"--run NAME, shorter by {excess}",
        )


def _make(sqs: SQSClient, name: str, tags: Mapping[str, str], attributes: dict[str, str]) -> str:
    url = outlast(DELETED_QUEUE, lambda: _create(sqs, name, tags), say)
    outlast(NEW_QUEUE, lambda: _set_up(sqs, url, tags, attributes), say)
    return url


@translated("SQS")
def _create(sqs: SQSClient, name: str, tags: Mapping[str, str]) -> str:
    # CreateQueue fails if a queue of this name has other attributes, so they are set afterwards.
    # The tags are in the call, because an organization may require them.
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
    for name in _queue_names(names, EXTRA):
        try:
            with translated("SQS"):
                sqs.delete_queue(QueueUrl=_url(sqs, name))
        except MissingError:
            continue
        gone.append(name)
    return gone
