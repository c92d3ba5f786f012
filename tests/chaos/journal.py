"""What happened to a run on the host: executions, as the jobs wrote them down, and faults.

S3 alone says whether a run was right; this says how long it took to get over a fault.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.schedule import Kind

PREFETCH_SECONDS = 10
"""How long a worker may have had a message before its job starts, generously."""


@dataclass(frozen=True)
class Execution:
    """One execution of a job on one worker; times in seconds since 1970, None without an end."""

    key: str
    worker: str
    started: float
    ended: float | None


@dataclass(frozen=True)
class Loss:
    """A worker that could do nothing from a moment on, by the clock of this host."""

    worker: str
    kind: Kind
    at: float


@dataclass
class Journal:
    """What the bench did: workers lost, and keys of messages that it took away from everybody."""

    losses: list[Loss] = field(default_factory=list)
    taken: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    purges: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Recovery:
    """How long a job that lost its worker waited for its next start."""

    key: str
    kind: Kind
    seconds: float


def read_executions(path: Path) -> list[Execution]:
    """Read what the jobs wrote: a line at the start, another at the end."""
    ends: dict[str, float] = {}
    starts = []
    for line in path.read_text().splitlines():
        what, key, nonce, scratch, time = line.split()
        if what == "end":
            ends[nonce] = float(time)
        else:
            starts.append((key, nonce, worker_of(scratch), float(time)))
    return [Execution(key, worker, at, ends.get(nonce)) for key, nonce, worker, at in starts]


def worker_of(scratch: str) -> str:
    """Return the machine in whose folder a scratch folder is: two above that of the jobs."""
    return Path(scratch.partition("/jobs/")[0]).parent.name


def recoveries(executions: Iterable[Execution], journal: Journal) -> Iterator[Recovery]:
    """Go through the jobs that were running on a worker when it was lost.

    Left out are those whose message was taken away too: nobody can promise a time for them.
    """
    by_key = defaultdict(list)
    for execution in sorted(executions, key=lambda execution: execution.started):
        by_key[execution.key].append(execution)
    for loss in journal.losses:
        for key, history in by_key.items():
            hit = [execution.started for execution in history if _hit(execution, loss)]
            later = [execution.started for execution in history if execution.started > loss.at]
            if hit and later and not _taken(journal, key, hit[0], later[0]):
                yield Recovery(key, loss.kind, later[0] - loss.at)


def _hit(execution: Execution, loss: Loss) -> bool:
    running = execution.started <= loss.at and (
        execution.ended is None or execution.ended > loss.at
    )
    return execution.worker == loss.worker and running


def _taken(journal: Journal, key: str, since: float, until: float) -> bool:
    times = [*journal.taken.get(key, ()), *journal.purges]
    return any(since - PREFETCH_SECONDS <= time <= until for time in times)
