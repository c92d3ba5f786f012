"""`parallelize launch N`: start workers, after working out what they are and what they cost.

Other commands use the same steps:

    request = make_request(context, queues, count)
    plan = plan_launch(read_facts(context, queues, request), request)   # nothing is changed yet
    outcome = start(plan, context)
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from parallelize.console import answer, answer_json, say, say_plan
from parallelize.context import Context, open_context
from parallelize.fleet import price_wait
from parallelize.fleet.alarms import topic_arn
from parallelize.fleet.clients import ComputeClients, FactClients
from parallelize.fleet.disk import Disk
from parallelize.fleet.execute import LaunchOutcome, execute
from parallelize.fleet.facts import Facts, Interruptions, Work
from parallelize.fleet.gather import Place, gather
from parallelize.fleet.placement import ask
from parallelize.fleet.plan import LaunchPlan, plan_launch
from parallelize.fleet.pool_choice import steers
from parallelize.fleet.pool_history import history
from parallelize.fleet.request import LaunchRequest, shares
from parallelize.fleet.show import describe_plan
from parallelize.operations.machine_types import machine_types, requirements
from parallelize.operations.stock_bundle import pack, send
from parallelize.options import NOTHING, Common
from parallelize.queues import Queues
from parallelize.runs.agent_config import agent_config
from parallelize.runs.ownership import check_ours
from parallelize.runs.record import load_run
from parallelize.runs.snapshot import Reader, Snapshot, read_heartbeats
from parallelize.runs.spending import prepared_usd, spent_on
from parallelize.units import plural
from parallelize_core.errors import MissingError, NothingToDoError, UsageError


def launch(  # noqa: PLR0913 - each is a flag of its own
    count: int | None = None,
    *,
    type_: tuple[str, ...] | None = None,
    market: Literal["spot", "on-demand"] | None = None,
    on_demand: int | None = None,
    fallback: bool | None = None,
    fleet: Literal["one-time", "persistent"] | None = None,
    autoscale: bool | None = None,
    ami: str | None = None,
    max_price: float | None = None,
    max_cost: float | None = None,
    when_below: float | None = None,
    print_config: bool = False,
    dry_run: bool = False,
    force: bool = False,
    json: bool = False,
    common: Common = NOTHING,
) -> int | None:
    """Start COUNT workers (default: workers.count) for the run."""
    flags = {
        "workers.count": count, "workers.types": type_, "workers.market": market,
        "workers.on_demand": on_demand, "workers.fallback": fallback, "workers.fleet": fleet,
        "workers.autoscale": autoscale, "workers.ami": ami, "workers.max_price": max_price,
        "workers.max_cost": max_cost,
    }  # fmt: skip
    if count is not None and count < 1:
        raise UsageError("launch takes a number of workers, at least 1")
    context = open_context(common, flags)
    queues = find_queues(context)
    if print_config:
        answer(agent_config(context, queues).encode(indent=2))
        return None

    def make_plan() -> LaunchPlan:
        asked = make_request(context, queues, context.settings.workers.count, force=force)
        request = replace(asked, below=when_below)
        return plan_launch(scored(context, read_facts(context, queues, request), request), request)

    plan = make_plan()
    if dry_run:
        show(plan, dry_run=True)
        return None
    check_ours(context)
    began = time.monotonic()
    plan = await_price(context, queues, plan, make_plan)
    return carry_out(plan, context, json=json, waited=time.monotonic() - began)


def await_price(
    context: Context, queues: Queues, plan: LaunchPlan, make_plan: Callable[[], LaunchPlan]
) -> LaunchPlan:
    """Return a plan that need not wait for a price, made when it can be carried out.

    Raises what planning does: the run may be done, or paused, before the price is right.
    """

    def is_over() -> bool:
        return not queues.main.counts().total or bool(load_run(context.store, context).paused)

    try:
        while plan.dear:
            show(plan, dry_run=False)
            say("nothing is started before; ctrl-C ends the wait")
            price_wait.wait(context.client("ec2"), plan.dear, is_over, say)
            plan = make_plan()
    except KeyboardInterrupt:
        say("interrupted; nothing was started")
        raise
    return plan


def carry_out(
    plan: LaunchPlan, context: Context, *, json: bool = False, waited: float = 0.0
) -> int:
    """Start the machines, say what came of it, and return the exit code.

    `waited` seconds have passed until their price was right.
    """
    show(plan, dry_run=False)
    try:
        outcome = start(plan, context)
    except KeyboardInterrupt:
        say(f"interrupted; workers may have started: parallelize scale N{context.hint} counts them")
        raise
    _report(plan, outcome, waited, json=json)
    if error := outcome.error():
        raise error
    return 0


def start(plan: LaunchPlan, context: Context) -> LaunchOutcome:
    """Do what a plan says; machines from a stock image must find the agent in the bucket."""
    send(context, plan.request.bundles)
    return execute(plan, ComputeClients.make(context.session))


def make_request(
    context: Context, queues: Queues, count: int, *, force: bool = False
) -> LaunchRequest:
    """Return what the settings ask for."""
    workers, types = context.settings.workers, machine_types(context)
    return LaunchRequest(
        count=count,
        agent=agent_config(context, queues),
        token=uuid.uuid4().hex,
        types=types,
        by_requirements=requirements(context) is not None,
        market=workers.market,
        fleet=workers.fleet,
        on_demand=workers.on_demand,
        fallback=workers.fallback,
        autoscale=workers.autoscale,
        backlog_per_worker=workers.backlog_per_worker,
        max_price=workers.max_price,
        max_cost=workers.max_cost,
        disk=Disk(-(-workers.disk // 2**30), workers.disk_iops, workers.disk_throughput),
        shutdown_behavior=workers.shutdown_behavior,
        instance_profile=workers.instance_profile or context.names.role("agent", context.region),
        key_name=workers.key_name,
        security_groups=workers.security_groups,
        bundles=pack(context, types),
        topic=alarm_topic(context) if workers.metrics else "",
        tags=context.settings.aws.tags,
        force=force,
    )


def alarm_topic(context: Context) -> str:
    """Return the name of the topic that alarms of the account go to, whether it exists or not."""
    partition = context.session.get_partition_for_region(context.region)
    return topic_arn(partition, context.region, context.account, context.names)


def read_facts(context: Context, queues: Queues, request: LaunchRequest) -> Facts:
    """Read what the plan needs from AWS; changes nothing."""
    place = Place(
        account=context.account,
        region=context.region,
        subnets=context.settings.aws.subnets,
        types=request.types,
        ami=context.settings.workers.ami,
        security_groups=request.security_groups,
        ami_owner=context.settings.workers.ami_owner,
    )
    facts = gather(FactClients.make(context.session), place, Work(0), context.names)
    enough = facts.workers + request.count
    with_cost = request.max_cost is not None
    work, snapshot = read_work(context, queues, enough, with_cost=with_cost)
    found = replace(
        facts, work=work, emulated=context.is_free, history=_history(context, request, snapshot)
    )
    if snapshot is None:
        return found
    return replace(found, spent_usd=spent_on(snapshot).total, prepared_usd=prepared_usd(snapshot))


def _history(
    context: Context, request: LaunchRequest, snapshot: Snapshot | None
) -> tuple[Interruptions, ...]:
    """Return what became of the run's spot workers, if it matters where others start."""
    if not steers(request):
        return ()
    beats = snapshot.heartbeats if snapshot else read_heartbeats(context.store, context.layout)
    return history(beats, time.time())


