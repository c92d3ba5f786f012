"""Starts workers, once it is clear what they are and what they cost.

plan = make_plan(context)           # nothing is changed yet
launched = launch(context, plan)    # says what it does, and waits for its price
outcome = start(plan, context)      # for other operations, which make their own plans
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from parallelize.context import Context
from parallelize.fleet import price_wait
from parallelize.fleet.alarms import topic_arn
from parallelize.fleet.clients import ComputeClients, FactClients
from parallelize.fleet.describe import Place, describe_launch
from parallelize.fleet.disk import Disk
from parallelize.fleet.execute import LaunchOutcome, execute
from parallelize.fleet.facts import Facts, Interruptions, Work
from parallelize.fleet.placement import ask
from parallelize.fleet.plan import LaunchPlan, plan_launch
from parallelize.fleet.pool_choice import history, steers
from parallelize.fleet.request import LaunchRequest, shares
from parallelize.fleet.show import describe_plan
from parallelize.operations.machine_types import machine_types, requirements
from parallelize.operations.stock_bundle import pack, send
from parallelize.queues import Queues
from parallelize.runs.record.agent_config import agent_config
from parallelize.runs.record.ownership import check_ours, load_run
from parallelize.runs.state.snapshot import Reader, Snapshot, read_heartbeats
from parallelize.runs.state.spending import prepared_usd, spent_on
from parallelize_core.config import AgentConfig
from parallelize_core.errors import (
    MissingError,
    NothingToDoError,
    ParallelizeError,
    UsageError,
)
from parallelize_core.lane import TAIL_SHARE, Lane
from parallelize_core.manifest import count_sent


@dataclass(frozen=True)
class Launched:
    """What was started, by which plan, and how many seconds the wait for the price took."""

    plan: LaunchPlan
    outcome: LaunchOutcome
    waited: float
    lanes: tuple[str, ...] = ()
    """The groups that scale with the queues of the run's lanes."""

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        plan, outcome = self.plan, self.outcome
        return {
            "schema": 1,
            "asked": outcome.asked,
            "group": outcome.group or None,
            "lane_groups": list(self.lanes),
            "waited_seconds": round(self.waited),
            "placement_score": plan.placement.score if plan.placement else None,
            "started": [vars(machine) for machine in outcome.started],
        }


def check_count(count: int | None) -> None:
    """Raise UsageError for a number that `launch` cannot start; None stands for the settings'."""
    if count is not None and count < 1:
        raise UsageError("launch takes a number of workers, at least 1")


def make_plan(context: Context, *, below: float | None = None, force: bool = False) -> LaunchPlan:
    """Return the plan for the workers of the settings; changes nothing.

    With `below`, only asks for machines that cost less than this many USD an hour.
    """
    queues = find_queues(context)
    asked = make_request(context, queues, context.settings.workers.count, force=force)
    request = replace(asked, below=below)
    return plan_launch(scored(context, read_facts(context, queues, request), request), request)


def launch(context: Context, plan: LaunchPlan) -> Launched:
    """Start the machines of a plan; if the plan says so, wait until the price is right."""
    check_ours(context)
    began = time.monotonic()
    plan = await_price(context, plan)
    waited = time.monotonic() - began
    outcome = carry_out(plan, context)
    return Launched(plan, outcome, waited, tuple(_follow(context, lanes_beside(context, plan))))


def planned(context: Context, plan: LaunchPlan) -> list[str]:
    """Say what `launch` would do."""
    lanes = ", ".join(lanes_beside(context, plan))
    return [*describe_plan(plan), *([f"  lanes    {lanes}: a group for each"] * bool(lanes))]


def lanes_beside(context: Context, plan: LaunchPlan) -> tuple[Lane, ...]:
    """Return the lanes that get a group, too: all if the main lane's scales with its queue."""
    follows = context.lane is Lane.MAIN and plan.group and plan.request.autoscale
    return context.lanes if follows else ()


def _follow(context: Context, lanes: Sequence[Lane]) -> Iterator[str]:
    """Give each lane a group that scales with its queue, from zero; yield the groups' names.

    A refusal is only reported: the workers for all jobs are already starting.
    """
    for lane in lanes:
        beside = context.beside(lane)
        try:
            outcome = carry_out(make_plan(beside), beside)
        except ParallelizeError as error:
            context.tell(f"no workers for the {lane} lane: {error}")
        else:
            yield outcome.group


def await_price(context: Context, plan: LaunchPlan) -> LaunchPlan:
    """Wait for the price, if the plan has to; return a plan that can be carried out at once.

    Raises what planning does: the run may be done, or paused, before the price is right.
    """
    queue, asked = find_queues(context).of(context.lane), plan.request

    def is_over() -> bool:
        return not queue.counts().total or bool(load_run(context.store, context).paused)

    try:
        while plan.dear:
            _tell(plan, context)
            context.tell("nothing is started before; ctrl-C ends the wait")
            price_wait.wait(context.client("ec2"), plan.dear, is_over, context.tell)
            plan = make_plan(context, below=asked.below, force=asked.force)
    except KeyboardInterrupt:
        context.tell("interrupted; nothing was started")
        raise
    return plan


