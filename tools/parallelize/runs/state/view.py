"""What a run's status looks like: as JSON, as a page, as a line of a log, as changes."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from parallelize.console import WIDTH, escape, shown
from parallelize.runs.files.twins import NO_TWINS, told_twins
from parallelize.runs.results.failed import label, last_words
from parallelize.runs.results.merge import Merge
from parallelize.runs.results.silent import told_silent
from parallelize.runs.state.memory_use import told_memory
from parallelize.runs.state.spending import told_spent
from parallelize.runs.state.status import RunState, RunStatus, Worker, told_lanes, told_unread
from parallelize.units import CENT, iso, plural, show_duration, show_usd
from parallelize_core.heartbeat import Heartbeat, WorkerState

SCHEMA = 1
BAR_CELLS = 20
WORKERS_SHOWN = 12
FAILED_SHOWN = 2

SHOWN_STATES = {
    RunState.RUNNING: "running",
    RunState.IDLE: "no active workers",
    RunState.DRAINED: "finished",
    RunState.FAILED: "finished, some failed",
}

FIXED_COLUMNS = 64
"""Width of a worker's line without its last column, which says what it does now."""


def as_json(status: RunStatus, max_cost: float | None = None) -> dict[str, Any]:
    """Return the object that `status --json` prints; costs in US dollars."""
    return {
        "schema": SCHEMA,
        "run": status.run,
        "state": status.state.value,
        "total": status.total,
        "done": status.done,
        "failed": status.failed,
        "running": status.running,
        "waiting": status.waiting,
        "unsent": status.unsent,
        "then": None if status.merge is Merge.NONE else status.merge.value,
        "without_output": status.silent.count,
        "not_on_one_disk": len(status.twins.alike) + len(status.twins.both),
        "workers": [_worker_json(worker) for worker in status.workers],
        "workers_unread": dict(status.unread),
        "elapsed_seconds": round(status.elapsed, 1),
        "files_per_second": round(status.rate, 3),
        "eta_seconds": None if status.eta is None else round(status.eta),
        "cost_usd": {
            "estimate": round(status.cost, 4),
            "limit": max_cost,
            "per_file": _rounded(status.cost_per_file),
            "to_finish": _rounded(status.cost_to_finish),
            "of": {name: _rounded(usd) for name, usd in asdict(status.spent).items()},
        },
        "lanes": {one.lane: asdict(one) for one in status.lanes},
        "why": status.why,
        "as_of": iso(status.taken_at),
    }


def _rounded(usd: float | None) -> float | None:
    return None if usd is None else round(usd, 6)


def _worker_json(worker: Worker) -> dict[str, Any]:
    beat = worker.beat
    return {
        "id": beat.worker,
        "state": worker.state,
        "type": beat.type,
        "done": beat.done,
        "failed": beat.failed,
        "seen": iso(beat.last_seen),
        "zone": beat.zone,
        "slots": beat.slots,
        "lane": beat.lane,
        "memory": _memory_json(beat),
        "gpus": [gpu.model_dump() for gpu in beat.gpus],
        "running": list(beat.running),
        "handed_back": beat.handed_back,
        "reason": beat.reason,
    }


def _memory_json(beat: Heartbeat) -> dict[str, int] | None:
    told = {"total", "promised", "expected", "slots"}
    return beat.memory.model_dump(include=told) if beat.memory else None


def page(status: RunStatus, width: int = WIDTH) -> list[str]:
    """Return the lines of the full view, at most `width` columns wide but for a longer word."""
    head = f"{status.run}  {plural(status.alive, 'worker')}  {SHOWN_STATES[status.state]}"
    elapsed = f"  {show_duration(status.elapsed)} elapsed"
    lines = [
        head + elapsed.rjust(min(width, WIDTH) - len(head)),
        f"  files   {bar(status)} {counts(status)}",
        *_rate_line(status),
        *_cost_line(status),
        *_memory_line(status),
        *_lanes_line(status),
        *_worker_lines(status, width),
        *_lost_lines(status),
        *_failure_line(status),
        *_remark_lines(status),
        *_why_lines(status),
    ]
    return [part for line in lines for part in _wrapped(line, width)]


def bar(status: RunStatus) -> str:
    """Return how much is finished, as a bar of twenty cells."""
    finished = (status.done + status.failed) / max(1, status.total)
    full = min(BAR_CELLS, int(BAR_CELLS * finished))
    return "━" * full + "─" * (BAR_CELLS - full)


def counts(status: RunStatus) -> str:
    """Return the four counts."""
    return (
        f"{status.done:,} done · {status.running:,} running · "
        f"{status.waiting:,} waiting · {status.failed:,} failed"
    )


def log_line(status: RunStatus) -> str:
    """Return one line for a log, without the time."""
    parts = [
        f"{status.run} {status.done}/{status.total} done",
        f"{status.running} running {status.waiting} waiting {status.failed} failed",
        plural(status.alive, "worker"),
    ]
    if status.silent.count:
        parts.append(f"{status.silent.count} without output")
    if status.eta is not None:
        parts.append(f"eta {show_duration(status.eta)}")
    return " ".join(parts)


def changes(before: RunStatus | None, after: RunStatus) -> Iterator[str]:
    """Say what has happened to the workers between two looks, one line each."""
    known = {worker.id: worker for worker in before.workers} if before else {}
    for worker in after.workers:
        old = known.get(worker.id)
        yield from _worker_changes(old, worker)
        # Files that were done before the first look are not news.
        if before and (back := worker.beat.handed_back - (old.beat.handed_back if old else 0)):
            yield f"worker {shown(worker.id, 30)} put {plural(back, 'file')} back on the queue"
    if before and not before.silent.count:
        yield from told_silent(after.silent)
    if before and before.twins == NO_TWINS:
        yield from told_twins(after.twins)
    # At the first look, new workers have not reported yet.
    if before and after.why and not after.alive and _plain(before.why) != _plain(after.why):
        yield after.why


