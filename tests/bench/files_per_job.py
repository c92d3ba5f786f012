"""The files of ours that one job passes through, in order: `python -m tests.bench.files_per_job`.

A whole worker does one job: an input, an output, a result. Every function that is called from the
receive to the delete is noted with its file, in whatever task or thread of the job; what the worker
does beside it (heartbeat, keeper, supervision) is left out. Queue and store are in memory; what a
call to the real ones passes through is measured apart, by one GET against a server on loopback.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
from tests.functional.agent.bench import SWIFT, Bench
from tests.functional.agent.live import LiveWorker
from tests.functional.core.transport.scripted import answer, calling, served

from parallelize_agent.process import tree
from parallelize_core.testing import AsyncInMemoryStore

OURS = ("parallelize_agent/", "parallelize_core/")
BESIDE = {"lease keeper", "heartbeat", "supervision", "stall meter"}
"""Parts of a worker that go on whether or not there is a job."""

_SUPPORT = "parallelize_core/testing.py"


class Passed:
    """The files of ours in which a function was called, in the order of their first call."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}
        self.on = True
        self.beside = set(BESIDE)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note every call, in every thread that begins meanwhile."""
        sys.setprofile(self._call)
        threading.setprofile(self._call)
        try:
            yield
        finally:
            threading.setprofile(None)
            sys.setprofile(None)

    def _call(self, frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        place = next((name[name.find(start) :] for start in OURS if start in name), None)
        if event == "call" and place and self.on and place != _SUPPORT and not self._is_beside():
            self.files[place] = None

    def _is_beside(self) -> bool:
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return not threading.current_thread().name.startswith(("slot", "files"))
        frame = getattr(task and task.get_coro(), "cr_frame", None)
        return frame is not None and frame.f_locals.get("name") in self.beside


class WatchedWorker(LiveWorker):
    """A worker that says when its first job has been received, and deleted."""

    def __init__(self, worker: LiveWorker, passed: Passed) -> None:
        super().__init__(worker._assembly)
        self._passed = passed

    async def _run(self) -> Any:
        self._passed.on = False
        queue = self._assembly.queue
        queue.receive = self._at_receive(queue.receive)  # type: ignore[method-assign]
        queue.delete = self._at_delete(queue.delete)  # type: ignore[method-assign]
        return await super()._run()

    def _at_receive(self, receive: Callable[..., Any]) -> Callable[..., Any]:
        async def received(*arguments: Any) -> Any:
            if self._passed.on:
                # It has what it is to do, and looks for more.
                self._passed.beside.add("receiver")
            found = await receive(*arguments)
            self._passed.on |= bool(found)
            return found

        return received

    def _at_delete(self, delete: Callable[..., Any]) -> Callable[..., Any]:
        async def deleted(*arguments: Any) -> Any:
            await delete(*arguments)
            self._passed.on = False

        return deleted


def of_one_job() -> list[str]:
    """Do one job, and return the files that it has passed through."""
    passed = Passed()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), 'cp "$1" out; echo out', config=SWIFT)
        bench.add({"x": b"content"})
        live = bench.worker(open_store=lambda _: AsyncInMemoryStore(bench.store))
        with passed.noted():
            WatchedWorker(live, passed).run()
    return list(passed.files)


def of_one_call() -> list[str]:
    """Read one object from a server on loopback, and return the files that this passes through."""
    passed = Passed()

    async def get() -> None:
        async with served(answer(b"content")) as server, calling(server) as caller:
            await caller.store().get("warm")
            with passed.noted():
                await caller.store().get("key")

    asyncio.run(get())
    return list(passed.files)


def main() -> None:
    """Print both lists."""
    tree.adopt_orphans()
    with structlog.testing.capture_logs():
        job, call = of_one_job(), of_one_call()
    for title, files in (("one job", job), ("one call of S3, besides", call)):
        sys.stdout.write(f"{title}: {len(files)} files\n")
        sys.stdout.writelines(f"  {file}\n" for file in files)


if __name__ == "__main__":
    main()
