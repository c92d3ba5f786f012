"""Waits until spot machines are cheap enough: `launch --when-below`.

Prices are read once a minute; AWS changes them a few times a day. Nothing is started
here, so an end at any moment leaves nothing behind.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-instances-history.html
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from parallelize.fleet import prices
from parallelize.fleet.facts import Pool
from parallelize.fleet.pool_choice import Dear, cheap
from parallelize.fleet.show import cheapest
from parallelize_core.errors import UnavailableError

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client

LOOK_SECONDS = 60.0

TELL_SECONDS = 600.0
"""How often to report that the wait continues although nothing has changed."""


def wait(
    ec2: EC2Client, dear: Dear, is_over: Callable[[], bool], tell: Callable[[str], None]
) -> None:
    """Return when one of the pools is cheap enough, or `is_over` ends the wait.

    A look that fails for a transient reason is repeated.
    """
    pools: Sequence[Pool] = dear.pools
    told, when = cheapest(pools), time.monotonic()
    while True:
        time.sleep(LOOK_SECONDS)
        try:
            if is_over():
                return
            pools = _look(ec2, pools)
            now = cheapest(pools)
        except UnavailableError as error:
            now = f"not known: {error.what}"
        if cheap(pools, dear.below):
            return
        if now != told or time.monotonic() - when >= TELL_SECONDS:
            told, when = now, time.monotonic()
            tell(f"{datetime.now().astimezone():%H:%M} waiting; now {now}")


def _look(ec2: EC2Client, pools: Sequence[Pool]) -> list[Pool]:
    """Return the pools with current prices; a pool without one keeps its last price."""
    found = prices.spot(ec2, sorted({pool.type.name for pool in pools}))
    return [
        replace(pool, spot_usd=found.get((pool.type.name, pool.zone), pool.spot_usd))
        for pool in pools
    ]
