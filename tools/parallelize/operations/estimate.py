"""Runs random files for real, to forecast the rest.

The sample is part of the run: its files then have their results, and are not processed again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from parallelize.context import Context
from parallelize.fleet.facts import Work
from parallelize.fleet.plan import LaunchPlan, plan_launch
from parallelize.operations.launch import find_queues, make_request, read_facts, start
from parallelize.operations.status import make_reader
from parallelize.queues import Queues
from parallelize.runs.record.ownership import adopt, check_ours, loaded
from parallelize.runs.results.results import read_results
from parallelize.runs.state.forecast import (
    Forecast,
    LaneForecast,
    Percentiles,
    Range,
    forecast,
    forecast_lane,
)
from parallelize.runs.state.spending import NOT_COUNTED
from parallelize.runs.state.status import RunState, RunStatus, status_of
from parallelize.runs.state.watch import open_view, watch
from parallelize.units import plural, show_duration, show_size, show_usd
from parallelize_core.cost import spent
from parallelize_core.errors import NothingToDoError, ParallelizeError, ServiceError, UsageError
from parallelize_core.heartbeat import Heartbeat
from parallelize_core.lane import Lane
from parallelize_core.manifest import Entry, finished, read_entries

COUNTED = "machines, addresses, disks, requests, metrics and log"

LOOKS_ALONE = 3
"""The sample is given up after this many looks in a row without a live worker."""


@dataclass(frozen=True)
class Sample:
    """The files to run, and how many are left after them."""

    entries: tuple[Entry, ...]
    left: int

    @property
    def files(self) -> str:
        """Their number, in words."""
        return plural(len(self.entries), "random file")


def estimate(context: Context, sample: Sample) -> Forecast:
    """Run a sample on one worker, and forecast time, cost and memory of the rest."""
    adopt(context)
    plan = _start(context, sample)
    heartbeats = _await(context, sample.entries)
    keys = [entry.key for entry in sample.entries]
    results = list(read_results(context.store, context.layout, keys))
    if not results:
        raise ServiceError(
            "the sample has no result",
            "its worker left before it finished a file",
            "parallelize status",
        )
    workers = context.settings.workers.count
    slots = workers * max((beat.slots for beat in heartbeats), default=1)
    price = hourly_usd(heartbeats, plan)
    together = None if price is None else price * workers
    told = forecast(results, sample.left, slots, together, request_usd(heartbeats))
    return replace(told, lanes=tuple(_lanes(context, told)))


def _lanes(context: Context, told: Forecast) -> Iterator[LaneForecast]:
    """Forecast each lane's work; files of the sample that moved to a lane wait there."""
    queues = find_queues(context)
    for lane in context.lanes:
        moved = queues.of(lane).counts().total
        yield forecast_lane(told, lane, moved, _price_in(context.beside(lane), queues))


def _price_in(context: Context, queues: Queues) -> float | None:
    """Return the price of a worker of a lane for an hour, None if not known."""
    request = replace(
        make_request(context, queues, 1, force=True), fleet="one-time", autoscale=False, on_demand=0
    )
    try:
        plan = plan_launch(read_facts(context, queues, request), request)
    except ParallelizeError as error:
        context.tell(f"no price for the {context.lane} lane: {error.what}")
        return None
    return plan.hourly_usd[1] if plan.hourly_usd else None


def choose(context: Context, count: int) -> Sample:
    """Choose random files without a result, from a run of this project."""
    store, layout = context.store, context.layout
    if paused := loaded(store, check_ours(context)).paused:
        raise NothingToDoError(
            "the run is paused, so a worker would leave at once",
            paused, "parallelize enqueue resumes it",
        )  # fmt: skip
    done = finished(store, layout)
    jobs = read_entries(store, layout)
    open_jobs = [job for job in jobs if layout.result(job.key) not in done]
    if not open_jobs:
        raise NothingToDoError("every file of the run has a result", None, "parallelize status")
    chosen = random.sample(open_jobs, min(count, len(open_jobs)))
    return Sample(tuple(chosen), len(open_jobs) - len(chosen))


def _start(context: Context, sample: Sample) -> LaunchPlan:
    """Start one worker for the sample; what prevents a launch raises before the sample is sent."""
    context.make_queues()
    queues = find_queues(context)
    if waiting := queues.counts().total:
        raise UsageError(
            f"{plural(waiting, 'file')} on the queue already: the sample would wait behind them",
            "a sample needs a run whose queue is empty",
            "parallelize status   forecasts a run in progress",
        )
    request = replace(
        make_request(context, queues, 1), fleet="one-time", autoscale=False, on_demand=0
    )
    facts = replace(read_facts(context, queues, request), work=Work(len(sample.entries)))
    plan = plan_launch(facts, request)
    queues.main.send([entry.message(context.run).encode() for entry in sample.entries])
    outcome = start(plan, context)
    outcome.check()
    context.tell(f"{sample.files} on one worker")
    return plan


