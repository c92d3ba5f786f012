"""The lanes of a report: a picture of what each worker did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from parallelize.report.data import WorkerAccount
from parallelize.report.svg import (
    LEFT,
    RIGHT,
    WIDTH,
    Span,
    label,
    picture,
    rect,
    show_seconds,
    time_axis,
)
from parallelize.runs.state.history import Execution
from parallelize.units import plural, show_duration

MAX_BARS = 3000
"""In all lanes together; beyond that, neighbours are drawn as one to keep the page small."""

LANES = 24


@dataclass(frozen=True)
class Lane:
    """Where a worker is drawn; bars closer than `cell` are drawn as one."""

    span: Span
    top: float
    height: float
    cell: float

    def box(self, kind: str, begin: float, end: float, title: str) -> str:
        """Draw a phase of the worker's life over the full height; nothing if it has no length."""
        if end <= begin:
            return ""
        x, width = self.span.x(begin), self.span.x(end) - self.span.x(begin)
        return rect(kind, (x, self.top, width, self.height), f"{title}, {_took(end - begin)}")


def lanes_chart(
    span: Span, workers: Sequence[WorkerAccount], executions: Sequence[Execution]
) -> str:
    """Draw a lane for each of the first workers: its life, and the files in its slots."""
    shown = workers[:LANES]
    ran: dict[str, list[Execution]] = {}
    for one in executions:
        ran.setdefault(one.worker, []).append(one)
    rows = [_rows(ran.get(worker.beat.worker, ()), worker.beat.slots) for worker in shown]
    cell = max(1.0, (WIDTH - LEFT - RIGHT) * sum(map(len, rows)) / MAX_BARS)
    parts, top = [], 6.0
    for account, found in zip(shown, rows, strict=True):
        height = max(14.0, min(8.0 * len(found), 48.0))
        parts.append(_draw_lane(Lane(span, top + 14, height, cell), account, found))
        top += height + 24
    return picture(top + 20, "What each worker did", [*time_axis(span, 6, top), *parts])


def _rows(executions: Sequence[Execution], slots: int) -> list[list[Execution]]:
    """Distribute a worker's executions over its slots.

    The slot is not recorded, and ends are a little late, because they include the upload of
    outputs. So executions that overlap more than slots allow go to the row that is free first.
    """
    rows: list[list[Execution]] = []
    for one in sorted(executions, key=lambda one: one.begin):
        row = min(rows, key=lambda row: row[-1].end, default=None)
        if row is None or (row[-1].end > one.begin and len(rows) < slots):
            rows.append([one])
        else:
            row.append(one)
    return rows


def _draw_lane(lane: Lane, account: WorkerAccount, rows: list[list[Execution]]) -> str:
    beat = account.beat
    bars = list(_life(lane, account))
    thick = lane.height / max(1, len(rows))
    for number, row in enumerate(rows):
        top = lane.top + number * thick
        bars += [_bar(lane.span, block, top, thick) for block in _blocks(lane, row)]
    told = f"{plural(beat.done, 'file')}, {account.busy:.0%} busy, {account.worker.state}"
    return (
        label(LEFT, lane.top - 4, f"{beat.worker} · {beat.type or 'type not known'}", strong=True)
        + label(WIDTH - RIGHT, lane.top - 4, told, "end")
        + "".join(bars)
    )


def _life(lane: Lane, account: WorkerAccount) -> Iterator[str]:
    phases = account.phases
    ready = phases.first_file or phases.leaving or phases.seen
    if phases.launched:
        yield lane.box("boot", phases.launched, phases.started, "booting")
    yield lane.box("ready", phases.started, ready, "getting ready")
    yield lane.box("idle", ready, phases.leaving or phases.seen, "active")
    if phases.leaving:
        yield lane.box("draining", phases.leaving, phases.seen, f"leaving: {account.beat.reason}")


def _blocks(lane: Lane, row: Sequence[Execution]) -> Iterator[list[Execution]]:
    """Group executions that are too close to be told apart."""
    block: list[Execution] = []
    for one in row:
        if block and lane.span.x(one.end) - lane.span.x(block[0].begin) > lane.cell:
            yield block
            block = []
        block.append(one)
    if block:
        yield block


def _bar(span: Span, block: Sequence[Execution], top: float, height: float) -> str:
    x, end = span.x(block[0].begin), span.x(max(one.end for one in block))
    gap = 0.4 if end - x > 2 else 0.0
    box = (x, top, max(0.8, end - x - gap), height * 0.85)
    return rect(_kind(block), box, _bar_title(block))


def _kind(block: Sequence[Execution]) -> str:
    causes = {one.cause for one in block}
    if causes == {None} or len(causes) > 1:
        return "done"
    return "failed" if all(cause.charged for cause in causes if cause) else "back"


def _bar_title(block: Sequence[Execution]) -> str:
    first = block[0]
    if len(block) == 1:
        how = "" if first.cause is None else f", {first.how}"
        return f"{first.key}, {show_seconds(first.end - first.begin)}{how}"
    failed = sum(one.cause is not None for one in block)
    told = f", {failed:,} without success" if failed else ""
    return f"{len(block):,} files{told}: {first.key} to {block[-1].key}"


def _took(seconds: float) -> str:
    return show_duration(seconds) if seconds >= 1 else show_seconds(seconds)
