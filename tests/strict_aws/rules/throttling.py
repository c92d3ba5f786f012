"""EC2's token buckets: a number of calls at once, and another a second after that."""

from __future__ import annotations

from typing import Any

from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.layer import Rule, World

BUDGETS = {"describe": (100, 20.0), "describe all": (50, 10.0), "change": (50, 5.0)}
"""Tokens, and tokens a second: not mutating; the same without filter or page; mutating."""


class Throttling(Rule):
    """Each EC2 operation has a bucket of tokens in each region."""

    source = "https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._levels: dict[tuple[str, str], tuple[float, float]] = {}

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.service != "ec2":
            return None
        size, rate = BUDGETS[_kind(call)]
        now = self.world.clock.now()
        level, since = self._levels.get((call.operation, call.region), (float(size), now))
        level = min(float(size), level + (now - since) * rate)
        if level < 1:
            raise Refusal("RequestLimitExceeded", "Request limit exceeded.", 503)
        self._levels[call.operation, call.region] = (level - 1, now)
        return None


def _kind(call: Call) -> str:
    if not call.operation.startswith(("Describe", "Get")):
        return "change"
    limited = any(name.endswith("Ids") or name in {"Filters", "MaxResults"} for name in call.params)
    return "describe" if limited else "describe all"
