"""The circuit breaker: the first worker that sees too much of a run fail pauses the run.

It opens for one of three reasons: as many files have failed for good as `run.halt` allows; nothing
has succeeded at all; or file after file fails in the same way. Each failure asks here before it is
recorded, so recorded failures never exceed the limit by more than half: a failure is marked first,
and the marks are counted afterwards, so that each of several at once sees the others.

A look costs the same whatever the size of the run: it lists marks, which are no more than the limit
allows, and never results. With a high limit, a worker only looks when it has used up its share of
what is left.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from parallelize_agent.job.job import Decision
from parallelize_agent.job.run_source import RunSource
from parallelize_agent.reporting.pauser import (
    MOST_LISTED,
    Pauser,
    first_keys,
    has_room,
    has_unmarked_result,
)
from parallelize_agent.reporting.peers import Peers
from parallelize_core.errors import DecodeError, MissingError
from parallelize_core.layout import RunLayout
from parallelize_core.pause import FIRST, allowance
from parallelize_core.result import Attempt
from parallelize_core.run import Run
from parallelize_core.store import AsyncStore

LEAST_IN_A_ROW = 5
"""However many workers share the work, fewer equal failures on one of them mean nothing."""

_DIGITS = re.compile(r"\d+")


@dataclass
class CircuitBreaker:
    """Counts failures and pauses the run."""

    layout: RunLayout
    records: AsyncStore
    run: RunSource
    peers: Peers
    pauser: Pauser
    _succeeded: int = 0
    _any_success: bool = False
    _since: str = ""
    _seen: int = 0
    _unseen: int = 0
    _share: int = 0
    _total: int | None = None
    _last_reason: str = ""
    _in_a_row: int = 0
    _tried: dict[str, str | None] = field(default_factory=dict)
    """The records of attempts that were read, and the mark of the file if it was charged."""

    def note_success(self) -> None:
        """Record a job that succeeded here."""
        self._succeeded += 1
        self._any_success = True
        self._in_a_row = 0

    async def note_attempt(self, key: str) -> None:
        """Record a failure of the job's own, after which it is tried again."""
        if reason := await self._all_in_vain(self.run.current, key):
            await self.pauser.pause(reason)

    async def admit(self, key: str, decision: Decision, said: str) -> bool:
        """Return whether one more final failure may be recorded; pause the run if necessary.

        `said` is the last line that the command printed on stderr.
        """
        mark = self.layout.failure(key)
        await self.records.put(mark, b"")
        run = self.run.current
        again = await self._same_again(f"{decision.message} {said}".replace(key, "FILE"))
        reason = await self._all_in_vain(run, key) or again
        count, limit = await self._count(run)
        if limit is not None and count >= limit:
            # No more than these stay failed: see `has_room`.
            there = min(count, limit + limit // 2)
            reason = (
                f"{there:,} of {self._total:,} files have failed (run.halt is {run.limits.halt})"
            )
        admitted = limit is None or await self._has_room(mark, count, run, limit)
        if not admitted or (reason and not await self.pauser.is_at_its_end()):
            await self.pauser.pause(reason or "too many failures")
        return admitted

    async def _has_room(self, mark: str, count: int, run: Run, limit: int) -> bool:
        async def look() -> int:
            await self._look(run, limit)
            return self._seen

        return await has_room(self.records, mark, limit, look, count)

    async def _count(self, run: Run) -> tuple[int, int | None]:
        """Return how many failures there are since the run was resumed, and how many may be."""
        if run.limits.halt is None:
            return 0, None
        if self._since != run.resumed_at:
            self._since, self._share = run.resumed_at, 0
        limit = await self._limit(run.limits.halt)
        self._unseen += 1
        if self._unseen >= self._share:
            await self._look(run, limit)
        if self._seen + self._unseen >= limit:
            # Before anything is paused: the manifest may have grown.
            limit = await self._limit(run.limits.halt, again=True)
        return self._seen + self._unseen, limit

    async def _look(self, run: Run, limit: int) -> None:
        marks = 0
        async for _ in self.records.list(self.layout.failures.prefix):
            marks += 1
        self._seen, self._unseen = max(0, marks - run.forgiven), 0
        left = limit - self._seen
        workers = 1 + await self._count_peers() if left > 4 else left
        self._share = left // (4 * workers) if workers else 0

    async def _count_peers(self) -> int:
        count = 0
        async for _ in self.peers.living():
            count += 1
        return count

    async def _limit(self, halt: str, *, again: bool = False) -> int:
        if self._total is None or again:
            self._total = await self.pauser.count_files()
        return allowance(halt, self._total) or 0

    async def _same_again(self, reason: str) -> str | None:
        """Return why to pause if most files fail for good, one after the other, in the same way."""
        shape = _DIGITS.sub("#", reason)
        self._in_a_row = self._in_a_row + 1 if shape == self._last_reason else 1
        self._last_reason = shape
        if self._in_a_row < LEAST_IN_A_ROW or self._in_a_row <= self._succeeded:
            return None
        if self._in_a_row < FIRST // (1 + await self._count_peers()):
            return None
        return f"{self._in_a_row} files in a row have failed in the same way: {reason.strip()}"

    async def _all_in_vain(self, run: Run, key: str) -> str | None:
        """Return why to pause if FIRST files were tried and none has succeeded since the resume."""
        if self._any_success:
            return None
        failed = await self._failed()
        if len(failed) == MOST_LISTED or await has_unmarked_result(
            self.records, self.layout, failed, self._failed
        ):
            self._any_success = True
            return None
        marks = map(self.layout.failures.key, failed)
        tried = {self.layout.failure(key), *marks, *await self._charged(run)}
        count = len(tried) - run.forgiven
        return f"the first {count:,} files have all failed" if count >= FIRST else None

    async def _failed(self) -> set[str]:
        """Return the names of files that have failed for good."""
        marks = await first_keys(self.records, self.layout.failures.prefix)
        return {*map(self.layout.failures.relative, marks)}

    async def _charged(self, run: Run) -> set[str]:
        """Return the marks of files with a failure of their own since the run was resumed."""
        found = await first_keys(self.records, self.layout.attempts.prefix)
        new = [key for key in found if key.endswith(".json") and key not in self._tried]
        for key in new[: 5 * FIRST]:
            self._tried[key] = await self._mark_of(key, run)
        return {mark for mark in self._tried.values() if mark}

    async def _mark_of(self, record: str, run: Run) -> str | None:
        try:
            attempt = Attempt.decode(await self.records.get(record))
        except (DecodeError, MissingError):
            return None
        charged = attempt.cause and attempt.cause.charged
        fresh = attempt.started_at >= run.resumed_at
        return self.layout.failure(attempt.key) if charged and fresh else None
