"""EC2's token buckets: how many calls, or machines, at once, and how many a second after that."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.layer import Rule, World

BUDGETS = {"describe": (100, 20.0), "describe all": (50, 10.0), "change": (50, 5.0)}
"""Tokens, and tokens a second: not mutating; the same without filter or page; mutating."""

RESOURCES = {"CreateFleet": (1000, 2.0), "TerminateInstances": (1000, 20.0)}
"""The same for the machines that a call is about.

AWS names RunInstances, and not CreateFleet, which starts machines as well: the layer is as strict
as AWS could be.
"""


class Throttling(Rule):
    """Each EC2 operation has a bucket of tokens in each region, and some another for machines."""

    source = "https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html"
    found = "launch asked for more machines at a time than the bucket holds, and none came"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.resources = dict(RESOURCES)
        self._levels: dict[Hashable, tuple[float, float]] = {}

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
        now = self.world.clock.now()
        level, since = self._levels.get(place, (float(size), now))
        level = min(float(size), level + (now - since) * rate)
        if level < tokens:
            raise Refusal("RequestLimitExceeded", "Request limit exceeded.", 503)
        self._levels[place] = (level - tokens, now)


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
