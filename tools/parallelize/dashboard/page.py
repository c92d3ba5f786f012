"""The dashboard's pages and its JSON: pure functions of what was read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from parallelize.report.data import Report
from parallelize.report.lanes import LANES
from parallelize.report.page import VERDICTS, Tile, charts, environment, failure_groups, tiles
from parallelize.report.table import columns
from parallelize.runs.results.failed import group, label, see_one
from parallelize.runs.state.catalog import Listed
from parallelize.runs.state.history import History
from parallelize.runs.state.status import RunStatus, Worker
from parallelize.runs.state.view import as_json as status_json
from parallelize.runs.state.view import counts
from parallelize.units import show_duration
from parallelize_core.errors import ParallelizeError
from parallelize_core.result import Attempt

if TYPE_CHECKING:
    from jinja2 import Environment

SCHEMA = 1

WORKER_ROWS = 200
RUN_ROWS = 1_000
NOW_NAMES = 3
"""How many of the files in a worker's slots are named."""

GROUPS = 20
GROUPS_IN_JSON = 1_000

LOG_CHARACTERS = 200_000
"""The page shows the end of a longer log."""

WITHOUT_SCRIPT_SECONDS = 10
"""How often a browser without JavaScript loads a page that changes."""

COMMANDS = (
    ("retry", "send the failed files again"),
    ("launch N", "start N more workers"),
    ("scale N", "change the number of workers to N"),
    ("stop", "let the workers finish their files and leave"),
    ("kill", "end the workers now"),
    ("download DIR", "fetch the outputs"),
    ("report", "save all of this as one HTML file"),
)


@dataclass(frozen=True)
class Picture:
    """A run at one moment: its page and its JSON; `over` if nothing will change any more."""

    main: Markup
    document: dict[str, Any]
    over: bool


@dataclass(frozen=True)
class Part:
    """A part of the bar: its start and end, in per cent."""

    kind: str
    begin: float
    width: float


@dataclass(frozen=True)
class WorkerRow:
    """A worker's row in the table; `now` are names of files, or the reason for its end."""

    worker: Worker
    now: tuple[str, ...]
    more: int
    seen: str


@dataclass(frozen=True)
class LogPart:
    """An attempt, how it ended, the lines of its log, and how many characters are omitted."""

    record: Attempt
    how: str
    lines: tuple[str, ...]
    left_out: int


def draw(report: Report, history: History, hint: str, max_cost: float | None = None) -> Picture:
    """Draw a run; `hint` is appended to each proposed command, `max_cost` is in US dollars."""
    main = Markup(_render("live.html.j2", **_live(report, history, hint)))  # noqa: S704
    status = report.status
    document = {
        "schema": SCHEMA,
        "status": status_json(status, max_cost),
        "failures": [
            {"label": one.label, "words": one.words, "count": len(one.keys), "first": one.keys[0]}
            for one in group(report.failures)[:GROUPS_IN_JSON]
        ],
        "main": main,
    }
    over = status.finished and not status.alive and not history.unread
    return Picture(main, document, over)


def _live(report: Report, history: History, hint: str) -> dict[str, Any]:
    status = report.status
    kind, verdict = VERDICTS[status.state]
    return {
        "report": report,
        "run": status.run,
        "state": kind,
        "verdict": verdict,
        "made": _moment(status.taken_at),
        "bar": bar(status),
        "counts": counts(status),
        "tiles": live_tiles(report, hint),
        "workers": list(worker_rows(status))[:WORKER_ROWS],
        "workers_left_out": max(0, len(status.workers) - WORKER_ROWS),
        "groups": failure_groups(report, hint)[:GROUPS],
        "groups_left_out": max(0, len(group(report.failures)) - GROUPS),
        "charts": charts(report),
        "lanes_left_out": max(0, len(report.workers) - LANES),
        "history": history,
        "commands": COMMANDS,
        "hint": hint,
    }


def run_page(run: str, main: Markup) -> str:
    """Return the page of a run, which refreshes itself."""
    return _render("run.html.j2", run=run, main=main, refresh=WITHOUT_SCRIPT_SECONDS)


