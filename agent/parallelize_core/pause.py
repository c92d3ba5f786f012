"""Pausing and resuming a run: a reason in run.json, which every agent reads again and again."""

from __future__ import annotations

from collections.abc import Callable

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


def resume(store: Store, layout: RunLayout) -> bool:
    """Let agents work again, and forgive all failures so far: they do not halt the run again.

    This includes jobs that succeeded without an output. Returns False if the run was not paused.
    """
    failures = sum(1 for _ in store.list(layout.failures.prefix))
    silences = sum(1 for _ in store.list(layout.silences.prefix))

    def resumed(run: Run) -> Run:
        forgiven = {"forgiven": failures, "forgiven_silent": silences}
        if run.paused:
            return run.model_copy(update={**forgiven, "paused": "", "resumed_at": utc_now()})
        # A retry has removed some marks: new ones in their place are not forgiven.
        kept = {name: min(getattr(run, name), count) for name, count in forgiven.items()}
        return run.model_copy(update=kept)

    return bool(change_run(store, layout, resumed).paused)


def change_run(store: Store, layout: RunLayout, change: Callable[[Run], Run]) -> Run:
    """Write what `change` makes of the run, if it differs; return the run as it was before.

    Raises MissingError if there is no such run.
    """
    tried: tuple[Run, Run] | None = None
    for _ in range(MAX_TRIES):
        found = store.head(layout.run_json)
        run = Run.decode(store.get(layout.run_json))
        if tried and run == tried[1]:
            return tried[0]  # our own write, whose answer was lost
        if (changed := change(run)) == run:
            return run
        tried = run, changed
        # If another has written meanwhile, the ETag differs and nothing is lost.
        if found and store.put(layout.run_json, changed.encode(), Condition(etag=found.etag)):
            return run
    raise ServiceError(f"run.json of {layout.run} keeps changing", None, "try again")
