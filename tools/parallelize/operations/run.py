"""`parallelize run`: all of it. Prepare, enqueue, launch, watch, download.

It is made of the other commands, and does only what is missing: called again after an
interruption, or after `retry`, it goes on where the run stands.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from parallelize.console import answer, answer_json, escape, say, say_plan
from parallelize.context import Context, check_local, open_context
from parallelize.fleet import instances
from parallelize.fleet.hung import hung
from parallelize.fleet.plan import plan_launch
from parallelize.local import cloud as local_cloud
from parallelize.operations import prep
from parallelize.operations.after_run import write_joblog, write_page
from parallelize.operations.download import (
    SOME_FAILED,
    check_folder,
    fetch,
    healing,
    told_refusals,
)
from parallelize.operations.enqueue import send_jobs
from parallelize.operations.launch import find_queues, make_request, read_facts, start
from parallelize.operations.local import NOT_AWS
from parallelize.operations.redo import redo_late
from parallelize.operations.report import default_name
from parallelize.operations.status import make_reader, with_flags
from parallelize.options import NO_WORK, NOT_SAID, NOTHING, Common, Finished, Work
from parallelize.runs import one_liner, superseded
from parallelize.runs.apart import check_apart
from parallelize.runs.ending import end_lines
from parallelize.runs.joblog import check_joblog
from parallelize.runs.outdated import told_outdated
from parallelize.runs.record import load_run
from parallelize.runs.snapshot import Snapshots
from parallelize.runs.status import RunState, RunStatus, status_of
from parallelize.runs.view import as_json
from parallelize.runs.watch import FOOTER, INTERVAL_SECONDS, open_view, watch
from parallelize.units import plural
from parallelize_core.errors import NothingToDoError, UsageError
from parallelize_core.heartbeat import WorkerState

OUT = "out"
LOCAL_INTERVAL_SECONDS = 0.5
LOCAL_FOOTER = "ctrl-C ends the local workers; the same command goes on"

IDLE_SECONDS = 30 * 60
"""How long the local cloud stays up for `logs`, `failures` and `retry` after the last command."""

LATE_ROUNDS = 3
"""How often jobs are done again that had begun before a change: once, unless there are others."""

LOOKS_ALONE = 3
"""How often in a row there must be neither heartbeat nor machine before a run stands still."""

GOOD_BYE_SECONDS = 10.0
"""How long local workers get to leave by themselves, so that the end can say that they have."""


def run(  # noqa: PLR0913 - each is a flag of its own
    *words: str,
    out: Path | None = None,
    workers: int | None = None,
    joblog: Path | None = None,
    again: bool = False,
    work: Work = NO_WORK,
    finished: Finished = NOT_SAID,
    dry_run: bool = False,
    json: bool = False,
    common: Common = NOTHING,
) -> int:
    """Process all inputs, wait for the end, and fetch the outputs; --local needs no AWS."""
    has_inputs = bool(work.inputs or work.grid)
    named = again and not has_inputs and one_liner.BEFORE_FILES not in words
    line = one_liner.parse(() if named else words, has_inputs=has_inputs)
    if line and not common.run:
        common = replace(common, run=line.run_name(Path.cwd()))
    with one_liner.settings_of(line) as settings:
        flags = {**work.flags(), **finished.flags(), **settings, "workers.count": workers}
        redone = (words if named else ()) if again else None
        return _run(common, flags, Said(out, joblog, redone), dry_run=dry_run, json=json)


@dataclass(frozen=True)
class Said:
    """What is said beside settings.

    `out` and `joblog` are where the outputs and the list of jobs go; None for the usual place, and
    for nowhere. `again` are the finished files to process once more; all of them if it is empty.
    """

    out: Path | None = None
    joblog: Path | None = None
    again: Sequence[str] | None = None


def _run(
    common: Common, flags: Mapping[str, object], said: Said, *, dry_run: bool, json: bool
) -> int:
    context = open_run(common, flags)
    if context.settings.workers.count < 1:
        raise UsageError(
            "run needs at least one worker", None,
            "--workers 2; or without any: parallelize prep, then parallelize enqueue",
        )  # fmt: skip
    folder = said.out or context.folder / OUT
    if said.joblog:
        check_joblog(said.joblog)
    if dry_run:
        show_plan(context, folder, said.again)
        return 0
    reader = make_reader(context)
    end, complete = carry_through(context, reader, folder, local=common.local, again=said.again)
    machines = _await_shutdown(context, GOOD_BYE_SECONDS if common.local else 0)
    page = write_page(context, end.total)
    if said.joblog:
        write_joblog(context, reader.snapshot(), said.joblog)
    for line in end_lines(end, reader.snapshot().failures, machines, context.hint, page):
        say(line)
    if json:
        limit = context.settings.workers.max_cost
        report = page and str(page)
        answer_json({**as_json(end, limit), "out": str(folder), "report": report})
    else:
        answer(str(folder))
    # One file is somebody's first try, and `check` says more of it; many are a result.
    doubtful = end.silent.count > 0 and end.total > 1
    all_well = end.state is RunState.DRAINED and complete and not doubtful
    return 0 if all_well else SOME_FAILED


def open_run(common: Common, flags: Mapping[str, object]) -> Context:
    """Open the context of a whole run; with --local start the local cloud if none is there."""
    if common.local:
        check_local(common)
        local_cloud.start(daemon_options=("--idle-seconds", str(IDLE_SECONDS)))
        say(NOT_AWS)
    return open_context(common, flags)


def carry_through(
    context: Context,
    reader: Snapshots,
    folder: Path,
    *,
    local: bool,
    again: Sequence[str] | None = None,
) -> tuple[RunStatus, bool]:
    """Prepare, enqueue, launch, watch and download; do only what is missing.

    Finished jobs that are named in `again`, all if it is empty, are done once more.
    Returns how the run stands, and whether all that it has made so far is in `folder`.
    """
    check_apart(context, folder)
    check_folder(folder)
    prepared = prep.prepare(context, again=again)
    with _interruptible(context, local=local):
        end = work_off(context, reader, local=local)
        for _ in range(LATE_ROUNDS):
            if not (end.finished and redo_late(context, prepared.outdated)):
                break
            end = work_off(context, reader, local=local)
        superseded.sweep(context, load_run(context.store, context))
        return end, _download(context, folder)


def show_plan(context: Context, folder: Path, again: Sequence[str] | None = None) -> None:
    """Print what `run` would do; changes nothing in S3, SQS and EC2."""
    check_apart(context, folder)
    prep.show_plan(context, again)
    count = plural(context.settings.workers.count, "worker")
    say_plan("would send the jobs that have no result to the queue")
    say_plan(f"would launch up to {count}; see: parallelize launch --dry-run")
    say_plan(f"would download the outputs to {escape(str(folder))}")
    if context.settings.report.html:
        say_plan(f"would write {default_name(context.run)} in the current folder")


def work_off(context: Context, reader: Snapshots, *, local: bool) -> RunStatus:
    """Enqueue and launch what is missing, and watch until the run is over or stands still."""
    status = status_of(reader.snapshot())
    if status.finished:
        say(f"run {context.run}: all {plural(status.total, 'file')} were processed before")
        return status
    _enqueue(context)
    relied = launch_missing(context, status)
    is_over = Judge(context, relied=relied)
    interval = LOCAL_INTERVAL_SECONDS if local else INTERVAL_SECONDS
    with open_view(LOCAL_FOOTER if local else FOOTER) as view:
        return watch(
            lambda: with_flags(context, status_of(reader.snapshot())), view, is_over, interval
        )


class Judge:
    """Says when there is nothing more to wait for: the end, a pause, or nobody left to work.

    With `relied`, workers that were there before count among those wanted. They may have decided
    to leave before they could see the new jobs: if all have left, others are launched, once.
    """

    def __init__(self, context: Context, *, relied: bool = False) -> None:
        self._context = context
        self._relied = relied
        self._looks_alone = 0

    def __call__(self, status: RunStatus) -> bool:
        """Whether that is so."""
        if status.finished:
            return True
        if status.state is not RunState.IDLE or at_work(self._context, status):
            self._looks_alone = 0
            return False
        self._looks_alone += 1
        return self._looks_alone >= LOOKS_ALONE and not self._launched_others(status)

    def _launched_others(self, status: RunStatus) -> bool:
        if not self._relied or load_run(self._context.store, self._context).paused:
            return False
        self._relied, self._looks_alone = False, 0
        say("the workers that were there have left")
        launch_missing(self._context, status)
        return True


def at_work(context: Context, status: RunStatus) -> int:
    """Count the machines that work for the run, or will: those that hang do not."""
    machines = instances.find(context.client("ec2"), context.names, instances.BILLED)
    beats = [worker.beat for worker in status.workers]
    return len(machines) - len(hung(machines, beats, status.taken_at))


def staying(context: Context, status: RunStatus) -> int:
    """Count the workers that can be counted on for what is left: not those that leave or hang."""
    machines = instances.find(context.client("ec2"), context.names, instances.BILLED)
    hanging = hung(machines, [worker.beat for worker in status.workers], status.taken_at)
    there = {one.id for one in machines} | {one.id for one in status.workers if one.alive}
    leaving = {
        one.id for one in status.workers if one.ended or one.beat.state is WorkerState.DRAINING
    }
    return len(there - leaving - {one.id for one in hanging})


def living(context: Context) -> int:
    """Count the run's machines that EC2 knows as starting or running."""
    return len(instances.find(context.client("ec2"), context.names, instances.BILLED))


