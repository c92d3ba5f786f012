"""A copy of the agent's log in CloudWatch Logs, so that it outlives the machine.

journald on the machine has every line; the copy can be read when the machine is gone. It is best
effort: lines wait in memory to be sent, the oldest are dropped if there are too many, and nothing
that goes wrong here ever disturbs the work. A process that is killed loses what it had not sent, a
few seconds' worth.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from structlog.typing import EventDict

from parallelize_core.errors import code_of
from parallelize_core.outlast import NEW_STREAM, outlast
from parallelize_core.translated import translated

if TYPE_CHECKING:
    from types_boto3_logs import CloudWatchLogsClient

log = structlog.get_logger()

MAX_BATCH_BYTES = 1_048_576
MAX_BATCH_EVENTS = 10_000
EVENT_OVERHEAD_BYTES = 26
"""Limits of a batch, and what each event counts beyond its UTF-8. The third limit, 24 hours from
the first to the last event, is never reached: waiting lines are sent within seconds, or dropped.

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
"""

MAX_LINE_CHARACTERS = 16 * 1024
MAX_WAITING = 1_000
"""With the length of a line, this bounds the memory: 16 million characters at worst."""

INTERVAL_SECONDS = 5.0
LAST_WORDS_SECONDS = 5.0
"""How long the end of the agent waits for the last lines."""

WORDS_OF_COMMANDS = frozenset({"why", "command"})
"""Fields that may quote what a command printed; they stay on the machine, and in the results."""

_HOPELESS = {
    "AccessDenied", "AccessDeniedException", "ResourceNotFoundException",
    "UnrecognizedClientException", "404",
}  # fmt: skip
"""No such group, or no right to write to it: the next call would fail in the same way."""

Event = dict[str, Any]


class CloudLog:
    """Sends lines to one stream of a log group, in its own thread."""

    def __init__(
        self,
        client: CloudWatchLogsClient,
        group: str,
        stream: str,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._client = client
        self._place = {"logGroupName": group, "logStreamName": stream}
        self._interval = interval_seconds
        self._waiting: deque[Event] = deque(maxlen=MAX_WAITING)
        self._dropped = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="cloud log", daemon=True)

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def add(self, line: str) -> None:
        """Take a line; returns at once, and never raises."""
        event = {"timestamp": int(time.time() * 1000), "message": line[:MAX_LINE_CHARACTERS]}
        with self._lock:
            self._dropped += len(self._waiting) == MAX_WAITING
            self._waiting.append(event)

    def close(self, patience_seconds: float = LAST_WORDS_SECONDS) -> None:
        """Send the waiting lines; return when they are sent or after `patience_seconds`."""
        self._wake.set()
        self._thread.join(patience_seconds)

    def _run(self) -> None:
        try:
            self._send_all_along()
        except Exception as error:
            log.warning("log not copied", group=self._place["logGroupName"], error=str(error))

    def _send_all_along(self) -> None:
        has_stream = False
        while True:
            ended = self._wake.wait(self._interval)
            try:
                has_stream = has_stream or self._make_stream()
                self._send()
                self._failing = False
            except Exception as error:
                self._bear(error)
            if ended:
                return

    def _make_stream(self) -> bool:
        try:
            self._client.create_log_stream(**self._place)
        except Exception as error:
            # The agent was restarted.
            if code_of(error) != "ResourceAlreadyExistsException":
                raise
        return True

    def _send(self) -> None:
        for batch in batches(self._snapshot()):
            outlast(NEW_STREAM, partial(self._put, batch))
            self._forget(batch)

    @translated("CloudWatch")
    def _put(self, batch: list[Event]) -> None:
        self._client.put_log_events(**self._place, logEvents=batch)  # type: ignore[arg-type]

    def _snapshot(self) -> list[Event]:
        with self._lock:
            if self._dropped:
                note = f'{{"event": "log lines dropped", "lines": {self._dropped}}}'
                first = self._waiting[0]["timestamp"]
                self._waiting[0] = {"timestamp": first, "message": note}
                self._dropped = 0
            # By time: the clock may have been set back, and AWS rejects what is out of order.
            return sorted(self._waiting, key=lambda event: event["timestamp"])

    def _forget(self, batch: list[Event]) -> None:
        sent = set(map(id, batch))
        with self._lock:
            left = [event for event in self._waiting if id(event) not in sent]
            self._waiting.clear()
            self._waiting.extend(left)

    def _bear(self, error: Exception) -> None:
        """Retry with the next lines, unless it is hopeless; log it once, not every time."""
        if code_of(error) in _HOPELESS:
            raise error
        if not self._failing:
            log.warning("log not copied for now", error=str(error))
        self._failing = True


def batches(events: Iterable[Event]) -> Iterator[list[Event]]:
    """Divide events, which are in order of time, into batches that PutLogEvents accepts."""
    batch: list[Event] = []
    size = 0
    for event in events:
        counted = len(event["message"].encode()) + EVENT_OVERHEAD_BYTES
        if batch and (size + counted > MAX_BATCH_BYTES or len(batch) == MAX_BATCH_EVENTS):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += counted
    if batch:
        yield batch


def without_words_of_commands(event: EventDict) -> EventDict:
    """Return what of a log event may leave the machine."""
    return {name: value for name, value in event.items() if name not in WORDS_OF_COMMANDS}
