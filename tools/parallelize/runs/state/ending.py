"""The closing summary of `parallelize run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from parallelize.console import WIDTH, fit
from parallelize.runs.files.twins import told_twins
from parallelize.runs.results.failed import see_one, summary
from parallelize.runs.results.merge import Merge
from parallelize.runs.results.silent import advice, told_silent
from parallelize.runs.state.spending import told_spent
from parallelize.runs.state.status import RunStatus
from parallelize.units import CENT, plural, show_duration
from parallelize_core.result import Result


def end_lines(
    status: RunStatus,
    failures: Sequence[Result],
    machines: int,
    hint: str,
    page: Path | None = None,
) -> list[str]:
    """Return what to print at the end; `hint` ends each command, `machines` are still running.

    `page` is the report, if there is one.
    """
    return [
        "",
        _totals(status),
        *_counted(status),
        *_failures(failures),
        *_remarks(status),
        *_next_steps(status, failures, hint),
        *([_report(page)] if page else []),
        _workers(machines, hint),
        *(_local_lines() if "--local" in hint else []),
    ]


def _totals(status: RunStatus) -> str:
    cost = f"      est. ${status.cost:,.2f}" if status.cost >= CENT else ""
    return (
        f"{status.done:,} done · {status.failed:,} failed · {status.left:,} left"
        f"      {show_duration(status.elapsed)}      {plural(len(status.workers), 'worker')}{cost}"
    )


def _counted(status: RunStatus) -> list[str]:
    """Say what the cost consists of."""
    return fit(f"est. cost: {told_spent(status.spent)}").split("\n") if status.cost >= CENT else []


def _failures(failures: Sequence[Result]) -> list[str]:
    return ["", f"{len(failures):,} failed", *summary(failures), ""] if failures else []


def _remarks(status: RunStatus) -> list[str]:
    told = [*told_silent(status.silent), *advice(status.silent), *told_twins(status.twins)]
    return ["", *told, ""] if told else []


def _next_steps(status: RunStatus, failures: Sequence[Result], hint: str) -> list[str]:
    lines = []
    if failures:
        lines = [
            f"see one:   {see_one(failures[0].key, hint)}",
            f"again:     parallelize retry{hint}, then the same run command",
        ]
    if status.silent.count:
        lines.append(f"once more: parallelize retry --silent{hint}, then the same run command")
    if status.merge is Merge.WAITS:
        lines.append("run.then:  waits for the files that failed (or set run.then_partial)")
    if status.left:
        lines.append(f"left:      {status.why or 'the workers have left'}")
        lines += ["consoles:  parallelize local status"] if "--local" in hint else []
    return lines


def _report(page: Path) -> str:
    """Show the page as a link that terminals follow, unless that is too long for a line."""
    link = f"report:    {page.resolve().as_uri()}"
    return link if len(link) <= WIDTH else f"report:    {page}"


def _workers(machines: int, hint: str) -> str:
    if machines:
        leaving = f"{plural(machines, 'worker')} still there, leaving now"
        return f"workers:   {leaving} (parallelize kill{hint})"
    return "workers:   all terminated (verified)"


def _local_lines() -> list[str]:
    return ["cloud:     the local one stops after 30 idle minutes; local start brings it back"]
