"""The lanes that the settings of a run have, and the settings of the workers of one."""

from __future__ import annotations

from dataclasses import replace

from parallelize.setting_tables import LaneTable, WorkersTable
from parallelize.settings import Resolved
from parallelize_core.errors import UsageError
from parallelize_core.lane import EXTRA, Lane

OWN = {"workers.vcpus": None, "workers.memory": None, "workers.accelerators": None}
"""What says which machines are meant, and gives way to types that a lane names."""


def table_of(workers: WorkersTable, lane: Lane) -> LaneTable | None:
    """Return what the settings say of a lane beside the main one, None if there is none."""
    return {Lane.LARGE: workers.large, Lane.STEADY: workers.steady}[lane]


def lanes_of(workers: WorkersTable) -> tuple[Lane, ...]:
    """Return the lanes that a run has beside the main one."""
    return tuple(lane for lane in EXTRA if table_of(workers, lane))


def of_lane(resolved: Resolved, lane: Lane) -> Resolved:
    """Return the settings as they are for the workers of a lane; flags still win.

    Raises UsageError if the run has no such lane.
    """
    if lane is Lane.MAIN:
        return resolved
    workers = resolved.settings.workers
    table = table_of(workers, lane)
    if table is None:
        raise UsageError(
            f"the run has no lane {lane}", None, f"[workers.{lane}] in parallelize.toml makes one"
        )
    given: dict[str, object] = {"workers.count": table.count, "workers.max_price": table.max_price,
             "workers.on_demand": 0}  # fmt: skip
    if table.market:
        given["workers.market"] = table.market
    if table.types:
        given |= {"workers.types": table.types, **OWN}
    new = {key: value for key, value in given.items() if resolved.source(key) != "flag"}
    update = {key.removeprefix("workers."): value for key, value in new.items()}
    settings = resolved.settings.model_copy(update={"workers": workers.model_copy(update=update)})
    sources = {**resolved.sources, **dict.fromkeys(new, f"workers.{lane}")}
    return replace(resolved, settings=settings, sources=sources)
