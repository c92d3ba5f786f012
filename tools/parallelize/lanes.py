"""The lanes in a run's settings, and the settings for the workers of a lane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parallelize.setting_tables import LaneTable, WorkersTable
from parallelize.settings import Resolved
from parallelize_core.errors import UsageError
from parallelize_core.lane import EXTRA, Lane

if TYPE_CHECKING:
    from parallelize_core.config import SteadyStart

OWN = {"workers.vcpus": None, "workers.memory": None, "workers.accelerators": None}
"""Settings that select machines; the types that a lane names override them."""

STEADY_JOB_SECONDS = 600.0
"""Interrupting a longer job, half of which is lost on average, costs more than a new machine.

A machine takes two to three minutes to start, which are paid for as well.
"""

LOCAL_JOB_SECONDS = 1.0
"""The same in the local cloud, where a machine starts at once."""


def table_of(workers: WorkersTable, lane: Lane) -> LaneTable | None:
    """Return the settings of a lane besides the main one, None if there are none."""
    return {Lane.LARGE: workers.large, Lane.STEADY: workers.steady}[lane]


def lanes_of(workers: WorkersTable) -> tuple[Lane, ...]:
    """Return the run's lanes besides the main one."""
    return tuple(lane for lane in EXTRA if table_of(workers, lane))


def steady_start(workers: WorkersTable, *, is_local: bool) -> SteadyStart | None:
    """Return for which of the last jobs the steady lane starts workers, if there is such a lane."""
    if workers.steady is None:
        return None
    from parallelize_core.config import SteadyStart  # noqa: PLC0415 - only a launch needs it

    seconds = LOCAL_JOB_SECONDS if is_local else STEADY_JOB_SECONDS
    return SteadyStart(workers=workers.steady.count, job_seconds=seconds)


def of_lane(resolved: Resolved, lane: Lane, *, flagged: bool = True) -> Resolved:
    """Return the settings for the workers of a lane.

    Flags still win if they are meant for this lane, that is, if `flagged`. Raises UsageError if the
    run does not have this lane.
    """
    if lane is Lane.MAIN:
        return resolved
    workers = resolved.settings.workers
    table = table_of(workers, lane)
    if table is None:
        raise UsageError(
            f"the run has no lane {lane}", None, f"add [workers.{lane}] to parallelize.toml"
        )
    given: dict[str, object] = {"workers.count": table.count, "workers.max_price": table.max_price,
             "workers.on_demand": 0}  # fmt: skip
    if table.market:
        given["workers.market"] = table.market
    if table.types:
        given |= {"workers.types": table.types, **OWN}
    kept = {key for key in given if flagged and resolved.source(key) == "flag"}
    new = {key: value for key, value in given.items() if key not in kept}
    update = {key.removeprefix("workers."): value for key, value in new.items()}
    settings = resolved.settings.model_copy(update={"workers": workers.model_copy(update=update)})
    sources = {**resolved.sources, **dict.fromkeys(new, f"workers.{lane}")}
    return resolved._replace(settings=settings, sources=sources)
