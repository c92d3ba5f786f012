"""Token buckets: how many calls, or machines, at once, and how many a second after that."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.layer import Rule, World

BUDGETS = {"describe": (100, 20.0), "describe all": (50, 10.0), "change": (50, 5.0)}
"""Tokens, and tokens a second: not mutating; the same without filter or page; mutating."""

RESOURCES = {"CreateFleet": (1000, 2.0), "TerminateInstances": (1000, 20.0)}
"""The same for the machines that a call is about.

AWS names RunInstances, and not CreateFleet, which starts machines as well: the layer is as strict
as AWS could be.
"""


class Buckets:
    """Buckets of tokens, each under a name of its own; a new one is full."""

    def __init__(self, world: World) -> None:
        self._clock = world.clock
        self._levels: dict[Hashable, tuple[float, float]] = {}

    def take(self, place: Hashable, tokens: float, size: int, rate: float) -> bool:
        """Take tokens out of a bucket; answer False, and take none, if it has fewer."""
        level = self._level(place, size, rate)
        if level < tokens:
            return False
        self._levels[place] = (level - tokens, self._clock.now())
        return True

    def empty(self, place: Hashable, seconds: float, rate: float) -> None:
        """Let a bucket have nothing for some seconds, as if others had taken it."""
        self._levels[place] = (-rate * seconds, self._clock.now())

    def _level(self, place: Hashable, size: int, rate: float) -> float:
        now = self._clock.now()
        level, since = self._levels.get(place, (float(size), now))
        return min(float(size), level + (now - since) * rate)


class Throttling(Rule):
    """Each EC2 operation has a bucket of tokens in each region, and some another for machines."""

    source = "https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html"
    found = "launch asked for more machines at a time than the bucket holds, and none came"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.resources = dict(RESOURCES)
        self._buckets = Buckets(world)

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.service != "ec2":
            return None
        place = (call.operation, call.region)
        self._take(place, 1, *BUDGETS[_kind(call)])
        if call.operation in self.resources and not call.get("DryRun"):
            self._take((*place, "machines"), _machines(call), *self.resources[call.operation])
        return None

    def _take(self, place: Hashable, tokens: int, size: int, rate: float) -> None:
        """Take tokens out of a bucket; raise Refusal if it has fewer."""
        if not self._buckets.take(place, tokens, size, rate):
            raise Refusal("RequestLimitExceeded", "Request limit exceeded.", 503)


class Limit(NamedTuple):
    """How many calls at once, how many a second after that, and which document says so."""

    size: int
    rate: float
    source: str


_CLOUDWATCH = (
    "https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html"
)
_QUOTAS = "https://docs.aws.amazon.com/servicequotas/latest/userguide/reference_limits.html"
DOCUMENTED = {
    "cloudwatch.PutMetricAlarm": Limit(3, 3.0, _CLOUDWATCH),
    "cloudwatch.DeleteAlarms": Limit(3, 3.0, _CLOUDWATCH),
    "cloudwatch.DescribeAlarms": Limit(9, 9.0, _CLOUDWATCH),
    "cloudwatch.PutMetricData": Limit(500, 500.0, _CLOUDWATCH),
    "logs.CreateLogStream": Limit(
        50, 50.0,
        "https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/"
        "API_CreateLogStream.html",
    ),
    "service-quotas.GetServiceQuota": Limit(10, 5.0, _QUOTAS),
    "service-quotas.ListServiceQuotas": Limit(20, 10.0, _QUOTAS),
    "service-quotas.GetRequestedServiceQuotaChange": Limit(10, 5.0, _QUOTAS),
    "ssm.GetParameter": Limit(40, 40.0, "https://docs.aws.amazon.com/general/latest/gr/ssm.html"),
    "sts.GetCallerIdentity": Limit(
        600, 600.0, "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"
    ),
}  # fmt: skip
"""The numbers that AWS's documents have, by operation; a burst of a second where they name none.

Those of alarms, of SSM and of STS are as others quote these pages, which were not at hand.
"""

UNNAMED = Limit(10, 2.0, "https://docs.aws.amazon.com/general/latest/gr/api-retries.html")
"""For what AWS says that there is a limit, and not which one: low, to find who counts on more."""

LIMITED = {"autoscaling", "cloudformation", "cloudwatch", "iam", "kms", "logs", "pricing",
           "service-quotas", "sns", "sqs", "ssm", "sts"}  # fmt: skip

HOT = {"ChangeMessageVisibility", "ChangeMessageVisibilityBatch", "DeleteMessage",
       "DeleteMessageBatch", "GetQueueAttributes", "PutLogEvents", "ReceiveMessage", "SendMessage",
       "SendMessageBatch"}  # fmt: skip
"""Of SQS "a nearly unlimited number" a second, of CloudWatch Logs thousands.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""

SAYING = {"sqs": ("RequestThrottled", 403), "logs": ("ThrottlingException", 400),
          "ssm": ("ThrottlingException", 400), "kms": ("ThrottlingException", 400),
          "pricing": ("ThrottlingException", 400),
          "service-quotas": ("TooManyRequestsException", 400)}  # fmt: skip
"""How services say so that do not say `Throttling`."""


class RateLimit(Rule):
    """Each operation of the other services has a bucket of tokens, too, in each region."""

    source = "https://docs.aws.amazon.com/general/latest/gr/api-retries.html"
    found = "a worker that was refused for half a minute left without its group, which replaced it"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._buckets = Buckets(world)

    def use_up(self, name: str, seconds: float, region: str = "eu-west-1") -> None:
        """Let others of the account take all calls of an operation for some seconds."""
        place = "us-east-1" if name.startswith("iam.") else region  # which is everywhere
        self._buckets.empty((name, place), seconds, _limit(name).rate)

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.service not in LIMITED or call.operation in HOT:
            return None
        limit = _limit(call.name)
        if not self._buckets.take((call.name, call.region), 1, limit.size, limit.rate):
            code, status = SAYING.get(call.service, ("Throttling", 400))
            raise Refusal(code, "Rate exceeded", status)
        return None


def _limit(name: str) -> Limit:
    return DOCUMENTED.get(name, UNNAMED)


def _kind(call: Call) -> str:
    if not call.operation.startswith(("Describe", "Get")):
        return "change"
    limited = any(name.endswith("Ids") or name in {"Filters", "MaxResults"} for name in call.params)
    return "describe" if limited else "describe all"


def _machines(call: Call) -> int:
    """Return how many machines a call starts or ends."""
    if call.operation == "CreateFleet":
        return int(call.params["TargetCapacitySpecification"]["TotalTargetCapacity"])
    return len(call.params["InstanceIds"])
