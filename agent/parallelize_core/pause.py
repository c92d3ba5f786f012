"""Stopping a run and letting it go on: a reason in run.json, which every agent reads again."""

from __future__ import annotations

from parallelize_core.errors import ServiceError
from parallelize_core.layout import RunLayout
from parallelize_core.run import Run
from parallelize_core.store import Condition, Store

MAX_TRIES = 10


def pause(store: Store, layout: RunLayout, reason: str) -> bool:
    """Ask all agents to leave. Answers False if the run was paused already, for its own reason.

    Raises MissingError if there is no such run.
    """
    return _change(store, layout, reason, only_if_paused=False)


def resume(store: Store, layout: RunLayout) -> bool:
    """Let agents work again. Answers False if the run was not paused."""
    return _change(store, layout, "", only_if_paused=True)


def _change(store: Store, layout: RunLayout, reason: str, *, only_if_paused: bool) -> bool:
    for _ in range(MAX_TRIES):
        found = store.head(layout.run_json)
        run = Run.decode(store.get(layout.run_json))
        if bool(run.paused) is not only_if_paused:
            return False
        body = run.model_copy(update={"paused": reason}).encode()
        # If somebody else has written meanwhile, the ETag is another and nothing is lost.
        if found and store.put(layout.run_json, body, Condition(etag=found.etag)):
            return True
    raise ServiceError(f"run.json of {layout.run} keeps changing", None, "try again")