def _await(context: Context, chosen: Sequence[Entry]) -> tuple[Heartbeat, ...]:
    """Wait until the sample has its results, or no worker is left."""
    reader = make_reader(context)
    wanted = {context.layout.result(entry.key) for entry in chosen}
    alone = 0

    def is_over(status: RunStatus) -> bool:
        nonlocal alone
        alone = alone + 1 if status.workers and status.state is RunState.IDLE else 0
        return wanted <= finished(context.store, context.layout) or alone >= LOOKS_ALONE

    with open_view() as view:
        watch(lambda: status_of(reader.snapshot()), view, is_over)
    return reader.snapshot().heartbeats


def hourly_usd(heartbeats: Sequence[Heartbeat], plan: LaunchPlan) -> float | None:
    """Return what an hour of one worker costs, its address, disk, metrics and log included."""
    known = [beat.hourly_usd for beat in heartbeats if beat.hourly_usd is not None]
    machine = known[-1] if known else plan.hourly_usd[1] if plan.hourly_usd else None
    return None if machine is None else machine + _beside_hourly_usd(heartbeats)


def _beside_hourly_usd(heartbeats: Sequence[Heartbeat]) -> float:
    charged = [beat for beat in heartbeats if beat.charges and beat.seen > beat.started]
    hours = sum(beat.seen - beat.started for beat in charged) / 3600
    total = spent(charged)
    return (total.addresses + total.disks + total.monitoring) / hours if hours else 0.0


def request_usd(heartbeats: Sequence[Heartbeat]) -> float:
    """Return the price of a file's requests, including those of the worker's own life."""
    files = sum(beat.done + beat.failed for beat in heartbeats)
    return spent(heartbeats).requests / files if files else 0.0


def sentences(told: Forecast, workers: int) -> list[str]:
    """Return a forecast in words."""
    failed = f", {told.failed} failed" if told.failed else ""
    seconds = told.seconds
    return [
        f"sample   {plural(told.sampled, 'file')}{failed}; {told.left:,} are left",
        f"seconds  median {seconds.p50:.1f}, p95 {seconds.p95:.1f}, max {seconds.most:.1f}",
        f"memory   {_sizes(told.memory)}",
        f"time     {_span(told.hours)} on {plural(workers, 'worker')} (commands only)",
        f"cost     {_money(told.usd)}",
        *(
            []
            if told.usd is None
            else [f"         (includes {COUNTED};", f"          not {NOT_COUNTED})"]
        ),
        *(line for lane in told.lanes for line in _lane(lane, told)),
    ]


def _lane(one: LaneForecast, told: Forecast) -> Iterator[str]:
    """Forecast in words the work of a lane, and what it costs."""
    name, files = f"{one.lane:<9}", f"{one.files.high:,.0f} of the {told.left:,}"
    if one.lane is Lane.STEADY:
        if not one.files.high:
            yield f"{name}jobs interrupted twice; the last 1 % end too soon to need it"
            return
        yield f"{name}jobs interrupted twice, and the last 1 %: {files}"
    else:
        moved = f"{one.moved} of {one.moved + told.sampled} moved there"
        yield f"{name}{moved}; expect {one.files.low:,.0f} to {files}"
    price = "" if one.hourly_usd is None else f" at {show_usd(one.hourly_usd)} an hour"
    yield f"         {_span(one.hours)} on one machine{price}"


def _sizes(memory: Percentiles | None) -> str:
    if memory is None:
        return "not known: the jobs were too short, or their worker could not measure it"
    sizes = [show_size(int(size)) for size in (memory.p50, memory.p95, memory.most)]
    return f"median {sizes[0]}, p95 {sizes[1]}, max {sizes[2]}"


def _span(hours: Range) -> str:
    low, high = show_duration(hours.low * 3600), show_duration(hours.high * 3600)
    return low if low == high else f"{low} to {high}"


def _money(cost: Range | None) -> str:
    if cost is None:
        return "not known"
    low, high = show_usd(cost.low), show_usd(cost.high)
    return f"{low if low == high else f'{low} to {high}'} for the rest"


def as_json(told: Forecast) -> dict[str, Any]:
    """Return a forecast as a JSON object."""
    return {"schema": 1, **asdict(told)}
