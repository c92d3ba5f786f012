"""A run's report as plain data: pure functions of the records that were read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from parallelize.fleet.instances import BILLED, Machine
from parallelize.report.hints import hints_on
from parallelize.runs.state.forecast import Percentiles, percentiles
from parallelize.runs.state.history import Execution, Finished, execution
from parallelize.runs.state.snapshot import Snapshot
from parallelize.runs.state.status import RunStatus, Worker, status_of
from parallelize.spool import Spooled
from parallelize_core.cost import Spent, spent_usd, worker_usd
from parallelize_core.heartbeat import Heartbeat
from parallelize_core.result import Attempt, Cause, Result

ORDER = ("failed", "running", "waiting", "done")
"""The order of files: what people look for comes first."""


@dataclass(frozen=True)
class Setting:
    """One setting as it was when the report was made, and its source."""

    key: str
    value: str
    source: str


@dataclass(frozen=True)
class Provenance:
    """Who made the results from what; `settings` and `tags` are the project's current ones."""

    version: str
    region: str
    bucket: str
    settings: tuple[Setting, ...] = ()
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Gathered:
    """What was read of a run.

    `sizes` are the inputs with their bytes, in the manifest's order; `results` are those of the
    snapshot's finished jobs, by input; `attempts` are the records of executions that were not
    their job's last, without their logs. `machines` are those that EC2 still knows, by id, or
    None if it could not be asked. `on_demand` is USD an hour by type.
    `emulated` says that machines and prices are not AWS's.
    """

    snapshot: Snapshot
    sizes: Iterable[tuple[str, int]]
    results: Mapping[str, Finished]
    attempts: Sequence[Attempt]
    machines: Mapping[str, Machine] | None
    on_demand: Mapping[str, float]
    provenance: Provenance
    emulated: bool = False


@dataclass(slots=True)  # a frozen one takes several times as long to make, of a million
class File:
    """One input. Sizes in bytes; what is not known before it has a result is None.

    `attempts` are those that count; `handed_back` counts the executions that ended because of the
    machine or the network, which are not charged.
    """

    key: str
    state: str
    attempts: int
    handed_back: int
    bytes_in: int
    bytes_out: int | None = None
    worker: str | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    gpu_busy: float | None = None
    finished_at: str | None = None


@dataclass(frozen=True)
class Interruption:
    """A worker that was interrupted, or told to leave at once; `at` is seconds since 1970."""

    worker: str
    at: float
    reason: str


@dataclass(frozen=True)
class Phases:
    """The phases of a worker's life, in seconds since 1970; None if not recorded."""

    launched: float | None
    started: float
    first_file: float | None
    leaving: float | None
    seen: float


@dataclass(frozen=True)
class WorkerAccount:
    """A worker, its phases, the busy share of its slots' time, and its cost in USD."""

    worker: Worker
    phases: Phases
    busy: float
    usd: float | None

    @property
    def beat(self) -> Heartbeat:
        """Its last heartbeat."""
        return self.worker.beat


@dataclass(frozen=True)
class Cost:
    """US dollars, estimated as by `status`, and what they were spent on (`of`).

    `on_demand` is the list price of the same hours.
    """

    so_far: float
    per_file: float | None
    to_finish: float | None
    on_demand: float | None
    of: Spent


@dataclass(frozen=True)
class Report:
    """The whole report. Times in seconds since 1970; `still_there` counts the billed machines."""

    found: Gathered
    status: RunStatus
    files: Spooled[File]
    executions: tuple[Execution, ...]
    interruptions: tuple[Interruption, ...]
    workers: tuple[WorkerAccount, ...]
    seconds: Percentiles | None
    cost: Cost | None
    still_there: int | None
    hints: tuple[str, ...]

    @property
    def failures(self) -> tuple[Result, ...]:
        """The results of the files that failed."""
        return self.found.snapshot.failures


def make_report(found: Gathered) -> Report:
    """Assemble a report."""
    status = status_of(found.snapshot)
    executions = tuple(sorted(_executions(found), key=lambda one: one.end))
    workers = _accounts(found, status, executions)
    return Report(
        found=found,
        status=status,
        files=_files(found, status),
        executions=executions,
        interruptions=_interruptions(executions, found),
        workers=workers,
        seconds=percentiles(times) if (times := command_seconds(found.results.values())) else None,
        cost=None if found.emulated else _cost(found, status),
        still_there=_still_there(found),
        hints=() if found.emulated else tuple(hints_on([account.beat for account in workers])),
    )


def command_seconds(results: Iterable[Finished]) -> list[float]:
    """Return the durations of the commands that succeeded, in seconds.

    Those that failed at once, or at their time limit, say nothing about the others.
    """
    return [max(0.0, one.seconds) for one in results if one.status == "succeeded"]


