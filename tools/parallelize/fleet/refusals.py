"""Launches that would only cost money, or cannot be meant: refused before anything is looked up."""

from __future__ import annotations

from parallelize.fleet.facts import Facts
from parallelize.fleet.request import LaunchRequest
from parallelize_core.errors import NothingToDoError, UsageError


def check_request(request: LaunchRequest) -> None:
    """Refuse a request that AWS could not fulfil whatever there is. Raises UsageError."""
    if request.count < 1:
        raise UsageError("launch takes a number of workers, at least 1")
    if not 0 <= request.on_demand <= request.count:
        raise UsageError(f"{request.on_demand} of {request.count} workers cannot be on-demand")
    if request.shutdown_behavior == "stop":
        _check_stop(request)
    if request.fleet == "persistent" and request.fallback:
        raise UsageError(
            "a persistent fleet keeps asking the spot market, and has no fallback",
            fix="--on-demand K keeps K of the workers on-demand",
        )


def _check_stop(request: LaunchRequest) -> None:
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/how-spot-instances-work.html
    only_on_demand = request.market == "on-demand" and request.fleet == "one-time"
    if not only_on_demand:
        raise UsageError(
            "workers can stop, instead of terminate, only on-demand and outside a group",
            "AWS cannot stop one-time spot instances, and a group replaces stopped ones",
            '--market on-demand --fleet one-time, or shutdown_behavior = "terminate"',
        )


def check_work(facts: Facts, request: LaunchRequest) -> None:
    """Refuse machines that would find nothing to do. Raises NothingToDoError or UsageError."""
    if request.force:
        return
    work = facts.work
    if work.paused:
        raise NothingToDoError(
            "the run is paused, so workers would leave at once",
            work.paused,
            "parallelize enqueue resumes it",
        )
    # A fleet that scales itself starts with the first message, so there need not be one yet.
    if request.autoscale:
        return
    waiting = work.waiting
    if waiting == 0:
        raise _empty(facts)
    if request.count > waiting:
        raise UsageError(
            f"{request.count} workers for {waiting} files: some would have nothing to do",
            None,
            f"launch {waiting}   (--force launches {request.count} anyway)",
        )


def _empty(facts: Facts) -> NothingToDoError:
    work = facts.work
    unsent = f", {work.unsent:,} not enqueued" if work.unsent else ""
    return NothingToDoError(
        f"nothing to do: the queue is empty"
        f" ({work.done:,} files done, {work.failed:,} failed{unsent})",
        "launching workers would only cost money",
        "parallelize enqueue, or parallelize retry\n  (--force launches anyway)",
    )
