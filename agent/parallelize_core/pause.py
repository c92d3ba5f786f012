"""Pausing and resuming a run: a reason in run.json, which every agent reads again and again.

The circuit breaker does it when so much fails that it is better to stop the run and to look.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from parallelize_core.clock import utc_now
from parallelize_core.errors import ServiceError
from parallelize_core.layout import RunLayout
from parallelize_core.run import Run
from parallelize_core.store import Condition, Store

MAX_TRIES = 10

HELD_PROCESSES = ("Launch", "AlarmNotification")
"""What the Auto Scaling group of a paused run must not do: it would start workers that only leave.

https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-suspend-resume-processes.html
"""


COST_LIMIT = "the cost limit of "
"""How the reason begins when a run is paused at its cost limit."""


def cost_limit_reason(limit_usd: float, spent_usd: float) -> str:
    """Return the reason of a run that is paused at its cost limit."""
    return f"{COST_LIMIT}${limit_usd:.2f} is reached (about ${spent_usd:.2f} spent)"


def is_cost_limit(reason: str) -> bool:
    """Whether this reason means that a run is paused at its cost limit."""
    return reason.startswith(COST_LIMIT)


def pause(store: Store, layout: RunLayout, reason: str) -> bool:
    """Ask all agents to leave. Answers False if the run was paused already, for its own reason.

    Raises MissingError if there is no such run.
    """

    def paused(run: Run) -> Run:
        return run if run.paused else run.model_copy(update={"paused": reason})

    return not change_run(store, layout, paused).paused


def resume(store: Store, layout: RunLayout, read: tuple[bytes, str] | None = None) -> bool:
    """Let agents work again, and forgive all failures so far: they do not halt the run again.

    This includes jobs that succeeded without an output. Returns False if the run was not paused.
    `read` is run.json as it was just now, as for `change_run`.
    """

    def resumed(run: Run) -> Run:
        if not (run.paused or run.forgiven or run.forgiven_silent):
            return run
        # Counted at each look at the record: no ETag says that jobs have failed since.
        forgiven = {
            "forgiven": sum(1 for _ in store.list(layout.failures.prefix)),
            "forgiven_silent": sum(1 for _ in store.list(layout.silences.prefix)),
        }
        if run.paused:
            return run.model_copy(update={**forgiven, "paused": "", "resumed_at": utc_now()})
        # A retry has removed some marks: new ones in their place are not forgiven.
        kept = {name: min(getattr(run, name), count) for name, count in forgiven.items()}
        return run.model_copy(update=kept)

    return bool(change_run(store, layout, resumed, read).paused)


def change_run(
    store: Store,
    layout: RunLayout,
    change: Callable[[Run], Run],
    read: tuple[bytes, str] | None = None,
) -> Run:
    """Write what `change` makes of the run, if it differs; return the run as it was before.

    `read` is run.json as it was a moment ago, with the ETag of just that content. Raises
    MissingError if there is no such run.
    """
    tried: tuple[Run, Run] | None = None
    for _ in range(MAX_TRIES):
        body, etag = read or _read(store, layout)
        run, read = Run.decode(body), None
        if tried and run == tried[1]:
            return tried[0]  # our own write, whose answer was lost
        if (changed := change(run)) == run:
            return run
        tried = run, changed
        # If another has written meanwhile, the ETag differs and nothing is lost.
        if etag and store.put(layout.run_json, changed.encode(), Condition(etag=etag)):
            return run
    raise ServiceError(f"run.json of {layout.run} keeps changing", None, "try again")


def _read(store: Store, layout: RunLayout) -> tuple[bytes, str]:
    # In this order: the ETag may be older than the content, and then the write fails.
    found = store.head(layout.run_json)
    return store.get(layout.run_json), found.etag if found else ""


FIRST = 20
"""A run whose first jobs, this many, have all failed is halted whatever its settings say."""


class Progress(NamedTuple):
    """Jobs of a run: in all, with a result, failed; `forgiven` failures do not count any more.

    `in_vain` has the jobs with a charged attempt that failed since the run was last resumed,
    whether or not they are tried again; it matters only while nothing has succeeded.
    """

    total: int
    finished: int
    failed: int
    forgiven: int = 0
    in_vain: int = 0

    @property
    def fresh(self) -> int:
        """The failures that count."""
        return max(0, self.failed - self.forgiven)


def allowance(halt: str | None, total: int) -> int | None:
    """Return how many failures halt a run of `total` jobs; `halt` is "5%", "20" or None."""
    if halt is None:
        return None
    if halt.endswith("%"):
        return max(1, math.ceil(total * float(halt[:-1]) / 100))
    return int(halt)


def least_failures(halt: str | None) -> int:
    """Return how many failures there have to be before any run can be halted."""
    limit = allowance(halt, 0)
    return FIRST if limit is None else min(FIRST, limit)


def reason_to_halt(halt: str | None, progress: Progress) -> str | None:
    """Say why a run should be halted, or return None if it should go on or is at its end."""
    if progress.finished >= progress.total:
        return None
    limit = allowance(halt, progress.total)
    if limit is not None and progress.fresh >= limit:
        return f"{progress.fresh:,} of {progress.total:,} files have failed (run.halt is {halt})"
    # Jobs that are tried again go to the end of the queue, so they fail for good only when all
    # others have been tried: too late for a run in which nothing works.
    if max(progress.fresh, progress.in_vain) >= FIRST and progress.failed == progress.finished:
        return f"the first {max(progress.failed, progress.in_vain):,} files have all failed"
    return None
