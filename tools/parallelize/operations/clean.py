"""Deletes what a run has made: machines first, then queues, then objects.

The user's own inputs and outputs, outside the run's folder, stay. It can be repeated until nothing
is left, and says so when nothing is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from parallelize.console import escape, few, shown
from parallelize.context import Context
from parallelize.fleet import instances
from parallelize.fleet.clients import ComputeClients, FactClients
from parallelize.fleet.leftovers import find_leftovers
from parallelize.fleet.prices import on_demand
from parallelize.fleet.show import describe_leftovers
from parallelize.fleet.termination import Statement, look
from parallelize.operations.kill import record, sentences, terminate_run, unclear
from parallelize.queues import RunCounts, count_lanes, delete_queues
from parallelize.runs.environment.sweep import sweep_shared
from parallelize.runs.record import old_versions
from parallelize.runs.record.old_versions import Version
from parallelize.runs.record.ownership import place_elsewhere
from parallelize.runs.state.snapshot import read_heartbeats
from parallelize.spool import Spooled, spooled_texts
from parallelize.units import plural, show_size
from parallelize_core.errors import (
    MissingError,
    NothingToDoError,
    ParallelizeError,
    UsageError,
)
from parallelize_core.layout import RunLayout, shared_by_runs
from parallelize_core.store import ObjectInfo, Store

GOOD_BYE_SECONDS = 10.0
"""How long workers get to return their files and to report that they have left."""

LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Plan:
    """What a run has now; `unmanaged` are live workers on machines outside EC2."""

    machines: tuple[str, ...]
    unmanaged: tuple[str, ...]
    queues: RunCounts | None
    objects: int
    bytes: int
    keep_outputs: bool = False
    group: str = ""
    """The name of the run's Auto Scaling group, if it has one."""
    versions: int = 0
    """How many older versions the bucket keeps of the run's objects."""
    elsewhere: str = ""
    """Where another run is that has the queues and the machines of this name."""


@dataclass(frozen=True)
class Cleaned:
    """What was deleted, by which plan, and which machines are left."""

    plan: Plan
    statement: Statement
    queues: list[str]
    versions: int

    @property
    def line(self) -> str:
        """What was deleted from S3, in words."""
        more = f" with {plural(self.versions, 'version')}" if self.versions else ""
        objects = plural(self.plan.objects, "object")
        return f"run {self.statement.run}: {objects} deleted{more}"

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        objects = {"objects": self.plan.objects, "bytes": self.plan.bytes}
        return {**record(self.statement), "deleted": {**objects, "queues": self.queues}}


def planned(context: Context, *, keep_outputs: bool) -> Iterator[str]:
    """Say what `clean` would do, and what other runs have left in EC2; changes nothing."""
    try:
        plan = make_plan(context, keep_outputs=keep_outputs)
        yield from told(plan, context, will="would")
    except NothingToDoError as nothing:
        yield nothing.what
    yield from few(leftovers_of_other_runs(context))


def clean(context: Context, plan: Plan) -> Cleaned:
    """Do what the plan says, and delete the older versions that the bucket keeps."""
    statement, queues = remove(context, plan)
    for line in sentences(statement) if not plan.elsewhere else ():
        context.tell(line)
    sweep_shared(context)
    versions = delete_versions(context, keep_outputs=plan.keep_outputs)
    return Cleaned(plan, statement, queues, versions)


def remove(context: Context, plan: Plan) -> tuple[Statement, list[str]]:
    """Do what the plan says, without asking; return what is left, and the deleted queues."""
    # The most expensive first: an error in the rest leaves nothing running.
    if plan.elsewhere:
        _delete(context.store, context.layout, keep_outputs=plan.keep_outputs)
        return Statement(context.run, ()), []
    statement = terminate_run(context)
    if not statement.clear:
        raise unclear(statement)
    await_good_byes(context.store, context.layout, plan.machines)
    queues = delete_queues(context.clients.sqs, context.names)
    _delete(context.store, context.layout, keep_outputs=plan.keep_outputs)
    return statement, queues


