"""The whole run on one page, to keep and to share."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parallelize.context import Context
from parallelize.fleet import instances
from parallelize.fleet.instances import Machine
from parallelize.fleet.prices import on_demand, price_list_region
from parallelize.operations.config import rows
from parallelize.operations.status import make_reader
from parallelize.progress import progress
from parallelize.report.data import Gathered, Provenance, Report, Setting, make_report
from parallelize.report.page import render
from parallelize.report.table import write_table
from parallelize.runs.files.own_files import REPORT_END
from parallelize.runs.files.written import Written
from parallelize.runs.results.merge import read_sizes
from parallelize.runs.state.history import (
    Finished,
    Remembered,
    read_attempts,
    read_finished,
    told_of_each,
)
from parallelize.runs.state.snapshot import VIEW_SECONDS, Snapshot
from parallelize.spool import Spooled
from parallelize_core.aws_errors import translated
from parallelize_core.clients import client_config
from parallelize_core.errors import ParallelizeError
from parallelize_core.heartbeat import Heartbeat
from parallelize_core.store import Store
from parallelize_core.version import VERSION

PROMPT_SECONDS = 5.0
"""Information from EC2 and the price list is not worth a longer wait."""


@dataclass(frozen=True)
class Seen:
    """What was read of the run before: a snapshot, and results that may be out of date by now."""

    snapshot: Snapshot
    results: Remembered


def make(context: Context, seen: Seen | None = None) -> Report:
    """Read what was not `seen` of the run, and return the content of its page."""
    return make_report(read_run(context, seen))


def write_files(context: Context, table: Path) -> None:
    """Write the outcome of each file into a table; see `check_form`."""
    files = make(context).files
    place = _place(table, f"{context.hint} --table FILE")
    place.put(lambda partial: write_table(files, partial))


def write_report(context: Context, out: Path | None = None, seen: Seen | None = None) -> Path:
    """Write the page to `out`, or into the current folder; return its path."""
    path = out or Path(default_name(context.run))
    return write_page(make(context, seen), path, context.hint)


def default_name(run: str) -> str:
    """Return the default file name of a run's page."""
    return f"{run}{REPORT_END}"


def write_page(made: Report, path: Path, hint: str) -> Path:
    """Write the page, under its name only once it is complete; return its path.

    Raises UsageError if it cannot be written there.
    """
    page = render(made, hint).encode("utf-8", errors="replace")
    _place(path, f"{hint} --out FILE").put(lambda partial: partial.write_bytes(page))
    return path


def _place(path: Path, elsewhere: str) -> Written:
    return Written(path, "the report", f"choose another place: parallelize report{elsewhere}")


def read_run(context: Context, seen: Seen | None = None) -> Gathered:
    """Read all that a report shows; raise UsageError if the run does not exist."""
    snapshot = seen.snapshot if seen else make_reader(context, VIEW_SECONDS).snapshot()
    known = seen.results.of(snapshot) if seen else {}
    store, layout = context.store, context.layout
    sizes = read_sizes(store, layout, snapshot.run)
    emulated = context.is_free
    return Gathered(
        snapshot=snapshot,
        sizes=sizes,
        results=known | _read_results(store, snapshot, sizes, known),
        attempts=read_attempts(store, layout),
        machines=known_machines(context),
        on_demand={} if emulated else listed_prices(context, snapshot.heartbeats),
        provenance=_provenance(context),
        emulated=emulated,
    )


def _read_results(
    store: Store, snapshot: Snapshot, inputs: Spooled[tuple[str, int]], known: Collection[str]
) -> dict[str, Finished]:
    """Read those results of the inputs that are not known."""
    left = len(snapshot.finished) - len(known)
    if not left:
        return {}
    others = (key for key in inputs.firsts() if key not in known)
    with progress("results", left) as step:
        return told_of_each(read_finished(store, snapshot, others, step))


def known_machines(context: Context) -> dict[str, Machine] | None:
    """Return the run's machines, recently terminated ones too; None if EC2 does not say."""
    prompt = client_config(read_timeout_seconds=PROMPT_SECONDS, attempts=2)
    try:
        with translated("AWS"):
            ec2 = context.session.client("ec2", config=prompt)
        found = instances.find(ec2, context.names, instances.KNOWN)
    except ParallelizeError:
        return None
    return {machine.id: machine for machine in found}


def listed_prices(context: Context, heartbeats: Sequence[Heartbeat]) -> Mapping[str, float]:
    """Return on-demand prices in USD an hour, by type, if the workers knew their own prices."""
    types = sorted({beat.type for beat in heartbeats if beat.type and beat.hourly_usd})
    if not types:
        return {}
    prompt = client_config(read_timeout_seconds=PROMPT_SECONDS, attempts=2)
    try:
        with translated("AWS"):
            client = context.session.client(
                "pricing", region_name=price_list_region(context.region), config=prompt
            )
        return on_demand(client, context.region, types)
    except ParallelizeError:
        return {}


def _provenance(context: Context) -> Provenance:
    return Provenance(
        version=VERSION,
        region=context.session.region_name or "",
        bucket=context.bucket,
        settings=tuple(
            Setting(row["key"], _shown(row["value"]), row["source"])
            for row in rows(context.resolved, context.run)
        ),
        tags=context.tags,
    )


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={text}" for name, text in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
