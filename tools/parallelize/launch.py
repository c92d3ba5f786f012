"""`parallelize launch N`: start workers, after working out what they are and what they cost.

Other commands use the same steps:

    request = make_request(context, queues, count)
    plan = plan_launch(read_facts(context, queues, request), request)   # nothing is changed yet
    outcome = execute(plan, context.client("ec2"))
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Annotated, Literal

from cyclopts import Parameter

from parallelize.agent_config import agent_config
from parallelize.console import answer, answer_json, say
from parallelize.context import Context, open_context
from parallelize.fleet.execute import LaunchOutcome, execute
from parallelize.fleet.facts import Facts, Work
from parallelize.fleet.gather import FleetClients, Place, gather
from parallelize.fleet.plan import LaunchPlan, plan_launch
from parallelize.fleet.prices import PRICE_LIST_REGION
from parallelize.fleet.request import LaunchRequest
from parallelize.fleet.show import describe_plan
from parallelize.options import NOTHING, Common, DryRun, Force, Json
from parallelize.queues import Queues
from parallelize.units import plural
from parallelize_core import manifest
from parallelize_core.clients import client_config
from parallelize_core.errors import MissingError, NothingToDoError
from parallelize_core.layout import RunLayout
from parallelize_core.run import Run
from parallelize_core.store import Store


def launch(  # noqa: PLR0913 - each is a flag of its own
    count: int | None = None,
    *,
    type_: Annotated[
        tuple[str, ...] | None, Parameter(name="--type", help="A machine type; may be repeated.")
    ] = None,
    market: Annotated[
        Literal["spot", "on-demand"] | None, Parameter(help="Which market to ask.")
    ] = None,
    on_demand: Annotated[
        int | None, Parameter(help="How many of the workers are on-demand, for the tail.")
    ] = None,
    fallback: Annotated[
        bool | None, Parameter(help="Start on-demand what the spot market does not give.")
    ] = None,
    fleet: Annotated[
        Literal["one-time", "persistent"] | None,
        Parameter(help="persistent: an Auto Scaling group that replaces lost workers."),
    ] = None,
    autoscale: Annotated[
        bool | None, Parameter(help="persistent: follow the queue, from and to zero.")
    ] = None,
    ami: Annotated[str | None, Parameter(help="auto, stock, ami-… or ssm:NAME.")] = None,
    max_price: Annotated[float | None, Parameter(help="USD an hour for one spot worker.")] = None,
    max_cost: Annotated[float | None, Parameter(help="USD for the whole run.")] = None,
    print_config: Annotated[
        bool, Parameter(negative="", help="Print the agent's configuration, and do nothing.")
    ] = False,
    dry_run: DryRun = False,
    force: Force = False,
    json: Json = False,
    common: Common = NOTHING,
) -> int | None:
    """Start COUNT workers (default: workers.count) for the run.

    Refuses an empty queue, more workers than files, and what is above quota or cost limit.
    """
    flags = {
        "workers.count": count, "workers.types": type_, "workers.market": market,
        "workers.on_demand": on_demand, "workers.fallback": fallback, "workers.fleet": fleet,
        "workers.autoscale": autoscale, "workers.ami": ami, "workers.max_price": max_price,
        "workers.max_cost": max_cost,
    }  # fmt: skip
    context = open_context(common, flags)
    queues = find_queues(context)
    if print_config:
        answer(agent_config(context, queues).encode())
        return None
    request = make_request(context, queues, context.settings.workers.count, force=force)
    plan = plan_launch(read_facts(context, queues, request), request)
    if dry_run:
        tell(describe_plan(plan), dry_run=True)
        say("nothing was created")
        return None
    return carry_out(plan, context, json=json)


def carry_out(plan: LaunchPlan, context: Context, *, json: bool = False) -> int:
    """Start the machines, say what came of it, and return the exit code."""
    tell(describe_plan(plan))
    outcome = execute(plan, context.client("ec2"))
    _report(outcome, json=json)
    if error := outcome.error():
        raise error
    return 0


def make_request(
    context: Context, queues: Queues, count: int, *, force: bool = False
) -> LaunchRequest:
    """Return what the settings ask for."""
    workers = context.settings.workers
    return LaunchRequest(
        count=count,
        agent=agent_config(context, queues),
        token=uuid.uuid4().hex,
        types=workers.types,
        market=workers.market,
        fleet=workers.fleet,
        on_demand=workers.on_demand,
        fallback=workers.fallback,
        autoscale=workers.autoscale,
        backlog_per_worker=workers.backlog_per_worker,
        max_price=workers.max_price,
        max_cost=workers.max_cost,
        disk_gib=-(-workers.disk // 2**30),
        shutdown_behavior=workers.shutdown_behavior,
        instance_profile=workers.instance_profile or f"parallelize-agent-{context.region}",
        key_name=workers.key_name,
        tags=context.settings.aws.tags,
        force=force,
    )


def read_facts(context: Context, queues: Queues, request: LaunchRequest) -> Facts:
    """Read what the plan needs from AWS; changes nothing."""
    place = Place(
        account=context.account,
        region=context.region,
        subnets=context.settings.aws.subnets,
        types=request.types,
        ami=context.settings.workers.ami,
    )
    return gather(fleet_clients(context), place, read_work(context, queues), context.run)


def fleet_clients(context: Context) -> FleetClients:
    """Return the clients that reading the facts takes."""
    return FleetClients(
        ec2=context.client("ec2"),
        ssm=context.client("ssm"),
        quotas=context.client("service-quotas"),
        pricing=context.session.client(
            "pricing", region_name=PRICE_LIST_REGION, config=client_config()
        ),
    )


def find_queues(context: Context) -> Queues:
    """Return the run's queues; raise NothingToDoError if nothing was enqueued yet."""
    try:
        return context.queues
    except MissingError as error:
        raise NothingToDoError(
            f"nothing to do: run {context.run} has no queue yet", error.what, "parallelize enqueue"
        ) from None


def read_work(context: Context, queues: Queues) -> Work:
    """Say what there is to do.

    SQS counts late what was just sent. So if the queue seems to be empty, the manifest and the
    results are asked, which are the truth about a run.
    """
    store, layout = context.store, context.layout
    paused = Run.decode(store.get(layout.run_json)).paused
    if waiting := queues.main.counts().total:
        return Work(waiting, paused=paused)
    return replace(work_of_manifest(store, layout), paused=paused)


def work_of_manifest(store: Store, layout: RunLayout) -> Work:
    """Count the jobs of the manifest: waiting are those that were sent and have no result."""
    done = manifest.finished(store, layout)
    total = sum(len(part.entries) for part in manifest.read_parts(store, layout))
    waiting = sum(1 for _ in manifest.unfinished(store, layout))
    failed = sum(1 for _ in store.list(layout.failures.prefix))
    return Work(waiting, len(done) - failed, failed, total - len(done) - waiting)


def tell(lines: list[str], *, dry_run: bool = False) -> None:
    """Print a plan on stderr, each line marked if it will not be carried out."""
    for line in lines:
        say(f"(dry run) {line}" if dry_run else line)


def _report(outcome: LaunchOutcome, *, json: bool) -> None:
    if json:
        answer_json(
            {
                "schema": 1,
                "asked": outcome.asked,
                "started": [vars(machine) for machine in outcome.started],
            }
        )
        return
    say(f"started {len(outcome.started):,} of {plural(outcome.asked, 'worker')}")
    for machine in outcome.started:
        answer(machine.id)
