"""All of a run: prepare, enqueue, launch, watch, download.

It combines other operations, and does only what is missing: called again after an interruption, or
after `retry`, it goes on where the run stands.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from parallelize.console import escape
from parallelize.context import Context, check_local, open_context, user_file
from parallelize.fleet import instances
from parallelize.local import cloud as local_cloud
from parallelize.operations import prep
from parallelize.operations.crew import Judge, billed, launch_ahead, launch_missing
from parallelize.operations.download import (
    SOME_FAILED,
    OnResult,
    check_folder,
    fetch,
    ignore,
    told_trouble,
)
from parallelize.operations.enqueue import send_jobs
from parallelize.operations.local import NOT_AWS
from parallelize.operations.prep_plan import Plan
from parallelize.operations.redo import redo_late
from parallelize.operations.report import Seen, default_name, write_report
from parallelize.operations.status import make_reader, with_flags
from parallelize.options import Common, Work
from parallelize.runs.environment import one_liner
from parallelize.runs.files.joblog import joblog, write_lines
from parallelize.runs.inputs.apart import check_apart
from parallelize.runs.record.outdated import told_outdated
from parallelize.runs.record.ownership import load_run
from parallelize.runs.results import superseded
from parallelize.runs.results.merge import all_jobs
from parallelize.runs.state.ending import end_lines
from parallelize.runs.state.history import Remembered, read_finished
from parallelize.runs.state.snapshot import Snapshot, Snapshots
from parallelize.runs.state.status import RunState, RunStatus, status_of
from parallelize.runs.state.view import as_json
from parallelize.runs.state.watch import (
    FOOTER,
    LOCAL_INTERVAL_SECONDS,
    LocalPause,
    open_view,
    watch,
)
from parallelize.settings import Settings, resolve
from parallelize.units import plural
from parallelize_core.errors import NothingToDoError, ParallelizeError, UsageError

OUT = "out"
LOCAL_FOOTER = "ctrl-C stops the local workers; the same command continues the run"

LATE_ROUNDS = 3
"""How often jobs are redone that began before a change: once, unless there are more of them."""

GOOD_BYE_SECONDS = 10.0
"""How long local workers get to leave by themselves, so that the closing lines can say so."""

GOOD_BYE_LOOK_SECONDS = 0.1

AHEAD_JOBS = 50_000
AHEAD_BYTES = 2**30
"""The most jobs and bytes to send while workers already wait; with more, they would wait long."""

REPORTED_FILES = 100_000
"""With more files, a report is written only on request: it reads all results once more."""


@dataclass(frozen=True)
class Asked:
    """What a command line asks for: the run, and settings that have no simple flag.

    `again` are the finished files to process once more: all of them if it is empty, none if None.
    """

    common: Common
    settings: Mapping[str, object]
    again: Sequence[str] | None


@dataclass(frozen=True)
class Carried:
    """The state of a run, whether all its outputs so far arrived, and results for the report."""

    status: RunStatus
    complete: bool
    read: Remembered


@dataclass(frozen=True)
class Ended:
    """The state of a run, whether all its outputs arrived, and what to print about it."""

    status: RunStatus
    complete: bool
    folder: Path
    page: Path | None
    lines: Sequence[str]
    max_cost: float | None

    @property
    def exit_code(self) -> int:
        """0 if every file succeeded and arrived."""
        # One file is a first try, for which `check` says more; many are a real run.
        doubtful = self.status.silent.count > 0 and self.status.total > 1
        all_well = self.status.state is RunState.DRAINED and self.complete and not doubtful
        return 0 if all_well else SOME_FAILED

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        page = self.page and str(self.page)
        return {**as_json(self.status, self.max_cost), "out": str(self.folder), "report": page}


@contextmanager
def understood(
    words: Sequence[str], work: Work, common: Common, *, again: bool, dry_run: bool = False
) -> Iterator[Asked]:
    """Yield what words like GNU parallel's ask for; the files that this needs exist meanwhile.

    After a dry run, stops the local cloud unless it ran before. Raises UsageError for words that
    make no sense.
    """
    # With inputs and without a command, the words are the command; else they are the files of
    # --again.
    is_command = bool(work.inputs or work.grid) and work.command is None
    if again and words and is_command and _settings(common).run.command is not None:
        is_command = False
    named = again and not is_command and one_liner.BEFORE_FILES not in words
    line = one_liner.parse(() if named else words, has_inputs=is_command)
    if line and not common.run:
        common = replace(common, run=line.run_name(Path.cwd()))
    left = _no_cloud_left() if dry_run else nullcontext()
    with one_liner.settings_of(line) as settings, left:
        yield Asked(common, settings, (words if named else ()) if again else None)


def _settings(common: Common) -> Settings:
    return resolve(common.flags(), os.environ, Path.cwd(), common.config, user_file()).settings


@contextmanager
def _no_cloud_left() -> Iterator[None]:
    """Stop a local cloud that the block has started."""
    found = local_cloud.attach()
    try:
        yield
    finally:
        if found is None and (started := local_cloud.attach()):
            local_cloud.stop(started)


def run(
    context: Context,
    folder: Path,
    *,
    local: bool,
    again: Sequence[str] | None = None,
    log: Path | None = None,
) -> Ended:
    """Carry out a run, write the page on it, and write the list of its jobs into `log`."""
    reader = make_reader(context)
    carried = carry_through(context, reader, folder, local=local, again=again)
    end, complete = carried.status, carried.complete
    machines = _await_shutdown(context, GOOD_BYE_SECONDS if local else 0)
    seen = Seen(reader.snapshot(), carried.read)
    page = _write_page(context, end.total, seen)
    if log and not _write_joblog(context, seen.snapshot, log):
        complete = False
    lines = list(end_lines(end, seen.snapshot.failures, machines, context.hint, page))
    return Ended(end, complete, folder, page, lines, context.settings.workers.max_cost)


def check_count(context: Context) -> None:
    """Raise UsageError if there are to be no workers."""
    if context.settings.workers.count < 1:
        raise UsageError(
            "run needs at least one worker", None,
            "--workers 2; or without any: parallelize prep, then parallelize enqueue",
        )  # fmt: skip


def open_run(
    common: Common,
    flags: Mapping[str, object],
    started: Callable[[], object] | None = None,
) -> Context:
    """Open the context of a whole run; with --local, start the local cloud if it is not running.

    If it is already being started, `started` waits until it runs.
    """
    if common.local:
        check_local(common)
        (started or local_cloud.start_for_commands)()
    context = open_context(common, flags)
    if common.local:
        context.tell(NOT_AWS)
    return context


def carry_through(
    context: Context,
    reader: Snapshots,
    folder: Path,
    *,
    local: bool,
    again: Sequence[str] | None = None,
) -> Carried:
    """Prepare, enqueue, launch, watch and download; do only what is missing.

    Finished jobs named in `again`, all if it is empty, are redone.
    """
    check_apart(context, folder)
    check_folder(folder)
    prepared, launched = prepare(context, again, local=local)
    with _interruptible(context, local=local):
        end = work_off(context, reader, local=local, launched=launched)
        for _ in range(LATE_ROUNDS):
            if not (end.finished and redo_late(context, prepared.outdated)):
                break
            end = work_off(context, reader, local=local)
        superseded.sweep(context, load_run(context.store, context))
        read = Remembered()
        is_reported = context.settings.report.html and end.total <= REPORTED_FILES
        complete = _download(context, folder, read.add if is_reported else ignore)
        return Carried(end, complete, read)


def prepare(
    context: Context, again: Sequence[str] | None, *, local: bool
) -> tuple[prep.Prepared, bool]:
    """Prepare the run; return whether local workers were started before all inputs were sent."""
    begun = False

    def ahead(plan: Plan) -> None:
        nonlocal begun
        if not local or context.settings.workers.fleet != "one-time":
            return
        if plan.new <= AHEAD_JOBS and plan.bytes <= AHEAD_BYTES:
            begun = True
            launch_ahead(context, plan.new)

    try:
        return prep.prepare(context, again=again, before_sending=ahead), begun
    except BaseException:
        if begun:
            context.tell("stopping the local workers: the run is not prepared")
            ec2 = context.client("ec2")
            instances.terminate(ec2, [machine.id for machine in instances.find(ec2, context.names)])
        raise


def planned(context: Context, folder: Path, again: Sequence[str] | None = None) -> Iterator[str]:
    """Say what `run` would do; changes nothing in S3, SQS and EC2."""
    check_apart(context, folder)
    yield from prep.planned(context, again)
    count = plural(context.settings.workers.count, "worker")
    yield "would send the jobs that have no result to the queue"
    yield f"would launch up to {count}; see: parallelize launch --dry-run"
    yield f"would download the outputs to {escape(str(folder))}"
    if context.settings.report.html:
        yield f"would write {default_name(context.run)} in the current folder"


def work_off(
    context: Context, reader: Snapshots, *, local: bool, launched: bool = False
) -> RunStatus:
    """Enqueue and launch what is missing, and watch until the run is over or stands still.

    With `launched`, the workers that are there are this command's own.
    """
    status = status_of(reader.snapshot())
    if status.finished:
        context.tell(f"run {context.run}: all {plural(status.total, 'file')} are processed already")
        return status
    _enqueue(context)
    relied = launch_missing(context, status) and not launched
    is_over = Judge(context, relied=relied)
    pause = LocalPause() if local else None
    with open_view(LOCAL_FOOTER if local else FOOTER) as view:
        return watch(
            lambda: with_flags(context, status_of(reader.snapshot())), view, is_over, pause
        )


def _enqueue(context: Context) -> None:
    try:
        send_jobs(context)
    except NothingToDoError as nothing:
        context.tell(nothing.what)


def _download(context: Context, folder: Path, on_result: OnResult) -> bool:
    """Fetch the outputs; say whether each of them arrived."""
    try:
        fetched = fetch(context, folder, on_result)
    except NothingToDoError as nothing:
        context.tell(nothing.what)
        return True
    for line in told_trouble(fetched, context.hint):
        context.tell(line)
    for line in told_outdated(fetched.plan.outdated, context.hint):
        context.tell(line)
    return not fetched.broken


def _write_page(context: Context, total: int, seen: Seen) -> Path | None:
    """Write the page on the run, if it is wanted; if that fails, the run is no worse."""
    if not context.settings.report.html:
        return None
    if total > REPORTED_FILES:
        context.tell(
            f"no report of this many files unless you ask: parallelize report{context.hint}"
        )
        return None
    try:
        return write_report(context, seen=seen)
    except (OSError, ParallelizeError) as error:
        context.tell(f"no report: {error}".replace("\n", "\n  "))
        return None


def _write_joblog(context: Context, snapshot: Snapshot, file: Path) -> bool:
    """Write the outcome of each job; return whether it could be written.

    If the file's place was taken meanwhile, the run's outcome is still reported.
    """
    store, layout = context.store, context.layout
    names = (entry.key for entry in all_jobs(store, layout, snapshot.run))
    results = read_finished(store, snapshot, names)
    entries = all_jobs(store, layout, snapshot.run)
    try:
        write_lines(file, joblog(load_run(store, context), entries, results))
    except UsageError as error:
        context.tell(f"no job log: {error}".replace("\n", "\n  "))
        return False
    return True


def _await_shutdown(context: Context, seconds: float) -> int:
    """Wait a little for the workers to leave; return how many are still there."""
    deadline = time.monotonic() + seconds
    while (there := len(billed(context))) and time.monotonic() < deadline:
        time.sleep(GOOD_BYE_LOOK_SECONDS)
    return there


def _end_workers(context: Context) -> None:
    # A second ctrl-C may cut the wait short, but only after every worker was told to stop.
    with unheard_interrupts():
        context.tell("stopping the local workers; they return their files to the queue")
        ec2 = context.client("ec2")
        instances.terminate(ec2, [machine.id for machine in instances.find(ec2, context.names)])
    # They hand back their files, so that the next command need not wait for their leases. Trust
    # their reports: the emulated EC2 calls them terminated before they have left.
    reader, deadline = make_reader(context), time.monotonic() + GOOD_BYE_SECONDS
    while status_of(reader.snapshot()).alive and time.monotonic() < deadline:
        time.sleep(LOCAL_INTERVAL_SECONDS)


@contextmanager
def unheard_interrupts() -> Iterator[None]:
    """Ignore ctrl-C meanwhile; for the main thread, and for short steps only."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _interruptible(context: Context, *, local: bool) -> Iterator[None]:
    """On ctrl-C, end the local workers, or say that the real ones go on."""
    try:
        yield
    except KeyboardInterrupt:
        if local:
            try:
                _end_workers(context)
            except KeyboardInterrupt:
                context.tell("not waiting: the local workers leave in a few seconds")
                raise
            context.tell("the local workers have ended; the same command continues the run")
        else:
            context.tell(
                f"detached; the workers go on. See: parallelize status --watch{context.hint}"
            )
        raise