def members(context: Context) -> int:
    """Count the machines of the run's group, if it has one."""
    machines = instances.find(context.client("ec2"), context.names, instances.BILLED)
    return sum(bool(machine.group) for machine in machines)


def _enqueue(context: Context) -> None:
    try:
        send_jobs(context)
    except NothingToDoError as nothing:
        say(nothing.what)


def launch_missing(context: Context, status: RunStatus) -> bool:
    """Bring the workers to the number that is wanted, or that there are files for.

    Returns whether workers that were there before count among them.
    """
    wanted = min(context.settings.workers.count, status.left)
    missing = wanted - staying(context, status)
    if missing <= 0:
        return True
    queues = find_queues(context)
    # A group is told its size, of which it has some already.
    there = members(context) if context.settings.workers.fleet == "persistent" else 0
    request = make_request(context, queues, there + missing)
    plan = plan_launch(read_facts(context, queues, request), request)
    outcome = start(plan, context)
    error = outcome.error()
    if error and not outcome.started:
        raise error
    say(f"{plural(len(outcome.started) or missing, 'worker')} launched")
    if error:
        say(f"not all of them: {error}")
    return missing < wanted


def _download(context: Context, folder: Path) -> bool:
    """Fetch the outputs; say whether each of them arrived."""
    try:
        fetched = fetch(context, folder)
    except NothingToDoError as nothing:
        say(nothing.what)
        return True
    told = (
        told_refusals(fetched.broken),
        healing(fetched.broken, context.hint),
        told_outdated(fetched.plan.outdated, context.hint),
    )
    for line in chain(*told):
        say(line)
    return not fetched.broken


