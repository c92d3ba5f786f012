"""Lets all jobs of a run have ended, as workers would leave them: outputs, results, segments."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.client.scene import BUCKET
from tests.bench.small_cloud.process import REGION, CloudProcess

from parallelize_agent.reporting.segments import FULL, SegmentWriter
from parallelize_core.async_clients import AsyncClients
from parallelize_core.content_key import content_key
from parallelize_core.layout import Location, RunLayout
from parallelize_core.manifest import corrected_by, decode_part, places_of
from parallelize_core.result import Cause, Output, Result
from parallelize_core.run import Run
from parallelize_core.transport.plain import Plain

KEY = "inputs/{:08}.bin"
"""What the inputs of a run are called that has many."""

TIMES = ("2026-01-01T00:00:00+00:00", "2026-01-01T00:00:01+00:00")


def layout_of(run: str) -> RunLayout:
    """Return the keys of a run of the bench."""
    return RunLayout(Location(BUCKET), run)


def result_of(run: str, key: str, outputs: tuple[Output, ...], log: str = "") -> Result:
    """Return what a worker writes of a job."""
    started, finished = TIMES
    return Result(
        run=run, key=key, attempt=1, worker="w1", started_at=started, finished_at=finished,
        exit_code=0, outputs=outputs, status="succeeded", log=log,
    )  # fmt: skip


def failure_of(run: str, key: str) -> Result:
    """Return what a worker writes of a job that has failed."""
    return result_of(run, key, ()).model_copy(
        update={"status": "failed", "cause": Cause.COMMAND, "exit_code": 1, "stderr_tail": "no\n"}
    )


def finish_all(cloud: CloudProcess, run: str, inputs: Path) -> None:
    """Give each input an output of the same content, and a result."""
    asyncio.run(_finish_all(cloud, run, sorted(inputs.iterdir())))


async def _finish_all(cloud: CloudProcess, run: str, files: list[Path]) -> None:
    layout = layout_of(run)
    clients = clients_of(cloud)
    store = clients.store(BUCKET)
    writer = SegmentWriter(store, layout, "w1", 0)
    waiting = iter(enumerate(files, 1))

    async def work() -> None:
        for number, file in waiting:
            with file.open("rb") as opened:
                etag = await store.put_file(layout.output.key(file.name), opened)
            with file.open("rb") as opened:
                sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
            size = file.stat().st_size
            output = Output(key=file.name, size=size, sha256=sha256, etag=etag or "")
            result = result_of(run, file.name, (output,))
            result_etag = await store.put(layout.result(file.name), result.encode())
            writer.add(result, result_etag or "")
            if number % FULL == 0:
                await writer.write()

    await asyncio.gather(*(work() for _ in range(16)))
    await writer.write()
    await clients.aclose()


def finish_recorded(cloud: CloudProcess, run: str, name_of: Callable[[str], str] = str) -> None:
    """Give each job of the manifest a result as of today, and an output with a name of its own."""
    asyncio.run(_finish_recorded(cloud, run, name_of))


async def _finish_recorded(cloud: CloudProcess, run: str, name_of: Callable[[str], str]) -> None:
    layout = layout_of(run)
    clients = clients_of(cloud)
    store = clients.store(BUCKET)
    writer = SegmentWriter(store, layout, "w1", time.time_ns())
    record = Run.decode(await store.get(layout.run_json))
    listed = [item.key async for item in store.list(layout.corrections.prefix)]
    corrected = corrected_by([await store.get(key) for key in listed])
    parts = places_of([item async for item in store.list(layout.manifest.prefix)])
    entries = [one for _, key in parts for one in decode_part(await store.get(key))]
    waiting = iter(enumerate((corrected.get(one.key, one) for one in entries), 1))

    async def work() -> None:
        for number, entry in waiting:
            name, body = name_of(entry.key), f"{run} {entry.key}".encode()
            etag = await store.put(layout.output.key(name), body)
            sha256 = hashlib.sha256(body).hexdigest()
            output = Output(key=name, size=len(body), sha256=sha256, etag=etag or "")
            made = {"content": content_key(record, entry), "recipe": record.recipe}
            result = result_of(run, entry.key, (output,)).model_copy(update=made)
            writer.add(result, await store.put(layout.result(entry.key), result.encode()) or "")
            if number % FULL == 0:
                await writer.write()

    await asyncio.gather(*(work() for _ in range(16)))
    await writer.write()
    await clients.aclose()


def finish_many(cloud: CloudProcess, run: str, count: int, failed_every: int) -> None:
    """Give each of the inputs that `prepare` made a result, and segments all of them."""
    asyncio.run(_finish_many(cloud, run, count, failed_every))


async def _finish_many(cloud: CloudProcess, run: str, count: int, failed_every: int) -> None:
    layout = layout_of(run)
    clients = clients_of(cloud)
    store = clients.store(BUCKET)
    writer = SegmentWriter(store, layout, "w1", 0)
    waiting = iter(range(count))

    async def work() -> None:
        for number in waiting:
            key = KEY.format(number)
            output = Output(key=key, size=1, sha256="0" * 64, etag="e")
            result = result_of(run, key, (output,))
            if number % failed_every == 0:
                result = failure_of(run, key)
                await store.put(layout.failure(key), b"")
            etag = await store.put(layout.result(key), result.encode())
            writer.add(result, etag or "")
            if (number + 1) % FULL == 0:
                await writer.write()

    await asyncio.gather(*(work() for _ in range(16)))
    await writer.write()
    await clients.aclose()


def clients_of(cloud: CloudProcess) -> AsyncClients:
    """Return clients of the cloud, for the bench itself; they make no call that needs botocore."""

    def open_session() -> Any:
        raise AssertionError("no call of the bench needs a session")

    return AsyncClients(open_session, plain=Plain.of(cloud.own_environ, REGION))