def _files(found: Gathered, status: RunStatus) -> Spooled[File]:
    """Return all inputs in the order of their states; each is made when it is gone through."""
    running = {key for worker in status.workers if worker.alive for key in worker.beat.running}
    handed_back: dict[str, int] = {}
    charged: dict[str, int] = {}
    for attempt in found.attempts:
        counts = charged if _charged(attempt) else handed_back
        counts[attempt.key] = counts.get(attempt.key, 0) + 1

    def state_of(key: str) -> str:
        if result := found.results.get(key):
            return "failed" if result.status == "failed" else "done"
        return "running" if key in running else "waiting"

    def make(key: str, state: str, size: int) -> File:
        back = handed_back.get(key, 0)
        if result := found.results.get(key):
            return _finished(result, state, size, back)
        return File(key, state, charged.get(key, 0), back, size)

    files = Spooled(lambda file: (file.key, file.state, file.bytes_in), make)
    for state in ORDER:
        for key, size in found.sizes:
            if state_of(key) == state:
                files.append_row(key, state, size)
    return files


def _charged(attempt: Attempt) -> bool:
    return attempt.cause is None or attempt.cause.charged


def _finished(result: Finished, state: str, bytes_in: int, handed_back: int) -> File:
    return File(
        key=result.key,
        state=state,
        attempts=result.attempt,
        handed_back=handed_back,
        bytes_in=bytes_in,
        bytes_out=result.bytes_out,
        worker=result.worker,
        seconds=result.seconds if result.ran else None,
        cpu_seconds=result.cpu_seconds if result.ran else None,
        peak_memory_bytes=result.peak_memory_bytes or None,
        gpu_memory_bytes=result.gpu_memory_bytes or None,
        gpu_busy=result.gpu_busy,
        finished_at=result.finished_at,
    )


def _executions(found: Gathered) -> Iterator[Execution]:
    before = (execution(attempt) for attempt in found.attempts)
    last = (result.execution for result in found.results.values())
    return (one for one in (*before, *last) if one is not None)


def _interruptions(executions: Sequence[Execution], found: Gathered) -> tuple[Interruption, ...]:
    beats = {beat.worker: beat for beat in found.snapshot.heartbeats}
    at = {one.worker: one.end for one in reversed(executions) if one.cause is Cause.INTERRUPTED}
    for beat in beats.values():
        if beat.interrupted:
            at[beat.worker] = beat.leaving or at.get(beat.worker, beat.seen)
    made = (
        Interruption(worker, when, beats[worker].reason if worker in beats else "")
        for worker, when in at.items()
    )
    return tuple(sorted(made, key=lambda one: one.at))


def _accounts(
    found: Gathered, status: RunStatus, executions: Sequence[Execution]
) -> tuple[WorkerAccount, ...]:
    first: dict[str, float] = {}
    for one in executions:
        first[one.worker] = min(one.begin, first.get(one.worker, one.begin))
    machines = found.machines or {}
    accounts = (
        WorkerAccount(
            worker=worker,
            phases=_phases(worker.beat, first.get(worker.id), machines.get(worker.id)),
            busy=_busy(worker.beat),
            usd=None if found.emulated else _usd(worker.beat),
        )
        for worker in status.workers
    )
    return tuple(sorted(accounts, key=lambda account: (account.beat.started, account.beat.worker)))


def _usd(beat: Heartbeat) -> float | None:
    return None if beat.hourly_usd is None else worker_usd(beat)


def _phases(beat: Heartbeat, first_file: float | None, machine: Machine | None) -> Phases:
    launched = machine.launched.timestamp() if machine else None
    return Phases(
        launched=None if launched is None else min(launched, beat.started),
        started=beat.started,
        first_file=None if first_file is None else max(beat.started, first_file),
        leaving=beat.leaving,
        seen=beat.seen,
    )


def _busy(beat: Heartbeat) -> float:
    available = beat.slots * (beat.seen - beat.started)
    return min(1.0, beat.busy_seconds / available) if available > 0 else 0.0


def _cost(found: Gathered, status: RunStatus) -> Cost | None:
    """Return what the run costs, None if no worker knew any price."""
    if not status.cost:
        return None
    beats = found.snapshot.heartbeats
    listed = [
        beat.model_copy(update={"hourly_usd": found.on_demand.get(beat.type)}) for beat in beats
    ]
    known = all(beat.hourly_usd is not None for beat in listed)
    return Cost(
        so_far=status.cost,
        per_file=status.cost_per_file,
        to_finish=status.cost_to_finish if status.left else None,
        on_demand=spent_usd(listed) if known else None,
        of=status.spent,
    )


def _still_there(found: Gathered) -> int | None:
    if found.machines is None:
        return None
    return sum(machine.state in BILLED for machine in found.machines.values())


def agent_versions(report: Report) -> list[str]:
    """Return the versions of the agents that worked on the run."""
    return sorted({a.beat.agent_version for a in report.workers if a.beat.agent_version})


def images(report: Report) -> list[str]:
    """Return the machine images of the workers that EC2 still knows."""
    return sorted({m.image for m in (report.found.machines or {}).values() if m.image})