def carry_out(plan: LaunchPlan, context: Context) -> LaunchOutcome:
    """Start the machines; missing ones are in the outcome, and raise nothing."""
    _tell(plan, context)
    try:
        return start(plan, context)
    except KeyboardInterrupt:
        context.tell(
            f"interrupted; workers may have started: parallelize scale N{context.hint} counts them"
        )
        raise


def _tell(plan: LaunchPlan, context: Context) -> None:
    for line in describe_plan(plan):
        context.tell(line)


def start(plan: LaunchPlan, context: Context) -> LaunchOutcome:
    """Do what a plan says; first send the agent to the bucket if machines need it from there."""
    send(context, plan.request.bundles)
    return execute(plan, ComputeClients.make(context.session))


def make_request(
    context: Context, queues: Queues, count: int, *, force: bool = False, watched: bool = False
) -> LaunchRequest:
    """Return what the settings ask for; `watched` as `agent_config` has it."""
    workers, types = context.settings.workers, machine_types(context)
    return LaunchRequest(
        count=count,
        agent=agent_config(context, queues, watched=watched),
        token=uuid.uuid4().hex,
        types=types,
        by_requirements=requirements(context) is not None,
        market=workers.market,
        fleet=workers.fleet,
        on_demand=workers.on_demand,
        fallback=workers.fallback,
        autoscale=workers.autoscale,
        backlog_per_worker=workers.backlog_per_worker,
        gpus_per_job=context.settings.run.gpus_per_job,
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
    """Return the name of the topic for the account's alarms, whether it exists or not."""
    partition = context.session.get_partition_for_region(context.region)
    return topic_arn(partition, context.region, context.account, context.names)


def read_facts(context: Context, queues: Queues, request: LaunchRequest) -> Facts:
    """Read what the plan needs from AWS; changes nothing."""
    facts = facts_without_run(context, request, Work(0))
    enough = facts.workers + request.count
    with_cost = request.max_cost is not None
    work, snapshot = read_work(context, queues, enough, with_cost=with_cost)
    found = replace(facts, work=work, history=_history(context, request, snapshot))
    if snapshot is None:
        return found
    return replace(found, spent_usd=spent_on(snapshot).total, prepared_usd=prepared_usd(snapshot))


def facts_without_run(context: Context, request: LaunchRequest, work: Work) -> Facts:
    """Read what the plan needs from AWS, but nothing of the run, in which there is `work` to do."""
    place = Place(
        account=context.account,
        region=context.region,
        subnets=context.settings.aws.subnets,
        types=request.types,
        ami=context.settings.workers.ami,
        security_groups=request.security_groups,
        ami_owner=context.settings.workers.ami_owner,
    )
    facts = describe_launch(FactClients.make(context.session), place, work, context.names)
    return replace(facts, emulated=context.is_free)


def _history(
    context: Context, request: LaunchRequest, snapshot: Snapshot | None
) -> tuple[Interruptions, ...]:
    """Return how the run's spot workers fared, if that affects where others start."""
    if not steers(request):
        return ()
    beats = snapshot.heartbeats if snapshot else read_heartbeats(context.store, context.layout)
    return history(beats, time.time())


def scored(context: Context, facts: Facts, request: LaunchRequest) -> Facts:
    """Ask EC2 how likely the spot market can provide the machines; the local cloud always can."""
    if context.is_free:
        return facts
    count = dict(shares(request)).get("spot", 0)
    types = (pool.type.name for pool in facts.pools)
    return replace(facts, placement=ask(context.client("ec2"), context.region, types, count))


def find_config(context: Context) -> AgentConfig:
    """Return the configuration of the run's workers; NothingToDoError before it has queues."""
    return agent_config(context, find_queues(context))


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
    """Return what there is to do, and the run's snapshot if one was taken; `with_cost` takes one.

    SQS counts recent messages late. So if the queue seems to have fewer than `enough`, the manifest
    and the results are read, which are the truth about a run; otherwise they are not. Of a lane,
    only its queue tells; workers of the steady lane get the run's last jobs, too.
    """
    waiting, is_main = queues.of(context.lane).counts().total, context.lane is Lane.MAIN
    if context.lane is Lane.STEADY:
        waiting += _last_jobs(context, queues)
    if (waiting >= enough or not is_main) and not with_cost:
        return Work(waiting, paused=load_run(context.store, context).paused), None
    snapshot = Reader(context.store, context.layout).snapshot()
    if not is_main:
        return Work(waiting, paused=snapshot.run.paused), snapshot
    return work_of(snapshot, waiting, queues.counts().total - waiting), snapshot


def _last_jobs(context: Context, queues: Queues) -> int:
    """Return how many of the run's last jobs are left in the main lane; 0 before its end."""
    left = queues.main.counts().total
    return left if left <= TAIL_SHARE * count_sent(context.store, context.layout) else 0


def work_of(snapshot: Snapshot, waiting: int, in_lanes: int = 0) -> Work:
    """Return what there is to do, by a snapshot.

    `waiting` messages are on the main queue, `in_lanes` on others.
    """
    finished, failed = len(snapshot.finished), len(snapshot.failures)
    return Work(
        max(waiting, snapshot.sent - finished - in_lanes),
        done=finished - failed,
        failed=failed,
        unsent=max(0, snapshot.total - max(snapshot.sent, finished)),
        paused=snapshot.run.paused,
    )
