"""The circuit breaker: whichever agent sees first that too much of a run fails pauses the run.

Each agent looks at the failures of the whole run after a failure of its own. All agents see the
pause within seconds, finish what they run, hand back the rest, and leave; the queue stays.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import islice

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from parallelize_agent.job.run_source import RunSource
from parallelize_core.config import AgentConfig
from parallelize_core.errors import BOUNDARY_ERRORS
from parallelize_core.halt import FIRST, Progress, least_failures, reason_to_halt
from parallelize_core.manifest import read_parts
from parallelize_core.pause import pause
from parallelize_core.result import Attempt
from parallelize_core.run import Run
from parallelize_core.store import Store

log = structlog.get_logger()

MIN_PAUSE_SECONDS = 0.1

MAX_READ = 5 * FIRST
"""How many records of attempts are read to see whether nothing works."""


class Brakes:
    """Looks in a thread of its own, at most every `run_refresh_seconds`.

    `failures` tells how often a job has failed here so far.
    """

    def __init__(
        self, config: AgentConfig, records: Store, run: RunSource, failures: Callable[[], int]
    ) -> None:
        self._pause = max(MIN_PAUSE_SECONDS, config.run_refresh_seconds)
        self._layout = config.layout
        self._records = records
        self._run = run
        self._failures = failures
        self._seen = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_again, name="brakes", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    def _look_again(self) -> None:
        while not self._stop.wait(self._pause):
            here = self._failures()
            if here == self._seen:
                continue
            try:
                self._look(self._run.current())
                self._seen = here
            except (BotoCoreError, ClientError, *BOUNDARY_ERRORS) as error:
                log.warning("failures not counted", error=str(error))

    def _look(self, run: Run) -> None:
        marks = {item.key for item in self._records.list(self._layout.failures.prefix)}
        failed = len(marks)
        in_vain = 0 if self._any_success(failed) else self._tried_in_vain(run, marks)
        # Most of the time there are so few that nothing else has to be listed.
        least = least_failures(run.limits.halt)
        if run.paused or max(failed - run.forgiven, in_vain) < least:
            return
        total = sum(len(part.entries) for part in read_parts(self._records, self._layout))
        finished = sum(1 for _ in self._records.list(self._layout.results.prefix))
        progress = Progress(total, finished, failed, run.forgiven, in_vain)
        if reason := reason_to_halt(run.limits.halt, progress):
            log.error("the run is paused", reason=reason)
            pause(self._records, self._layout, reason)

    def _any_success(self, failed: int) -> bool:
        results = self._records.list(self._layout.results.prefix)
        return sum(1 for _ in islice(results, failed + 1)) > failed

    def _tried_in_vain(self, run: Run, marks: set[str]) -> int:
        """Count the jobs that have failed, or will be tried again, since the run was resumed."""
        found = self._records.list(self._layout.attempts.prefix)
        keys = [item.key for item in found if item.key.endswith(".json")]
        tried = {
            self._layout.failure(attempt.key)
            for attempt in (Attempt.decode(self._records.get(key)) for key in keys[:MAX_READ])
            if attempt.cause and attempt.cause.charged and attempt.started_at >= run.resumed_at
        }
        return max(0, len(tried | marks) - run.forgiven)