def _await_shutdown(context: Context, seconds: float) -> int:
    """Wait a little for the workers to leave; return how many are still there."""
    deadline = time.monotonic() + seconds
    while (there := living(context)) and time.monotonic() < deadline:
        time.sleep(LOCAL_INTERVAL_SECONDS)
    return there


def _end_workers(context: Context) -> None:
    # A second ctrl-C may cut the wait short, but leaves no worker that nobody has told.
    with unheard_interrupts():
        say("ending the local workers; they hand back what they hold")
        ec2 = context.client("ec2")
        instances.terminate(ec2, [machine.id for machine in instances.find(ec2, context.names)])
    # They hand back what they hold, so that the next command need not wait for their leases.
    # As they report: the emulated EC2 calls them terminated before they have left.
    reader, deadline = make_reader(context), time.monotonic() + GOOD_BYE_SECONDS
    while status_of(reader.snapshot()).alive and time.monotonic() < deadline:
        time.sleep(LOCAL_INTERVAL_SECONDS)


@contextmanager
def unheard_interrupts() -> Iterator[None]:
    """Let ctrl-C do nothing meanwhile; for the main thread, and for what takes no time."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _interruptible(context: Context, *, local: bool) -> Iterator[None]:
    """On ctrl-C end the local workers, or say that the real ones go on."""
    try:
        yield
    except KeyboardInterrupt:
        if local:
            try:
                _end_workers(context)
            except KeyboardInterrupt:
                say("not waited for: the local workers leave in a few seconds")
                raise
            say("the local workers have ended; the same command goes on from here")
        else:
            say(f"detached; the workers go on. See: parallelize status --watch{context.hint}")
        raise
