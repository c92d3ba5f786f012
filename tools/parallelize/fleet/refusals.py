"""Launches that would only cost money, or cannot be intended: refused before any look-up."""

from __future__ import annotations

from parallelize.fleet.facts import Facts, Work
from parallelize.fleet.request import LaunchRequest, shares
from parallelize.units import plural
from parallelize_core.errors import NothingToDoError, UsageError
from parallelize_core.lane import Lane


def check_request(request: LaunchRequest) -> None:
    """Refuse a request that AWS could not fulfil in any case. Raises UsageError."""
    if request.count < 1:
        raise UsageError("launch takes a number of workers, at least 1")
    if not 0 <= request.on_demand <= request.count:
        raise UsageError(f"{request.on_demand} of {request.count} workers cannot be on-demand")
    if request.shutdown_behavior == "stop":
        _check_stop(request)
    if request.below is not None:
        _check_below(request, request.below)
    if request.fleet == "persistent" and request.fallback:
        raise UsageError(
            "a persistent fleet keeps asking the spot market, and has no fallback",
            fix="--on-demand K keeps K of the workers on-demand",
        )


def _check_below(request: LaunchRequest, below: float) -> None:
    if below <= 0:
        raise UsageError("--when-below takes a price in USD an hour, above 0")
    if request.fleet == "persistent":
        raise UsageError(
            "a persistent fleet starts machines whenever some are missing, so it cannot wait",
            fix="--max-price limits what it pays, or --fleet one-time",
        )
    if "spot" not in dict(shares(request)):
        raise UsageError(
            "--when-below waits for spot prices, but no spot worker is requested",
            "on-demand prices do not change",
            "--market spot",
        )


def _check_stop(request: LaunchRequest) -> None:
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/how-spot-instances-work.html
    only_on_demand = request.market == "on-demand" and request.fleet == "one-time"
    if not only_on_demand:
        raise UsageError(
            "only on-demand workers outside a group can stop instead of terminating",
            "AWS cannot stop one-time spot instances, and a group replaces stopped ones",
            '--market on-demand --fleet one-time, or shutdown_behavior = "terminate"',
        )


def check_work(facts: Facts, request: LaunchRequest) -> None:
    """Refuse machines that would have nothing to do. Raises NothingToDoError or UsageError."""
    if request.force:
        return
    work = facts.work
    if work.paused:
        raise NothingToDoError(
            "the run is paused, so workers would leave at once",
            work.paused,
            "parallelize enqueue resumes it",
        )
    # A fleet that scales itself starts with the first message, so the queue may still be empty.
    if request.autoscale:
        return
    if work.waiting == 0:
        raise _empty(work, request.agent.lane)
    # An existing group is set to the number; other workers are added.
    there = facts.workers if request.fleet == "one-time" else facts.loose
    if there + request.count > work.waiting:
        raise _too_many(work.waiting, there, request.count)


def _too_many(waiting: int, there: int, count: int) -> UsageError:
    useful = max(0, waiting - there)
    fewer = f"launch {useful}   " if useful else ""
    return UsageError(
        f"{there + count} workers for {plural(waiting, 'file')}: some would have nothing to do",
        f"the run has {plural(there, 'worker')} already" if there else None,
        f"{fewer}(--force launches {count} anyway)",
    )


def _empty(work: Work, lane: Lane) -> NothingToDoError:
    if lane is not Lane.MAIN:
        return NothingToDoError(
            f"nothing to do: no job waits in the {lane} lane",
            "workers move jobs there that turn out to need its machines",
            "parallelize status   says when some wait there\n  (--force launches anyway)",
        )
    unsent = f", {work.unsent:,} not enqueued" if work.unsent else ""
    return NothingToDoError(
        f"nothing to do: the queue is empty"
        f" ({work.done:,} files done, {work.failed:,} failed{unsent})",
        "launching workers would only cost money",
        f"{_next_step(work)}\n  (--force launches anyway)",
    )


def _next_step(work: Work) -> str:
    """Return the command that gives workers something to do, or fetches what they have done."""
    steps = [
        command
        for command, wanted in (
            ("parallelize enqueue", work.unsent), ("parallelize retry", work.failed),
        )
        if wanted
    ]  # fmt: skip
    done = "parallelize download DIR" if work.done else "parallelize enqueue"
    return ", or ".join(steps) or done
