"""The parameters of `parallelize launch`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from parallelize.options import NOTHING, SWITCH, Common, DryRun, Force, Json


def launch(
    count: Annotated[int | None, Parameter(help="How many. [default: workers.count]")] = None,
    *,
    type_: Annotated[
        tuple[str, ...] | None,
        Parameter(name="--type", help="A machine type; may be repeated. [default: workers.types]"),
    ] = None,
    market: Annotated[
        Literal["spot", "on-demand"] | None,
        Parameter(help="Which market to ask. [default: workers.market]"),
    ] = None,
    on_demand: Annotated[
        int | None,
        Parameter(
            help="How many of the workers are on-demand, for the tail. [default: workers.on_demand]"
        ),
    ] = None,
    fallback: Annotated[
        bool | None,
        Parameter(
            help="Start on-demand what the spot market does not give. [default: workers.fallback]"
        ),
    ] = None,
    fleet: Annotated[
        Literal["one-time", "persistent"] | None,
        Parameter(
            help="persistent: an Auto Scaling group that replaces lost workers. "
            "[default: workers.fleet]"
        ),
    ] = None,
    autoscale: Annotated[
        bool | None,
        Parameter(
            help="persistent: follow the queue, from and to zero. [default: workers.autoscale]"
        ),
    ] = None,
    ami: Annotated[
        str | None,
        Parameter(
            help="auto, stock, stock:ubuntu, stock:amazon, ami-… or ssm:NAME. "
            "[default: workers.ami]"
        ),
    ] = None,
    max_price: Annotated[
        float | None,
        Parameter(help="USD an hour for one spot worker. [default: workers.max_price]"),
    ] = None,
    max_cost: Annotated[
        float | None, Parameter(help="USD for the whole run. [default: workers.max_cost]")
    ] = None,
    when_below: Annotated[
        float | None,
        Parameter(
            help="Wait until a spot worker costs less than this many USD an hour (a worker, "
            "not a vCPU) in some type and zone; only those below it are asked."
        ),
    ] = None,
    print_config: Annotated[
        bool, SWITCH, Parameter(help="Print the agent's configuration, and do nothing.")
    ] = False,
    dry_run: DryRun = False,
    force: Force = False,
    json: Json = False,
    common: Common = NOTHING,
) -> int | None:
    """Start COUNT workers for the run.

    Refuses an empty queue, more workers than files, and what is above quota or
    cost limit. With --when-below it starts nothing before the price is right, and
    ctrl-C ends the wait.
    """
    from parallelize.operations import launch as command

    return command.launch(
        count,
        type_=type_,
        market=market,
        on_demand=on_demand,
        fallback=fallback,
        fleet=fleet,
        autoscale=autoscale,
        ami=ami,
        max_price=max_price,
        max_cost=max_cost,
        when_below=when_below,
        print_config=print_config,
        dry_run=dry_run,
        force=force,
        json=json,
        common=common,
    )