def _plain(why: str | None) -> str:
    """Return a reason without its figures, which differ at each look."""
    return re.sub(r"\d+\w*", "", why or "")


def _worker_changes(old: Worker | None, new: Worker) -> Iterator[str]:
    name, beat = shown(new.id, 30), new.beat
    if old is None and new.alive:
        yield f"worker {name} started ({beat.type or 'unknown type'}, {plural(beat.slots, 'slot')})"
    if old is not None and old.state != new.state and new.state not in {"busy", "idle"}:
        reason = f": {escape(beat.reason)}" if beat.reason else ""
        yield f"worker {name} {'is ' * (new.alive or new.overdue)}{new.state}{reason}"


def _rate_line(status: RunStatus) -> list[str]:
    if not status.rate or status.finished:
        return []
    eta = "" if status.eta is None else f"about {show_duration(status.eta)} left"
    return [f"  rate    {status.rate * 60:,.1f} files/min   {eta}".rstrip()]


def _cost_line(status: RunStatus) -> list[str]:
    if status.cost < CENT:
        return []
    parts = [f"est. {show_usd(status.cost)} so far"]
    if status.cost_per_file:
        parts.append(f"{show_usd(status.cost_per_file)} a file")
    if status.cost_to_finish:
        parts.append(f"{show_usd(status.cost_to_finish)} to finish")
    return [f"  cost    {' · '.join(parts)}", f"          {told_spent(status.spent)}"]


def _memory_line(status: RunStatus) -> Iterator[str]:
    if told := told_memory([worker.beat for worker in status.workers if worker.alive]):
        yield f"  memory  {told}"


def _lanes_line(status: RunStatus) -> Iterator[str]:
    if told := told_lanes(status.lanes):
        yield f"  lanes   {told}"


def _worker_lines(status: RunStatus, width: int) -> Iterator[str]:
    if not status.workers:
        return
    yield ""
    order = sorted(status.workers, key=lambda worker: (worker.ended, worker.id))
    room = max(len("now"), width - FIXED_COLUMNS)
    rows = [_cells(worker, status.taken_at, room) for worker in order[:WORKERS_SHOWN]]
    wide = min(room, max(len(row[-1]) for row in rows))
    for row in (("worker", "type", "state", "done", "failed", "seen", "now"), *rows):
        yield _row(row, wide)
    if len(order) > WORKERS_SHOWN:
        yield f"  and {len(order) - WORKERS_SHOWN:,} more"


def _cells(worker: Worker, taken_at: float, room: int) -> tuple[str, ...]:
    beat = worker.beat
    age = show_duration(max(0.0, taken_at - beat.last_seen))
    now = _now(beat, room) if worker.alive and beat.running else _begin(beat.reason, room)
    return (
        beat.worker, beat.type, worker.state, f"{beat.done:,}", f"{beat.failed:,}", age, now,
    )  # fmt: skip


def _now(beat: Heartbeat, width: int) -> str:
    others = f" +{len(beat.running) - 1}" if len(beat.running) > 1 else ""
    return shown(beat.running[0], max(2, width - len(others))) + others


def _begin(reason: str, width: int) -> str:
    """Return the start of a reason: unlike a name, a sentence is not cut in its middle."""
    whole = escape(reason)
    return whole if len(whole) <= width else whole[: width - 1].rstrip() + "…"


def _row(cells: tuple[str, ...], wide: int) -> str:
    widths = (19, 11, 8, 6, 6, 6, max(wide, len("now")))
    name, kind, state, done, failed, age, now = (
        shown(cell, width) for cell, width in zip(cells, widths, strict=True)
    )
    return f"  {name:<19} {kind:<11} {state:<8} {done:>6} {failed:>6} {age:>6} {now}".rstrip()


def _failure_line(status: RunStatus) -> list[str]:
    if (failure := status.last_failure) is None:
        return []
    where = f"{shown(failure.key, 30)}  {label(failure)}"
    return ["", f"  last failure  {where}  {last_words(failure)}"]


def _lost_lines(status: RunStatus) -> Iterator[str]:
    """Say in full why workers failed while others go on; `why` covers only the last one."""
    if not status.alive:
        return
    failed = [worker for worker in status.workers if worker.state == WorkerState.FAILED]
    failed.sort(key=lambda worker: worker.beat.last_seen)
    for worker in failed[-FAILED_SHOWN:]:
        yield ""
        yield f"  failed  {shown(worker.id, 30)}: {escape(worker.beat.reason)}"
        if worker.beat.fix:
            yield f"          {escape(worker.beat.fix)}"


def _remark_lines(status: RunStatus) -> list[str]:
    merge = ["run.then waits for the files that failed"] if status.merge is Merge.WAITS else []
    unread = [told_unread(status.unread)] if status.unread else []
    remarks = (*told_silent(status.silent), *told_twins(status.twins), *merge, *unread)
    told = [f"  {line}" for line in remarks if line != status.why]
    return ["", *told] if told else []


def _why_lines(status: RunStatus) -> list[str]:
    """Return the reason in full: a worker's last message ends with what matters most."""
    return [f"  why     {status.why}"] if status.why else []


def _wrapped(line: str, width: int) -> list[str]:
    """Wrap a line instead of cutting it off."""
    if len(line) <= width:
        return [line]
    return textwrap.wrap(
        line, width, subsequent_indent=" " * 10, break_on_hyphens=False, break_long_words=False
    )