def scored(context: Context, facts: Facts, request: LaunchRequest) -> Facts:
    """Ask EC2 how likely the spot market is to give the machines; the local cloud gives all."""
    if context.is_free:
        return facts
    count = dict(shares(request)).get("spot", 0)
    types = (pool.type.name for pool in facts.pools)
    return replace(facts, placement=ask(context.client("ec2"), context.region, types, count))


def find_queues(context: Context) -> Queues:
    """Return the run's queues; raise NothingToDoError if nothing was enqueued yet."""
    try:
        return context.queues
    except MissingError as error:
        raise NothingToDoError(
            f"nothing to do: run {context.run} has no queue yet", error.what, "parallelize enqueue"
        ) from None


def read_work(
    context: Context, queues: Queues, enough: int, *, with_cost: bool
) -> tuple[Work, Snapshot | None]:
    """Say what there is to do, with the snapshot of the run if one was taken (it is `with_cost`).

    SQS counts late what was just sent. So if the queue seems to have not `enough`, the manifest
    and the results are asked, which are the truth about a run; they are not read without need.
    """
    waiting = queues.main.counts().total
    if waiting >= enough and not with_cost:
        return Work(waiting, paused=load_run(context.store, context).paused), None
    snapshot = Reader(context.store, context.layout).snapshot()
    return work_of(snapshot, waiting), snapshot


def work_of(snapshot: Snapshot, waiting: int) -> Work:
    """Return what a snapshot says there is to do; `waiting` messages are on the queue."""
    finished, failed = len(snapshot.finished), len(snapshot.failures)
    return Work(
        max(waiting, snapshot.sent - finished),
        done=finished - failed,
        failed=failed,
        unsent=max(0, snapshot.total - max(snapshot.sent, finished)),
        paused=snapshot.run.paused,
    )


def show(plan: LaunchPlan, *, dry_run: bool) -> None:
    """Print a plan on stderr."""
    for line in describe_plan(plan):
        (say_plan if dry_run else say)(line)
    if dry_run:
        say("nothing was created")


def _report(plan: LaunchPlan, outcome: LaunchOutcome, waited: float, *, json: bool) -> None:
    if json:
        answer_json(
            {
                "schema": 1,
                "asked": outcome.asked,
                "group": outcome.group or None,
                "waited_seconds": round(waited),
                "placement_score": plan.placement.score if plan.placement else None,
                "started": [vars(machine) for machine in outcome.started],
            }
        )
        return
    if outcome.group:
        answer(outcome.group)
        if outcome.size > outcome.asked:
            say(f"it has {outcome.size:,} workers already; parallelize scale ends some")
        return
    say(f"started {len(outcome.started):,} of {plural(outcome.asked, 'worker')}")
    for machine in outcome.started:
        answer(machine.id)
