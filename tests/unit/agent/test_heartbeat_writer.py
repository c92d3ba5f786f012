"""The heartbeats that a worker writes, on a wire that is slow."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from parallelize_agent.reporting.heartbeat import HeartbeatWriter
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.layout import Location, RunLayout
from parallelize_core.testing import AsyncInMemoryStore

LAYOUT = RunLayout(Location("bucket"), "run")

MANY = 100
"""After this many steps of the loop, everything has happened that waits for nothing."""


class SlowWire(AsyncInMemoryStore):
    """A bucket that the first object reaches only after `opened`, even if its sender is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()
        self.sent: list[asyncio.Task[str | None]] = []

    async def put(self, key, body, *_):  # type: ignore[no-untyped-def]
        self.sent.append(asyncio.create_task(self._arrive(key, body, first=not self.sent)))
        return await asyncio.shield(self.sent[-1])

    async def _arrive(self, key: str, body: bytes, *, first: bool) -> str | None:
        if first:
            await self.opened.wait()
        return await super().put(key, body)


async def nothing(_: Heartbeat) -> None:
    """Do nothing more with a heartbeat."""


async def last_words(patience_seconds: float, *, opened_late: bool) -> WorkerState:
    """Return what the bucket says of a worker that left while its first heartbeat was sent."""
    wire, state = SlowWire(), WorkerState.BUSY
    writer = HeartbeatWriter(
        wire,
        LAYOUT,
        lambda: Heartbeat(worker="w", state=state, started=1, seen=1, interval_seconds=60),
        60,
        nothing,
        patience_seconds,
    )
    working = asyncio.create_task(writer.run())
    while not wire.sent:
        await asyncio.sleep(0)
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working
    state = WorkerState.LEFT
    leaving = asyncio.create_task(writer.write_last())
    for _ in range(MANY):
        await asyncio.sleep(0)
    if opened_late:
        await leaving
    wire.opened.set()
    await leaving
    await asyncio.gather(*wire.sent)
    return Heartbeat.decode(wire.store.get(LAYOUT.heartbeat("w"))).state


def test_a_heartbeat_that_was_cut_off_does_not_replace_the_last_one() -> None:
    assert asyncio.run(last_words(60, opened_late=False)) is WorkerState.LEFT


def test_a_heartbeat_that_does_not_arrive_delays_the_last_one_only_for_a_while() -> None:
    """Then it may replace it, but nobody is left without one, and the worker does leave."""
    assert asyncio.run(last_words(0.02, opened_late=True)) is WorkerState.BUSY
