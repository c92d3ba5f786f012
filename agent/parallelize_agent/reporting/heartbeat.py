"""Tells S3 now and then how this worker is, for `status` and for the choice of the keeper."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_random_exponential

from parallelize_core.errors import BOUNDARY_ERRORS, DecodeError, MissingError
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.layout import RunLayout
from parallelize_core.store import Store

log = structlog.get_logger()

LAST_WORDS_SECONDS = 20
"""How long the last heartbeat is tried again; less than is left of a spot notice by then."""


class HeartbeatWriter:
    """Writes what `describe` returns, every `interval_seconds` and whenever `beat` is called.

    `after` is called with each heartbeat in the same thread, and must not raise.
    """

    def __init__(
        self,
        store: Store,
        layout: RunLayout,
        describe: Callable[[], Heartbeat],
        interval_seconds: float,
        after: Callable[[Heartbeat], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._layout = layout
        self._describe = describe
        self._interval = interval_seconds
        self._after = after
        self._wake = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to write, at once."""
        self._thread.start()

    def beat(self) -> None:
        """Write soon: something has changed."""
        self._wake.set()

    def stop(self) -> None:
        """Write the last one, and end.

        It is tried again for a while if the store does not take it: `status` would otherwise
        show a worker that has left as one at work, until it is overdue.
        """
        self._ended = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended:
            self._write()
            self._wake.wait(self._interval)
            self._wake.clear()
        Retrying(
            retry=retry_if_result(lambda written: not written),
            wait=wait_random_exponential(max=3),
            stop=stop_after_delay(LAST_WORDS_SECONDS),
            retry_error_callback=lambda _: None,
        )(self._write)

    def _write(self) -> bool:
        heartbeat = self._describe()
        written = True
        try:
            self._store.put(self._layout.heartbeat(heartbeat.worker), heartbeat.encode())
        except (BotoCoreError, ClientError, *BOUNDARY_ERRORS) as error:
            log.warning("heartbeat not written", error=str(error))
            written = False
        self._after(heartbeat)
        return written


def read_heartbeats(store: Store, layout: RunLayout) -> list[Heartbeat]:
    """Read all heartbeats of a run; one that cannot be read says nothing."""
    found = []
    for item in store.list(layout.agents.prefix):
        try:
            found.append(Heartbeat.decode(store.get(item.key)))
        except (DecodeError, MissingError) as error:
            log.warning("heartbeat not read", key=item.key, error=str(error))
    return found


def is_keeper(worker: str, heartbeats: list[Heartbeat], now: float) -> bool:
    """Whether `worker` has the lowest id of those that live and mean to stay.

    It waits for the last leases and sends again what was lost, so that the others can leave.
    """
    staying = [
        beat.worker
        for beat in heartbeats
        if beat.alive(now) and beat.state is not WorkerState.DRAINING
    ]
    return worker <= min(staying, default=worker)
