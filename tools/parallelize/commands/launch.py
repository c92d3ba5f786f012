"""`parallelize launch N`: start workers for the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from parallelize.console import answer, conclude, show_plan
from parallelize.options import (
    NOTHING,
    SWITCH,
    Common,
    DryRun,
    Force,
    Json,
    LaneName,
)
from parallelize_core.lane import Lane


@Parameter(name="*")
@dataclass(frozen=True)
class Machines:
    """The workers' machines, if they differ from the settings; None means not given."""

    types: Annotated[
        tuple[str, ...] | None,
        Parameter(name="--type", help="A machine type; may be repeated. [default: workers.types]"),
    ] = None
    market: Annotated[
        Literal["spot", "on-demand"] | None,
        Parameter(help="The market to buy from. [default: workers.market]"),
    ] = None
    on_demand: Annotated[
        int | None,
        Parameter(help="How many of the workers are on-demand. [default: workers.on_demand]"),
    ] = None
    fallback: Annotated[
        bool | None,
        Parameter(
            help="Start on-demand if the spot market has too few. [default: workers.fallback]"
        ),
    ] = None
    fleet: Annotated[
        Literal["one-time", "persistent"] | None,
        Parameter(
            help="persistent: an Auto Scaling group that replaces lost workers. "
            "[default: workers.fleet]"
        ),
    ] = None
    autoscale: Annotated[
        bool | None,
        Parameter(
            help="persistent: scale with the queue, down to zero. [default: workers.autoscale]"
        ),
    ] = None
    ami: Annotated[
        str | None,
        Parameter(
            help="auto, stock, stock:ubuntu, stock:amazon, ami-… or ssm:NAME. "
            "[default: workers.ami]"
        ),
    ] = None
    max_price: Annotated[
        float | None,
        Parameter(
            help="At most this many USD an hour for a spot worker. [default: workers.max_price]"
        ),
    ] = None
    max_cost: Annotated[
        float | None,
        Parameter(help="At most this many USD for the whole run. [default: workers.max_cost]"),
    ] = None

    def flags(self) -> dict[str, object]:
        """Return the settings that these flags stand for."""
        return {f"workers.{name}": given for name, given in vars(self).items()}


AS_SET = Machines()


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
