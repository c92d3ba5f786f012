"""How a run is doing.

EC2 is asked only why a run stands still, so only then is imported what that takes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from parallelize.console import escape
from parallelize.context import Context
from parallelize.hints import repeat_flags
from parallelize.queues import (
    RunCounts,
    ask_own_lanes,
    count_lanes,
    find_place,
    place_tag,
)
from parallelize.runs.record.ownership import look_up, place_later, tell_whose
from parallelize.runs.state.snapshot import VIEW_SECONDS, Reader
from parallelize.runs.state.status import RunStatus, status_of
from parallelize.together import Later, Together
from parallelize_core.errors import AccessError, MissingError, ParallelizeError
from parallelize_core.layout import RunLayout

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

    from parallelize_core.names import Names


def make_look(context: Context) -> Callable[[], RunStatus]:
    """Return a function that looks how the run is doing, and why, if it stands still.

    Says so if it is another project's, and if the queues and machines of its name are another
    run's, which explain nothing.
    """
    calls = Together(context.store)
    there, place = look_up(calls, context.store, context.layout), place_later(calls, context)
    reader = make_reader(context, VIEW_SECONDS)
    first = [reader.begin(calls)]
    tell_whose(context, there())
    elsewhere = ""
    with suppress(AccessError):
        elsewhere = place()
    if elsewhere:
        context.tell(
            f"queues and machines called {context.run} belong to the run in s3://{escape(elsewhere)}"
        )

    def look() -> RunStatus:
        snapshot = first.pop()() if first else reader.snapshot()
        now = status_of(snapshot)
        if now.why and not snapshot.run.paused and not elsewhere:
            from parallelize.runs.state.stall_diagnosis import with_stall_diagnosis  # noqa: PLC0415

            now = with_stall_diagnosis(context, now)
        return with_flags(context, now)

    return look


def make_rest(context: Context) -> Callable[[RunStatus], bool]:
    """Return a function that says, look by look, whether a watched run has come to rest.

    A paused run without workers and machines has, too. If EC2 does not answer, heartbeats decide.
    """
    from parallelize.runs.state.watch import comes_to_rest  # noqa: PLC0415 - only to watch it

    stands_still: Callable[[RunStatus], bool] | None = None

    def rests(status: RunStatus) -> bool:
        nonlocal stands_still
        if comes_to_rest(status) or not status.paused:
            stands_still = None
            return comes_to_rest(status)
        stands_still = stands_still or _make_stillness(context)
        return stands_still(status)

    return rests


def _make_stillness(context: Context) -> Callable[[RunStatus], bool]:
    from parallelize.operations.crew import Stillness, at_work  # noqa: PLC0415 - see above

    def count(status: RunStatus) -> int:
        try:
            return at_work(context, status)
        except ParallelizeError:
            return 0

    return Stillness(count)


def with_flags(context: Context, status: RunStatus) -> RunStatus:
    """Add the flags to the commands that `why` proposes, so that they mean this run."""
    return replace(status, why=status.why and repeat_flags(status.why, context.hint))


def make_reader(context: Context, patience_seconds: float | None = None) -> Reader:
    """Return a reader of the run's state, including the counts of its queue; see `Reader`."""
    return Reader(
        context.store,
        context.layout,
        lambda calls: count_queue(context, context.run, calls),
        patience_seconds=patience_seconds,
    )


def count_queue(context: Context, run: str, calls: Together) -> Later[RunCounts | None]:
    """Count the messages of a run, None if it has no queue of its own; see `Together`."""
    sqs, place = context.clients.sqs, place_tag(RunLayout(context.base, run).root)
    names = context.names._replace(run=run)
    return calls.add(
        lambda clients: ask_own_lanes(clients, names, place),
        lambda: _own_lanes(sqs, names, place),
    )


def _own_lanes(sqs: SQSClient, names: Names, place: str) -> RunCounts | None:
    with suppress(AccessError):  # who may count messages need not be allowed to read tags
        if find_place(sqs, names) not in {None, place}:
            return None
    try:
        return count_lanes(sqs, names)
    except MissingError:
        return None
