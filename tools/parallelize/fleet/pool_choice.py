"""Which pools a launch asks: those that can run an image, and which of them in the spot market.

Spot pools that have interrupted this run's workers are left out, not just put last: EC2 heeds
priorities of spot pools only with the allocation strategy `capacity-optimized-prioritized`, which
ignores prices. EC2 chooses among the rest as before. Workers say in their last heartbeats that they
were interrupted.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-allocation-strategy.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from parallelize.fleet.facts import Facts, Image, Interruptions, Market, Pool
from parallelize.fleet.group import MAX_TYPES
from parallelize.fleet.request import LaunchRequest, shares
from parallelize.units import plural
from parallelize_core.errors import UsageError
from parallelize_core.heartbeat import Heartbeat

WINDOW_HOURS = 6
"""Older events say little: the market for a pool changes within hours."""

LEAST = 2
"""A single interruption may be bad luck."""

SHARE = 1 / 3
"""Of a pool's workers; with a smaller share interrupted it is still worth its price."""


def history(heartbeats: Iterable[Heartbeat], now: float) -> tuple[Interruptions, ...]:
    """Return what happened to the spot workers that were seen recently, by pool."""
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
    """Return the pools to ask, and the interruptions that rule out the others.

    At least half of the pools stay, whatever happened there: fewer pools have fewer machines, and
    are interrupted more.
    """
    there = {(pool.type.name, pool.zone) for pool in pools}
    bad = [one for one in found if _is_bad(one) and (one.type, one.zone) in there]
    bad.sort(key=lambda one: (-one.share, -one.interrupted, one.type, one.zone))
    out = tuple(bad[: len(pools) // 2])
    names = {(one.type, one.zone) for one in out}
    return tuple(pool for pool in pools if (pool.type.name, pool.zone) not in names), out


def _is_bad(one: Interruptions) -> bool:
    return one.interrupted >= LEAST and one.share >= SHARE


@dataclass(frozen=True)
class Dear:
    """Spot pools none of which costs less than `below` USD an hour."""

    pools: tuple[Pool, ...]
    below: float


Asked = Mapping[Market, Sequence[Pool]]
"""The pools to ask in each market, cheapest first."""


def fitting(facts: Facts, request: LaunchRequest) -> tuple[tuple[Pool, ...], tuple[Image, ...]]:
    """Return the pools that can run an image, cheapest first, and the images that they run."""
    image = _image(facts)
    images = (image, *facts.others)
    found = [pool for pool in facts.pools if _image_of(pool, images)]
    if found and len(too_few_gpus(facts, request)) == len({pool.type.name for pool in facts.pools}):
        raise _without_gpus(facts, request)
    found = [pool for pool in found if _has_gpus(pool, facts, request)]
    if not found:
        kinds = ", ".join(request.types[:3])
        why = (
            f"{kinds} are not offered in the zones of the subnets"
            if not facts.pools
            else f"the image is for {image.architecture}, but {kinds} are not"
        )
        raise UsageError(
            f"no machine type in {facts.region} fits", why, "choose others with --type"
        )
    market = request.market

    def cheapest_first(pool: Pool) -> tuple[float, str, str]:
        price = pool.usd(market)
        return float("inf") if price is None else price, pool.type.name, pool.zone

    pools = _few(tuple(sorted(found, key=cheapest_first)), request)
    used = dict.fromkeys(one for pool in pools if (one := _image_of(pool, images)))
    return pools, tuple(used)


def steers(request: LaunchRequest) -> bool:
    """Whether what happened to earlier spot workers decides where these start.

    A group uses all of its types in all of its zones, and no pool can be left out.
    """
    return request.fleet == "one-time" and "spot" in dict(shares(request))


def asked_pools(
    facts: Facts, request: LaunchRequest, pools: Sequence[Pool]
) -> tuple[Asked, tuple[Interruptions, ...]]:
    """Return the pools to ask in each market, and why other spot pools are left out.

    While no pool costs less than `request.below`, the pools to wait for are returned.
    """
    spot, left_out = leave_out(pools, facts.history if steers(request) else ())
    return {"spot": cheap(spot, request.below) or spot, "on-demand": pools}, left_out


def cheap(pools: Sequence[Pool], below: float | None) -> tuple[Pool, ...]:
    """Return the pools whose spot price is below `below` USD an hour; all if it is None."""
    if below is None:
        return tuple(pools)
    return tuple(pool for pool in pools if pool.spot_usd is not None and pool.spot_usd < below)


def too_dear(pools: Sequence[Pool], below: float | None) -> Dear | None:
    """Return the price that has to fall before anything starts, or None."""
    if below is None or cheap(pools, below):
        return None
    return Dear(tuple(pools), below)


def by_image(pools: Sequence[Pool], images: Sequence[Image]) -> dict[Image, list[Pool]]:
    """Return the pools that start from each image."""
    return {image: [pool for pool in pools if _image_of(pool, images) is image] for image in images}


def unfit(facts: Facts, images: Sequence[Image]) -> tuple[str, ...]:
    """Return the types whose architecture has no image."""
    left = (pool.type.name for pool in facts.pools if not _image_of(pool, images))
    return tuple(dict.fromkeys(left))


def too_few_gpus(facts: Facts, request: LaunchRequest) -> tuple[str, ...]:
    """Return the types that have fewer GPUs than a job needs."""
    left = (pool.type.name for pool in facts.pools if not _has_gpus(pool, facts, request))
    return tuple(dict.fromkeys(left))


def _has_gpus(pool: Pool, facts: Facts, request: LaunchRequest) -> bool:
    # In the local cloud, the worker itself detects this machine's GPUs.
    return facts.emulated or pool.type.gpus >= request.gpus_per_job


def _without_gpus(facts: Facts, request: LaunchRequest) -> UsageError:
    wanted = request.gpus_per_job
    kinds = dict.fromkeys(pool.type for pool in facts.pools)
    there = [f"{kind.name} has {kind.gpus or 'none'}" for kind in kinds]
    return UsageError(
        f"a job needs {plural(wanted, 'GPU')}, but no machine type has that many",
        f"of NVIDIA's GPUs, {', '.join(there[:3])}",
        f'workers.types with GPUs, such as "g5.xlarge", or workers.accelerators = "{wanted}"; '
        "and an image with their driver (image build --base gpu)",
    )


def _image(facts: Facts) -> Image:
    if facts.image is None:
        raise UsageError(
            f"no parallelize image in account {facts.account} region {facts.region}",
            fix="parallelize image build   (needs Packer)\n"
            "  or:  --ami stock   (agent installed at boot, slower start)",
        )
    return facts.image


def _image_of(pool: Pool, images: Sequence[Image]) -> Image | None:
    fitting = (image for image in images if image.architecture in pool.type.architectures)
    return next(fitting, None)


def _few(pools: tuple[Pool, ...], request: LaunchRequest) -> tuple[Pool, ...]:
    """Return the pools of the cheapest types, as many as a group takes, if nobody named types."""
    if not request.by_requirements:
        return pools
    names = set(list(dict.fromkeys(pool.type.name for pool in pools))[:MAX_TYPES])
    return tuple(pool for pool in pools if pool.type.name in names)
