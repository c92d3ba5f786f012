"""`parallelize launch N`: start workers for the run."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.console import answer, conclude, show_plan
from parallelize.options import (
    AS_SET,
    NOTHING,
    SWITCH,
    Common,
    DryRun,
    Force,
    Json,
    LaneName,
    Machines,
)
from parallelize_core.lane import Lane


def launch(
    count: Annotated[int | None, Parameter(help="How many. [default: workers.count]")] = None,
    *,
    machines: Machines = AS_SET,
    when_below: Annotated[
        float | None,
        Parameter(
            help="Wait until a spot worker costs less than this many USD an hour (a worker, "
            "not a vCPU) in some type and zone; only those types and zones are used."
        ),
    ] = None,
    print_config: Annotated[
        bool, SWITCH, Parameter(help="Print the agent's configuration, and do nothing.")
    ] = False,
    lane: LaneName = "main",
    dry_run: DryRun = False,
    force: Force = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Start COUNT workers for the run.

    Refuses an empty queue, more workers than files, and anything above the quota
    or the cost limit. With --when-below it waits until the price is right; ctrl-C
    ends the wait.
    """
    from parallelize.context import open_context
    from parallelize.fleet.show import describe_outcome, plan_as_json
    from parallelize.operations import launch as operation

    operation.check_count(count)
    flags = {"workers.count": count, **machines.flags()}
    context = open_context(common, flags).in_lane(Lane(lane))
    if print_config:
        answer(operation.find_config(context).encode(indent=2))
        return
    plan = operation.make_plan(context, below=when_below, force=force)
    if dry_run:
        show_plan(operation.planned(context, plan))
        conclude(["nothing was created"], (), lambda: plan_as_json(plan), json=json)
        return
    launched = operation.launch(context, plan)
    outcome = launched.outcome
    names = [*outcome.names, *launched.lanes]
    conclude(describe_outcome(outcome), names, launched.as_json, json=json)
    outcome.check()
