"""run.json, read again every few seconds: it may be mended or paused while agents work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from parallelize_core.layout import RunLayout
from parallelize_core.run import Run
from parallelize_core.store import Store


class RunSource:
    """The run as it is now, at most `max_age_seconds` ago."""

    def __init__(
        self,
        store: Store,
        layout: RunLayout,
        max_age_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._layout = layout
        self._max_age = max_age_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._run: Run | None = None
        self._read_at = 0.0

    def current(self) -> Run:
        """Return the run; raises DecodeError, MissingError or botocore's errors if it cannot."""
        with self._lock:
            now = self._clock()
            if self._run is None or now - self._read_at >= self._max_age:
                self._run = Run.decode(self._store.get(self._layout.run_json))
                self._read_at = now
            return self._run
