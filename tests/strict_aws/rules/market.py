"""The spot market: what EC2 says of a launch's chances, and prices that change."""

from __future__ import annotations

import json
from typing import Any

from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.layer import Rule, World
from tests.strict_aws.rules.starts import Fault, MachineRule, Start


class PlacementScores(Rule):
    """Spot placement scores: low for fewer than three types, and few new questions a day.

    moto does not know the call. Questions that were answered within a day are answered again.
    """

    source = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-placement-score.html"

    score = 9
    most = 10
    """AWS does not say how many configurations it takes."""
    seconds = 24 * 3600

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.operation != "GetSpotPlacementScores":
            return None
        asked = json.dumps(call.params, sort_keys=True, default=str)
        if not self.windows.is_open(asked):
            if len(self.windows.any_open()) >= self.most:
                raise Refusal(
                    "MaxConfigLimitExceeded",
                    "You have exceeded your maximum allowed Spot placement configurations.",
                )
            self.windows.open(asked, self.world.seconds(self.seconds))
        few = len(set(call.params["InstanceTypes"])) < 3
        scores = [
            {"Region": region, "Score": 1 if few else self.score}
            for region in call.params["RegionNames"]
        ]
        return {"SpotPlacementScores": scores}


class SpotPrices(Rule):
    """Each pool has a price of its own, which changes; moto has one for all, always.

    A test says `from_now` what the price of a type in a zone is after some seconds.
    """

    source = (
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html"
    )

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._prices: dict[tuple[str, str], list[tuple[float, str]]] = {}

    def from_now(self, kind: str, zone: str, *prices: tuple[float, float]) -> None:
        """Let a pool cost these USD an hour, each from a number of seconds after now."""
        now = self.world.clock.now()
        self._prices[kind, zone] = [(now + after, f"{usd:.6f}") for after, usd in prices]

    def watches(self, call: Call) -> bool:
        return call.operation == "DescribeSpotPriceHistory" and bool(self._prices)

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        now = self.world.clock.now()
        current = {
            pool: [usd for since, usd in prices if since <= now][-1]
            for pool, prices in self._prices.items()
        }
        told = [
            {**one, "SpotPrice": current[pool]}
            for one in result["SpotPriceHistory"]
            if (pool := (one["InstanceType"], one["AvailabilityZone"])) in current
        ]
        return {**result, "SpotPriceHistory": told}


class SpotCapacity(MachineRule):
    """The spot market may have nothing left for a while; a test says when that is `over`."""

    source = (
        "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html"
        "#troubleshooting-launch-capacity"
    )
    found = "launch of a group told nothing of it; the group had no worker, and nobody knew why"

    over = False

    def fault(self, start: Start) -> Fault | None:
        if not (self.over and start.spot):
            return None
        words = "There is no Spot capacity available that matches your request."
        return Fault("InsufficientInstanceCapacity", words)
