"""The live view of a run in a browser, on this machine."""

from __future__ import annotations

import os
import tempfile
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread

from parallelize.context import Context
from parallelize.dashboard.live import Place
from parallelize.dashboard.server import Dashboard
from parallelize.dashboard.site import Site
from parallelize.explain import explain
from parallelize.fleet.clients import ComputeClients
from parallelize.operations.status import count_queue
from parallelize.options import Common
from parallelize.runs.record.ownership import find_run
from parallelize.runs.state.stall_diagnosis import told_by_ec2
from parallelize.together import Together
from parallelize_core.errors import ParallelizeError, UsageError

DOOR = """<!doctype html>
<meta charset="utf-8"><meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={url}">
"""


def has_begun(context: Context) -> bool:
    """Whether the run, or a part of it, exists; raises any error before a browser opens."""
    return find_run(context.store, context.layout.run_json) is not None


def place_of(context: Context, common: Common) -> Place:
    """Return what the pages are made from; it makes all clients before there are threads."""
    compute = ComputeClients.make(context.session)

    def hint(run: str) -> str:
        return context.hint if run == context.run else replace(common, run=run or None).again()

    def tell(error: Exception, run: str) -> ParallelizeError | None:
        return explain(error, hint=hint(run))

    return Place(
        store=context.store,
        base=context.base,
        count=lambda run: count_queue(context, run, Together(context.store))(),
        hint=hint,
        tell=tell,
        explain=lambda status: told_by_ec2(compute, context.names._replace(run=status.run), status),
        max_cost={context.run: context.settings.workers.max_cost},
        emulated=context.is_free,
    )


@contextmanager
def listening(context: Context, common: Common, port: int) -> Iterator[Dashboard]:
    """Yield a server that has its port; raise UsageError if the port cannot be used."""
    try:
        server = Dashboard(Site(place_of(context, common)), port)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"port {port} cannot be used", str(error), "leave out --port, or give another"
        ) from None
    with server:
        yield server


@contextmanager
def door(url: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Open the address in a browser, through a file that only this user can read.

    If the browser got it as an argument, every user of the machine could see it, including the
    token. The file is in the current folder, because a sandboxed browser may have a /tmp of its
    own.
    """
    handle, name = tempfile.mkstemp(".html", ".parallelize-", Path.cwd())
    path = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(DOOR.format(url=url))
        # A browser in the terminal returns only when the user quits it, and needs the server until
        # then.
        Thread(target=_show, args=(path, tell), daemon=True).start()
        yield
    finally:
        path.unlink(missing_ok=True)


def _show(path: Path, tell: Callable[[str], None]) -> None:
    if not webbrowser.open(path.as_uri()):
        tell("no browser could be started; open the address by hand")