def await_good_byes(
    store: Store,
    layout: RunLayout,
    workers: Collection[str],
    seconds: float = GOOD_BYE_SECONDS,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Give workers whose machines are being terminated a moment to report that they leave."""
    deadline = time.monotonic() + seconds
    while set(live_workers(store, layout, time.time())) & set(workers):
        if time.monotonic() >= deadline:
            return
        wait(LOOK_SECONDS)


def leftovers_of_other_runs(context: Context) -> list[str]:
    """Return what other runs have left in EC2, with its age and estimated cost, in lines."""
    clients = FactClients.make(context.session)
    compute = ComputeClients.make(context.session)
    types = sorted(
        {machine.type for machine in instances.find(compute.ec2, context.names.of_all_runs)}
    )
    prices = on_demand(clients.pricing, context.region, types) if types else {}
    found = find_leftovers(compute, context.names, datetime.now(UTC), prices)
    return describe_leftovers([one for one in found if one.run != context.run])


def make_plan(context: Context, *, keep_outputs: bool) -> Plan:
    """Find out what the run has; raise NothingToDoError if it has nothing."""
    store, layout = context.store, context.layout
    objects = size = 0
    for item in _objects(store, layout, keep_outputs=keep_outputs):
        objects += 1
        size += item.size
    elsewhere = place_elsewhere(context)
    if elsewhere and objects:
        return Plan((), (), None, objects, size, keep_outputs, elsewhere=elsewhere)
    if elsewhere:
        raise _nothing(context)
    try:
        queues = count_lanes(context.clients.sqs, context.names)
    except MissingError:
        queues = None
    compute = look(ComputeClients.make(context.session), context.names)
    machines = tuple(machine.id for machine in compute.machines)
    versions = _count_old_versions(context, keep_outputs=keep_outputs)
    if not (objects or queues or machines or compute.groups or versions):
        raise _nothing(context)
    alive = live_workers(store, layout, time.time())
    unmanaged = tuple(worker for worker in alive if worker not in machines)
    group = " and ".join(group.name for group in compute.groups)
    return Plan(machines, unmanaged, queues, objects, size, keep_outputs, group, versions)


def _nothing(context: Context) -> NothingToDoError:
    return NothingToDoError(f'there is nothing of a run "{context.run}" in {context.base.uri}')


def _objects(store: Store, layout: RunLayout, *, keep_outputs: bool) -> Iterator[ObjectInfo]:
    spared = layout.output.prefix if keep_outputs else None
    for item in store.list(layout.root.prefix):
        if spared is None or not item.key.startswith(spared):
            yield item


def _versions(context: Context, *, keep_outputs: bool) -> Iterator[Version]:
    """Yield the versions of the objects that are deleted."""
    layout = context.layout
    for version in old_versions.find(context.clients.s3, layout.root):
        if not (keep_outputs and version.key.startswith(layout.output.prefix)):
            yield version


def _count_old_versions(context: Context, *, keep_outputs: bool) -> int:
    if not _keeps_versions(context):
        return 0
    return sum(one.is_old for one in _versions(context, keep_outputs=keep_outputs))


def _keeps_versions(context: Context) -> bool:
    """Whether the bucket keeps versions; if that cannot be read, say so, and leave them."""
    try:
        return old_versions.keeps_versions(context.clients.s3, context.bucket)
    except ParallelizeError as error:
        context.tell(f"cannot tell whether the bucket keeps older versions ({escape(error.what)})")
        return False


def _swept_versions(context: Context) -> Iterator[Version]:
    """Go through the versions that the bucket keeps of swept contents, including earlier sweeps.

    Markers come last: without its marker an older version would reappear.
    """
    markers = Spooled(
        lambda one: (one.key, one.id), lambda key, id_: Version(key, id_, marker=True)
    )
    for one in old_versions.find(context.clients.s3, shared_by_runs(context.base)):
        if one.marker:
            markers.append(one)
        elif one.is_old:
            yield one
    yield from markers


def delete_versions(context: Context, *, keep_outputs: bool) -> int:
    """Delete the versions that a bucket keeps of deleted objects; return how many."""
    if not _keeps_versions(context):
        return 0
    s3, bucket = context.clients.s3, context.bucket
    count = old_versions.delete(s3, bucket, _versions(context, keep_outputs=keep_outputs))
    return count + old_versions.delete(s3, bucket, _swept_versions(context))


def live_workers(store: Store, layout: RunLayout, now: float) -> list[str]:
    """Return the workers whose heartbeat is fresh; `now` in seconds since 1970."""
    return [beat.worker for beat in read_heartbeats(store, layout) if beat.alive(now)]


def check_workers(plan: Plan, run: str, *, force: bool) -> None:
    """Raise UsageError if the run has workers that this command cannot end, unless forced."""
    if plan.unmanaged and not force:
        raise UsageError(
            f"run {run} has {plural(len(plan.unmanaged), 'active worker')} outside EC2",
            f"clean cannot end {shown(plan.unmanaged[0])}, which would fail without the run's data",
            "parallelize stop   first, or end it on its machine; --force deletes anyway",
        )


def _delete(store: Store, layout: RunLayout, *, keep_outputs: bool) -> None:
    # List again: workers may have written since the plan was made.
    objects = _objects(store, layout, keep_outputs=keep_outputs)
    going = spooled_texts(item.key for item in objects if item.key != layout.run_json)
    # Delete run.json last: while it exists, an interrupted clean is visible and can be repeated.
    store.delete(going)
    store.delete([layout.run_json])


def told(plan: Plan, context: Context, *, will: str) -> list[str]:
    """Say what a plan does; `will` is the verb of each step."""
    lines = [f"end worker {name}" for name in plan.machines]
    lines += [f"delete the Auto Scaling group {plan.group}"] if plan.group else []
    objects, size = plural(plan.objects, "object"), show_size(plan.bytes)
    lines += [f"delete {objects}, {size}, of {context.layout.root.uri}"]
    if plan.versions:
        lines.append(f"delete {plural(plan.versions, 'older version')} that the bucket keeps")
    if plan.queues:
        queues = "the queues of all lanes" if plan.queues.lanes else "both queues"
        lines.append(f"delete {queues}, with {plural(plan.queues.total, 'message')}")
    return [
        *_staying(plan),
        *(f"{will} {line}" for line in lines),
        *(
            f"worker {shown(name)} is active outside EC2, where this command cannot end it"
            for name in plan.unmanaged
        ),
    ]


def _staying(plan: Plan) -> list[str]:
    if not plan.elsewhere:
        return []
    return [f"queues and machines stay: they belong to the run in s3://{escape(plan.elsewhere)}"]
