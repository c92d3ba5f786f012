"""A report as one HTML page: `data` in words, tables and charts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from heapq import nsmallest
from itertools import islice
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from parallelize.console import escape, shown
from parallelize.report.data import (
    Cost,
    File,
    Report,
    agent_versions,
    command_seconds,
    images,
)
from parallelize.report.export import as_json
from parallelize.report.hints import disk_share, memory_share
from parallelize.report.lanes import LANES, lanes_chart
from parallelize.report.svg import Goal, finished_chart, histogram, show_seconds, span_of
from parallelize.report.table import columns
from parallelize.runs.results.failed import group, see_one
from parallelize.runs.results.silent import told_silent
from parallelize.runs.state.gpu_use import together
from parallelize.runs.state.spending import NOT_COUNTED, told_spent
from parallelize.runs.state.status import RunState, RunStatus, told_unread
from parallelize.units import plural, show_duration, show_size, show_usd
from parallelize_core.layout import RunLayout
from parallelize_core.result import Result

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATE = "page.html.j2"

PLAIN_ROWS = 200
"""Of the table of all files, for a browser without JavaScript."""

EMBEDDED_FAILURES = 1_000
"""The most failures that the page's JSON holds; `report --json` has all."""

WORKER_ROWS = 500
GROUPS = 20
NAMES = 10
SLOWEST = 10

VERDICTS = {
    RunState.DRAINED: ("good", "Every file has succeeded"),
    RunState.FAILED: ("bad", "Finished, but some files failed"),
    RunState.RUNNING: ("going", "Still running"),
    RunState.IDLE: ("bad", "Not finished, but no worker is alive"),
}