def runs_page(runs: Sequence[Listed], where: str, now: float, hint: str = "") -> str:
    """Return the list of runs; `now` is seconds since 1970, `hint` is appended to each command."""
    return _render(
        "runs.html.j2",
        runs=[(one, _ago(now, one.seen)) for one in runs[:RUN_ROWS]],
        runs_left_out=max(0, len(runs) - RUN_ROWS),
        where=where,
        hint=hint,
        made=_moment(now),
    )


def log_page(run: str, key: str, records: Sequence[Attempt], hint: str) -> str:
    """Return the page with the logs of all attempts at a file."""
    parts = [_log_part(record) for record in records]
    return _render("log.html.j2", run=run, key=key, parts=parts, see=see_one(key, hint))


def files_page(run: str, hint: str) -> str:
    """Return the page of a run's files; `files.json` next to it has the table."""
    return _render("all_files.html.j2", run=run, hint=hint, files=())


def files_json(report: Report) -> dict[str, Any]:
    """Return the table of all files of a run."""
    return {"schema": SCHEMA, "files": columns(report)}


def trouble_main(error: ParallelizeError) -> Markup:
    """Return the page for a run that could not be read."""
    return Markup(_render("trouble.html.j2", error=error))  # noqa: S704


def trouble_page(error: ParallelizeError, root: str) -> str:
    """Return a page that describes an error; `root` is the link to the list of runs."""
    return _render("wrong.html.j2", error=error, root=root)


def trouble_json(error: ParallelizeError) -> dict[str, Any]:
    """Return the JSON for an error; the page keeps showing what it had."""
    return {
        "schema": SCHEMA,
        "error": {"what": error.what, "why": error.why, "fix": error.fix},
    }


def style() -> str:
    """Return the style sheet: the report's, and the dashboard's additions."""
    return _render("dashboard.css.j2")


def script() -> str:
    """Return the script that refreshes a page in place."""
    return _text("dashboard", "live.js")


def files_script() -> str:
    """Return the script that shows the table of all files."""
    return _text("report", "files.js") + _text("dashboard", "all_files.js")


def _text(package: str, name: str) -> str:
    return files(f"parallelize.{package}").joinpath(name).read_text(encoding="utf-8")


def bar(status: RunStatus) -> list[Part]:
    """Return the shares of files that failed, are done, and are running."""
    parts, begin = [], 0.0
    for kind, count in (
        ("failed", status.failed), ("done", status.done), ("running", status.running),
    ):  # fmt: skip
        width = min(100.0 - begin, 100 * count / max(1, status.total))
        if width > 0:
            parts.append(Part(kind, round(begin, 2), round(width, 2)))
        begin += width
    return parts


def live_tiles(report: Report, hint: str) -> list[Tile]:
    """Return the report's figures, and the current speed."""
    status = report.status
    found = list(tiles(report, hint))
    if status.rate and status.left:
        eta = "" if status.eta is None else f"about {show_duration(status.eta)} left"
        found.insert(3, Tile("rate", f"{status.rate * 60:,.1f}", f"files a minute; {eta}"))
    return found


def worker_rows(status: RunStatus) -> Iterator[WorkerRow]:
    """Yield the workers, those that have ended last."""
    for worker in sorted(status.workers, key=lambda worker: (worker.ended, worker.id)):
        running = worker.beat.running if worker.alive else ()
        now = running[:NOW_NAMES] or ((worker.beat.reason,) if worker.beat.reason else ())
        seen = _ago(status.taken_at, worker.beat.last_seen)
        yield WorkerRow(worker, now, max(0, len(running) - NOW_NAMES), seen)


def _log_part(record: Attempt) -> LogPart:
    kept = record.log[-LOG_CHARACTERS:]
    lines = tuple(kept.expandtabs().splitlines())
    return LogPart(record, label(record), lines, len(record.log) - len(kept))


def _ago(now: float, then: float | None) -> str:
    return "" if then is None else f"{show_duration(now - then)} ago"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    made = environment("parallelize.dashboard", "parallelize.report")
    made.filters["duration"] = show_duration
    return made
