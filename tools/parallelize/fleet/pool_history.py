"""Which pools of the spot market have taken this run's machines back: a launch leaves those out.

They are left out, and not only put last: EC2 heeds priorities of spot pools with one allocation
strategy, `capacity-optimized-prioritized`, and that one does not look at prices. What is left is
chosen among as before. Workers say in their last heartbeats that they were interrupted.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-allocation-strategy.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from parallelize.fleet.facts import Interruptions, Pool
from parallelize_core.heartbeat import Heartbeat

WINDOW_HOURS = 6
"""Older events say little: the market of a pool changes within hours."""

LEAST = 2
"""A single interruption may be bad luck."""

SHARE = 1 / 3
"""Of a pool's workers; with fewer interrupted it is still worth its price."""


def history(heartbeats: Iterable[Heartbeat], now: float) -> tuple[Interruptions, ...]:
    """Return what became of the spot workers of each pool that were seen recently."""
    since = now - WINDOW_HOURS * 3600
    workers: Counter[tuple[str, str]] = Counter()
    interrupted: Counter[tuple[str, str]] = Counter()
    for beat in heartbeats:
        if beat.seen < since or beat.market == "on-demand" or not beat.type:
            continue
        workers[beat.type, beat.zone] += 1
        interrupted[beat.type, beat.zone] += beat.interrupted
    return tuple(Interruptions(*pool, interrupted[pool], workers[pool]) for pool in sorted(workers))


def leave_out(
    pools: Sequence[Pool], found: Iterable[Interruptions]
) -> tuple[tuple[Pool, ...], tuple[Interruptions, ...]]:
    """Return the pools to ask, and what speaks against the others.

    At least half of the pools stay, whatever happened there: few pools have few machines, and are
    interrupted more.
    """
    there = {(pool.type.name, pool.zone) for pool in pools}
    bad = [one for one in found if _is_bad(one) and (one.type, one.zone) in there]
    bad.sort(key=lambda one: (-one.share, -one.interrupted, one.type, one.zone))
    out = tuple(bad[: len(pools) // 2])
    names = {(one.type, one.zone) for one in out}
    return tuple(pool for pool in pools if (pool.type.name, pool.zone) not in names), out


def _is_bad(one: Interruptions) -> bool:
    return one.interrupted >= LEAST and one.share >= SHARE