@dataclass(frozen=True)
class Tile:
    """A headline figure, and a note below it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class FailureGroup:
    """Similar failures; with the last lines of the first one, and where its log is."""

    label: str
    words: str
    count: int
    names: tuple[str, ...]
    tail: tuple[str, ...]
    log: str
    see: str


def _verdict(status: RunStatus) -> tuple[str, str]:
    if status.state is RunState.DRAINED and status.silent.count:
        return "bad", "Finished, but some files produced no output"
    return VERDICTS[status.state]


def render(report: Report, hint: str = "") -> str:
    """Return the page; `hint` is appended to each command that it proposes."""
    state, verdict = _verdict(report.status)
    return environment("parallelize.report").get_template(TEMPLATE).render(
        report=report,
        run=report.status.run,
        state=state,
        verdict=verdict,
        made=datetime.fromtimestamp(report.status.taken_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        tiles=list(tiles(report, hint)),
        hint=hint,
        silent=" ".join(line.strip() for line in told_silent(report.status.silent)),
        unread=told_unread(report.status.unread),
        charts=charts(report),
        lanes_left_out=max(0, len(report.workers) - LANES),
        slowest=slowest(report),
        workers=report.workers[:WORKER_ROWS],
        with_gpus=any(account.beat.gpus for account in report.workers),
        workers_left_out=max(0, len(report.workers) - WORKER_ROWS),
        groups=failure_groups(report, hint)[:GROUPS],
        groups_left_out=max(0, len(group(report.failures)) - GROUPS),
        files=[*islice(report.files, PLAIN_ROWS)],
        table=columns(report),
        provenance=list(provenance(report)),
        embedded=embedded(report),
    )  # fmt: skip


@cache
def environment(*packages: str) -> Environment:
    """Return what renders the templates in these packages, with all names made harmless."""
    # Imported only now: most commands only mention the page in their help.
    from jinja2 import (  # noqa: PLC0415
        ChoiceLoader,
        Environment,
        PackageLoader,
        StrictUndefined,
    )

    made = Environment(
        loader=ChoiceLoader([PackageLoader(package, "") for package in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    made.filters |= {
        "seconds": show_seconds,
        "size": show_size,
        "plural": plural,
        "short": shown,
        "usd": show_usd,
        "together": together,
    }
    made.globals |= {"memory_share": memory_share, "disk_share": disk_share}
    return made


def _harmless(value: Any) -> Any:
    """Escape characters in a name that could mislead a reader; our own markup passes."""
    return escape(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def tiles(report: Report, hint: str) -> Iterator[Tile]:
    """Yield the headline figures."""
    status = report.status
    share = f" · {math.floor(100 * status.done / status.total)}%" if status.total else ""
    yield Tile("done", f"{status.done:,}", f"of {plural(status.total, 'file')}{share}")
    yield Tile("failed", f"{status.failed:,}", f"parallelize retry{hint}" * bool(status.failed))
    yield Tile("left", f"{status.left:,}", _left_note(report))
    yield Tile("wall time", show_duration(status.elapsed), "from the first worker's start")
    yield Tile("workers", f"{len(report.workers):,}", workers_note(report))
    if report.cost:
        yield Tile("estimated cost", show_usd(report.cost.so_far), cost_note(report.cost))


def _left_note(report: Report) -> str:
    status = report.status
    return f"{status.running:,} running, {status.waiting:,} waiting" if status.left else ""


def workers_note(report: Report) -> str:
    """Say whether the machines have terminated, and according to whom."""
    if report.status.left and report.status.alive:
        return f"{report.status.alive:,} active"
    if report.still_there:
        return f"{plural(report.still_there, 'machine')} still there"
    if report.status.alive:
        return f"{report.status.alive:,} about to leave"
    if report.still_there == 0:
        return "all terminated (verified)"
    told = "0 active (self-reported)" if report.workers else "none has reported"
    return f"{told}; EC2 gave no answer"


def cost_note(cost: Cost) -> str:
    """Return the cost per file, the rest, the same hours on demand, and what is counted."""
    parts = []
    if cost.per_file is not None:
        parts.append(f"{show_usd(cost.per_file)} a file")
    if cost.to_finish:
        parts.append(f"{show_usd(cost.to_finish)} more to finish")
    if cost.on_demand:
        parts.append(f"{show_usd(cost.on_demand)} at on-demand prices")
    parts.append(f"{told_spent(cost.of)}; not {NOT_COUNTED}")
    return " · ".join(parts)


@dataclass(frozen=True)
class Charts:
    """The charts, as markup; empty if there is nothing to draw."""

    finished: Markup
    lanes: Markup
    seconds: Markup


def charts(report: Report) -> Charts:
    """Draw what there is to draw."""
    finished = lanes = seconds = ""
    span = span_of(report.workers, report.executions)
    if span and report.executions:
        finished = finished_chart(
            span, report.executions, report.workers, report.interruptions, _goal(report.status)
        )
    if span and report.workers:
        lanes = lanes_chart(span, report.workers, report.executions)
    if report.seconds:
        times = command_seconds(report.found.results.values())
        seconds = histogram(times, report.seconds.p50, report.seconds.p95)
    # `svg` produces all of it, and escapes the names in it.
    return Charts(*map(Markup, (finished, lanes, seconds)))


def _goal(status: RunStatus) -> Goal:
    return Goal(status.total, None if status.eta is None else status.taken_at + status.eta)


def slowest(report: Report) -> list[File]:
    """Return the files whose last attempt took longest."""
    ran = (file for file in report.files if file.seconds is not None)
    return nsmallest(SLOWEST, ran, key=lambda file: -(file.seconds or 0))


def failure_groups(report: Report, hint: str) -> list[FailureGroup]:
    """Group similar failures, the largest group first."""
    by_key = {result.key: result for result in report.failures}
    layout = report.found.snapshot.layout
    return [
        FailureGroup(
            label=found.label,
            words=found.words,
            count=len(found.keys),
            names=found.keys[:NAMES],
            tail=tuple(by_key[found.keys[0]].stderr_tail.expandtabs().splitlines()),
            log=log_uri(layout, by_key[found.keys[0]]),
            see=see_one(found.keys[0], hint),
        )
        for found in group(report.failures)
    ]


def log_uri(layout: RunLayout, result: Result) -> str:
    """Return where the log of a result is: a small one is in the result itself."""
    return f"s3://{layout.base.bucket}/{result.log_key or layout.result(result.key)}"


def provenance(report: Report) -> Iterator[tuple[str, str]]:
    """Yield what the run was made with, by name, without what is not known."""
    run, made = report.found.snapshot.run, report.found.provenance
    rows = {
        "run": run.name,
        "prepared": run.created_at,
        "command": " ".join(run.command),
        "set-up": " ".join(run.setup.command) if run.setup else "",
        "environment": f"SHA-256 {run.environment.identity}" if run.environment else "",
        "container image": f"{run.image.name} ({run.image.digest})" if run.image else "",
        "inputs": run.input.uri,
        "outputs": run.output.uri,
        "region": made.region,
        "machine image": ", ".join(images(report)),
        "agent": ", ".join(f"parallelize {version}" for version in agent_versions(report)),
        "this report": f"parallelize {made.version}",
        "tags": ", ".join(f"{name} = {value}" for name, value in (made.tags or {}).items()),
    }
    return ((name, value) for name, value in rows.items() if value)


def embedded(report: Report) -> dict[str, Any]:
    """Return the JSON inside the page: that of --json without the files, limited in size."""
    whole = as_json(report, files=False)
    return {
        **whole,
        "failures": whole["failures"][:EMBEDDED_FAILURES],
        "failures_left_out": max(0, len(whole["failures"]) - EMBEDDED_FAILURES),
    }
