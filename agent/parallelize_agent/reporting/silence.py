"""The circuit breaker for silent failures: files that succeed, and leave no output.

A script that writes a file and does not print its name exits with 0, file after file. If the first
files of a run all do, and nobody has said that outputs are optional, the run is paused. Such a
success is marked first and the marks are counted afterwards, as with failures; so recorded
successes never exceed the limit by more than half, and the rest is handed back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parallelize_agent.reporting.pauser import (
    Pauser,
    first_keys,
    has_room,
    has_unmarked_result,
)
from parallelize_core.layout import RunLayout
from parallelize_core.pause import FIRST
from parallelize_core.run import Run
from parallelize_core.store import AsyncStore

ADVICE = (
    "let the command print the name of each file it makes, or set output.collect; "
    "if none is expected, run.require_output = false; then parallelize prep"
)


@dataclass
class SilenceBreaker:
    """Counts successes without an output, and pauses the run."""

    layout: RunLayout
    records: AsyncStore
    pauser: Pauser
    _any_output: bool = False

    def note_output(self) -> None:
        """Record a job that succeeded with an output."""
        self._any_output = True

    async def admit(self, key: str, left: Sequence[str]) -> bool:
        """Return whether one more success without any output may be recorded.

        Pauses the run if necessary. `left` are files that the command made and did not name.
        """
        run = self.pauser.run.current
        if not run.limits.halt_if_silent:
            return True
        mark = self.layout.silence(key)
        await self.records.put(mark, b"")
        if self._any_output or await self._has_any_output():
            return True
        count = await self._count(run)
        if count < FIRST:
            return True
        admitted = await has_room(self.records, mark, FIRST, lambda: self._count(run), count)
        if not admitted or not await self._is_at_its_end():
            await self.pauser.pause(_reason(count, left))
        return admitted

    async def _count(self, run: Run) -> int:
        """Return how many marks there are since the run was resumed."""
        marks = await first_keys(self.records, self.layout.silences.prefix)
        return max(0, len(marks) - run.forgiven_silent)

    async def _has_any_output(self) -> bool:
        """Whether a file of the run has succeeded with an output: it has a result and no mark."""
        marks = await self._marks()
        self._any_output = await has_unmarked_result(self.records, self.layout, marks, self._marks)
        return self._any_output

    async def _marks(self) -> set[str]:
        """Return the names of files that have failed, or succeeded without an output."""
        layout = self.layout
        silent = await first_keys(self.records, layout.silences.prefix)
        failed = await first_keys(self.records, layout.failures.prefix)
        return {*map(layout.silences.relative, silent), *map(layout.failures.relative, failed)}

    async def _is_at_its_end(self) -> bool:
        """Whether this worker has all that is left: the queue's counts lag behind small runs."""
        # First: a job that ends meanwhile has its result in the listing.
        in_hand = self.pauser.in_hand()
        done = await first_keys(self.records, self.layout.results.prefix)
        return await self.pauser.count_files() - len(done) <= in_hand


def _reason(count: int, left: Sequence[str]) -> str:
    made = f" ({left[0]} was left in the scratch folder and not delivered)" if left else ""
    return f"the first {count:,} files succeeded but produced no output{made}: {ADVICE}"
