"""Resumes a paused run: first its agents, then the group that starts them, if it has one."""

from __future__ import annotations

from parallelize.console import say, shown
from parallelize.context import Context
from parallelize.together import Version
from parallelize_core import pause
from parallelize_core.errors import ParallelizeError, code_of
from parallelize_core.run import Run


def resume(context: Context, run: Run, read: Version | None = None) -> None:
    """Resume `run` if it is paused, and say so; `read` is its record as it was just now."""
    # In this order: an agent that holds the group reads run.json afterwards.
    if not pause.resume(context.store, context.layout, read):
        return
    from parallelize.fleet import group as groups  # noqa: PLC0415 - seldom, and much to import

    say(f"resumed run {context.run}, which was paused ({shown(run.paused)})")
    try:
        autoscaling = context.client("autoscaling")
        for group in groups.find_of_run(autoscaling, context.names):
            groups.resume(autoscaling, group.name)
    except ParallelizeError as error:
        why = code_of(error) or error.what
        say(
            f"a persistent fleet starts no workers yet ({why})\n"
            f"  fix: somebody who may launch runs: parallelize scale N{context.hint}"
        )
