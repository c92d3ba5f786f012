"""Answers that AWS gives for a while about new, just deleted or busy things; and how long we wait.

AWS's services are eventually consistent: a call may not find what the previous one made, and a name
may stay taken after its owner is gone. Each `Passing` below is one such answer, with how long we
wait; if AWS names no time, several times what is usual. We wait as long for refusals because of too
many calls, once botocore's own tries are used up (`clients.client_config`).

    outlast(NEW_QUEUE, lambda: sqs.set_queue_attributes(...))
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from parallelize_core.errors import ParallelizeError, ThrottledError, code_of

T = TypeVar("T")

TELL_AFTER_SECONDS = 5.0
MAX_PAUSE_SECONDS = 5.0


class Passing(NamedTuple):
    """An answer that passes by itself: error codes, perhaps with `words`, for up to `seconds`."""

    what: str
    codes: frozenset[str]
    seconds: float
    words: str = ""

    def covers(self, error: ParallelizeError) -> bool:
        """Whether an error is this answer. SQS's older names begin with a namespace."""
        code = code_of(error)
        known = code in self.codes or code.rpartition(".")[2] in self.codes
        return known and self.words in str(error.why or error.what)


NEW_QUEUE = Passing(
    "SQS does not know the new queue yet",
    frozenset({"NonExistentQueue", "QueueDoesNotExist"}), 30,
)  # fmt: skip
"""At least a second has to pass before a queue is used.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html
"""

DELETED_QUEUE = Passing(
    "the queue was deleted a moment ago, and SQS keeps its name for 60 s",
    frozenset({"QueueDeletedRecently"}), 75,
)  # fmt: skip
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteQueue.html"""

NEW_BUCKET = Passing(
    "S3 does not know the new bucket everywhere yet",
    frozenset({"NoSuchBucket", "OperationAborted"}), 60,
)  # fmt: skip
"""For a bucket's settings: each may come too early, or while another still takes effect.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel
"""

NEW_TEMPLATE = Passing(
    "EC2 does not know the new launch template yet",
    frozenset({"InvalidLaunchTemplateId.NotFound", "InvalidLaunchTemplateId.VersionNotFound",
               "InvalidLaunchTemplateName.NotFoundException"}), 30,
)  # fmt: skip
"""https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html"""

NAMED_TEMPLATE = Passing(
    "EC2 does not describe the new launch template yet",
    frozenset({"InvalidLaunchTemplateName.AlreadyExistsException",
               "InvalidLaunchTemplateName.NotFoundException"}), 30,
)  # fmt: skip
"""The name is taken, but does not find its owner yet.

https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
"""

GROUP_TEMPLATE = Passing(
    "Auto Scaling does not know the new launch template yet",
    frozenset({"ValidationError"}), 30, "does not exist",
)  # fmt: skip
"""It asks EC2: https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html"""

NEW_PROFILE = Passing(
    "EC2 does not know the workers' instance profile yet, or parallelize setup has not made it",
    frozenset(), 30,
)  # fmt: skip
"""A fleet lists it among its errors.

https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html (eventual consistency)
"""

GROUP_PROFILE = Passing(
    NEW_PROFILE.what, frozenset({"ValidationError"}), NEW_PROFILE.seconds, "iamInstanceProfile"
)
"""The same, in Auto Scaling's words."""

NEW_ROLE = Passing(
    "KMS does not know Auto Scaling's new role yet", frozenset({"InvalidArnException"}), 60
)
"""https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html (eventual consistency)"""

NEW_MACHINE = Passing(
    "EC2 does not know a new machine everywhere yet", frozenset({"InvalidInstanceID.NotFound"}), 30
)
"""It is already described; but if several are to be terminated, none is.

https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
"""

USED_SNAPSHOT = Passing(
    "EC2 still counts the snapshot as used by the image", frozenset({"InvalidSnapshot.InUse"}), 30
)
"""https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html"""

DELETED_GROUP = Passing(
    "AWS is still deleting the run's former Auto Scaling group",
    frozenset({"AlreadyExists"}), 10 * 60, "pending delete",
)  # fmt: skip
"""A group's name stays taken until the last of its machines has ended.

https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DeleteAutoScalingGroup.html
"""

BUSY_GROUP = Passing(
    "the Auto Scaling group is starting or ending machines",
    frozenset({"ScalingActivityInProgress", "ResourceContention", "ResourceInUse"}), 2 * 60,
)  # fmt: skip
"""https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_UpdateAutoScalingGroup.html"""

MANY_CALLS = "AWS is throttling calls"

BUSY = Passing(MANY_CALLS, frozenset(), 60)
"""About as long as botocore's eight tries of one call take: `clients.client_config`."""

REFUSED_CALLS = Passing("EC2 is throttling calls", frozenset({"RequestLimitExceeded"}), 5 * 60)
"""For terminations, the token bucket holds 1,000 and gains 20 per second: 50 s refill it.

https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
"""

NEW_STREAM = Passing(
    "CloudWatch does not know the new log stream yet",
    frozenset({"ResourceNotFoundException"}), 30,
)  # fmt: skip
"""https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html"""

NEW_ALARM = Passing(
    "CloudWatch does not describe the new alarm yet", frozenset({"ResourceNotFound"}), 30
)
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html"""

DELETED_LISTED = Passing("AWS still lists what was deleted", frozenset(), 3 * 60)
"""SQS takes 60 s to delete a queue; a group goes when its last activity has ended.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteQueue.html
"""


def outlast(
    passing: Passing,
    call: Callable[[], T],
    tell: Callable[[str], None] = lambda _: None,
    early: Callable[[T], bool] = lambda _: False,
) -> T:
    """Return a call's result; repeat the call as long as it gives only the passing answer.

    `early` recognizes an answer that is not an error but comes too early. `tell` is called once
    with the reason if the wait takes more than a few seconds. Raises what the call raises: any
    other error at once, this one and ThrottledError after `passing.seconds`.
    """
    begun = time.monotonic()
    telling = [tell]
    for pause in pauses():
        last = time.monotonic() - begun >= passing.seconds
        what = passing.what
        try:
            answer = call()
            if last or not early(answer):
                return answer
        except ParallelizeError as error:
            is_meant = passing.covers(error)
            if last or not (is_meant or isinstance(error, ThrottledError)):
                raise
            what = passing.what if is_meant else MANY_CALLS
        if time.monotonic() - begun >= TELL_AFTER_SECONDS and telling:
            telling.pop()(f"waiting: {what}")
        time.sleep(pause)
    raise AssertionError("pauses do not end")


def pauses() -> Iterator[float]:
    """Yield the seconds between one try and the next."""
    first = (0.25, 0.5, 1.0, 2.0)
    return itertools.chain(first, itertools.repeat(MAX_PAUSE_SECONDS))
