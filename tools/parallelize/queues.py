"""The run's queue and its dead-letter queue: creating, finding and deleting them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from parallelize.console import escape, say
from parallelize.together import Later, Together
from parallelize_core.boto_queue import SQSQueue
from parallelize_core.errors import AccessError, MissingError, UsageError
from parallelize_core.lane import EXTRA, Lane
from parallelize_core.layout import Location
from parallelize_core.names import Names
from parallelize_core.outlast import DELETED_QUEUE, NEW_QUEUE, Passing, outlast
from parallelize_core.queue import QueueCounts
from parallelize_core.translated import translated

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

    from parallelize_core.async_clients import AsyncClients

T = TypeVar("T")

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
    main, lanes = SQSQueue(sqs, _url(sqs, names.of_lane(Lane.MAIN).queue)).counts(), {}
    for lane in EXTRA:
        with suppress(MissingError):
            lanes[lane] = SQSQueue(sqs, _url(sqs, names.of_lane(lane).queue)).counts()
    return _run_counts(main, lanes)


async def ask_own_lanes(clients: AsyncClients, names: Names, place: str) -> RunCounts | None:
    """Return what `count_lanes` does, on an event loop; None if the run has no queue of its own.

    One of its name whose tag has another `place` is another run's.
    """
    # Errors are answers, so that no call goes on after that of another.
    main, *others = await asyncio.gather(
        _ask_counts(clients, names.of_lane(Lane.MAIN).queue, place),
        *(_ask_counts(clients, names.of_lane(lane).queue) for lane in EXTRA),
        return_exceptions=True,
    )
    if (found := _value(main)) is None:
        return None
    lanes = {lane: _value(counts) for lane, counts in zip(EXTRA, others, strict=True)}
    return _run_counts(found, {lane: counts for lane, counts in lanes.items() if counts})


async def _ask_counts(clients: AsyncClients, name: str, place: str = "") -> QueueCounts | None:
    try:
        url = await _ask_url(clients, name)
        if not place:
            return await clients.queue(url).counts()
        tag, counts = await asyncio.gather(
            _ask_tag(clients, url), clients.queue(url).counts(), return_exceptions=True
        )
        # The tag first: who may not count the messages of another run does not need to.
        return _value(counts) if _value(tag) in {None, place} else None
    except MissingError:
        return None


def _value(answer: T | BaseException) -> T:
    if isinstance(answer, BaseException):
        raise answer
    return answer


async def _ask_tag(clients: AsyncClients, url: str) -> str | None:
    # Who may count messages need not be allowed to read tags.
    with suppress(AccessError):
        return await _ask_place(clients, url)
    return None


def _run_counts(main: QueueCounts, lanes: Mapping[Lane, QueueCounts]) -> RunCounts:
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


async def ask_place(clients: AsyncClients, names: Names) -> str | None:
    """Return what `find_place` does, on an event loop."""
    try:
        url = await _ask_url(clients, names.of_lane(Lane.MAIN).queue)
        return await _ask_place(clients, url)
    except MissingError:
        return None


async def _ask_place(clients: AsyncClients, url: str) -> str | None:
    answer = await clients.ask_sqs("ListQueueTags", {"QueueUrl": url})
    with translated("SQS"):
        place: str | None = answer.get("Tags", {}).get(PLACE)
        return place


async def _ask_url(clients: AsyncClients, name: str) -> str:
    answer = await clients.ask_sqs("GetQueueUrl", {"QueueName": name})
    with translated("SQS"):
        return str(answer["QueueUrl"])


@translated("SQS")
def _place(sqs: SQSClient, url: str) -> str | None:
    return sqs.list_queue_tags(QueueUrl=url).get("Tags", {}).get(PLACE)


def make_queues(
    sqs: SQSClient,
    names: Names,
    tags: Mapping[str, str],
    lanes: Sequence[Lane] = (),
    calls: Together | None = None,
) -> Queues:
    """Create the queues, or bring existing ones up to date; the dead-letter queue first.

    When it returns, SQS knows all of them: a new queue cannot be used in its first second. Raises
    OthersQueueError if they are another run's, by the tag of its place. With `calls`, calls that do
    not depend on each other are made at the same time.
    """
    _check_lengths(names, lanes)
    there = find_place(sqs, names)
    if there and PLACE in tags and there != tags[PLACE]:
        raise others_queue(names.run, there)
    asking = _Asking(sqs, calls)
    dead = asking.create(names.dead_letter_queue, tags)()
    waiting = [
        asking.set_attributes(dead, {"MessageRetentionPeriod": str(MAX_RETENTION_SECONDS)}),
        asking.tag(dead, tags),
    ]
    arn = asking.arn(dead)
    made = {lane: asking.create(names.of_lane(lane).queue, tags) for lane in (Lane.MAIN, *lanes)}
    urls = {lane: url() for lane, url in made.items()}
    redrive = {"deadLetterTargetArn": arn(), "maxReceiveCount": _max_receives()}
    attributes = {
        "MessageRetentionPeriod": str(RETENTION_SECONDS),
        "RedrivePolicy": json.dumps(redrive),
    }
    for url in urls.values():
        waiting += [asking.set_attributes(url, attributes), asking.tag(url, tags)]
    for wait in waiting:
        wait()
    of_lanes = {lane: SQSQueue(sqs, url) for lane, url in urls.items()}
    return Queues(of_lanes.pop(Lane.MAIN), SQSQueue(sqs, dead), of_lanes)


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


@dataclass(frozen=True)
class _Asking:
    """Makes calls that set queues up, together with others if it can; each answer waits for SQS."""

    sqs: SQSClient
    calls: Together | None

    def create(self, name: str, tags: Mapping[str, str]) -> Later[str]:
        # CreateQueue fails if a queue of this name has other attributes, so they are set
        # afterwards. The tags are in the call, because an organization may require them.
        named: dict[str, Any] = {"QueueName": name, "tags": dict(tags)}
        return self._ask(
            DELETED_QUEUE, lambda answer: str(answer["QueueUrl"]), "create_queue", named
        )

    def set_attributes(self, url: str, attributes: Mapping[str, str]) -> Later[None]:
        changed = {**attributes, "SqsManagedSseEnabled": "true"}
        named = {"QueueUrl": url, "Attributes": changed}
        return self._ask(NEW_QUEUE, lambda _: None, "set_queue_attributes", named)

    def tag(self, url: str, tags: Mapping[str, str]) -> Later[None]:
        named = {"QueueUrl": url, "Tags": dict(tags)}
        return self._ask(NEW_QUEUE, lambda _: None, "tag_queue", named)

    def arn(self, url: str) -> Later[str]:
        def read(answer: Any) -> str:
            return str(answer["Attributes"]["QueueArn"])

        named = {"QueueUrl": url, "AttributeNames": ["QueueArn"]}
        return self._ask(NEW_QUEUE, read, "get_queue_attributes", named)

    def _ask(
        self, passing: Passing, read: Callable[[Any], T], method: str, named: dict[str, Any]
    ) -> Later[T]:
        """Make a call of boto3's `method`, again and again while it gives the passing answer."""
        begun = [self._begin(method, named)]

        def call() -> Any:
            return (begun.pop() if begun else self._begin(method, named))()

        def answer() -> T:
            found = outlast(passing, call, say)
            with translated("SQS"):
                return read(found)

        return answer

    def _begin(self, method: str, named: dict[str, Any]) -> Later[Any]:
        def alone() -> Any:
            with translated("SQS"):
                return getattr(self.sqs, method)(**named)

        if self.calls is None:
            return alone
        action = method.title().replace("_", "")
        return self.calls.add(lambda clients: clients.ask_sqs(action, named), alone)


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
