"""An executor like those of concurrent.futures, whose workers are machines."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self, Unpack

from parallelize.api.calls import Options, make_call
from parallelize.api.outcome import JobError, Outcome
from parallelize.api.sources import Items
from parallelize.context import Context
from parallelize.operations.enqueue import send_jobs
from parallelize.operations.prep import prepare
from parallelize_core.errors import NothingToDoError


class Executor:
    """Runs one command for each item that is submitted, as `map` does for many.

        with parallelize.Executor("./simulate.py", name="simulation", env="env/") as executor:
            futures = [executor.submit({"seed": seed}) for seed in range(100)]
            for future in concurrent.futures.as_completed(futures):
                print(future.result().value())

    It has the options of `map`. A thread carries out the run; items submitted meanwhile are added
    to it within seconds. `concurrent.futures.as_completed` and `wait` work on its futures, and
    asyncio.wrap_future makes them awaitable.
    """

    def __init__(self, command: str, *, name: str, **options: Unpack[Options]) -> None:
        self._call = make_call(command, name, **options)
        self._folder = TemporaryDirectory(prefix="parallelize-")
        self._items = Items(Path(self._folder.name))
        self._waiting: list[tuple[Any, Future[Outcome]]] = []
        self._taken: dict[int, Future[Outcome]] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="parallelize", daemon=True)
        self._thread.start()

    def submit(self, item: Any) -> Future[Outcome]:
        """Run the command for an item, which must be JSON, and return the future of its outcome.

        If the job fails, its future raises JobError. Raises RuntimeError after `shutdown`.
        """
        future: Future[Outcome] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("cannot submit an item after shutdown")
            self._waiting.append((item, future))
            self._changed.notify()
        return future

    def map(self, items: Iterable[Any], timeout: float | None = None) -> Iterator[Outcome]:
        """Submit items, and yield their outcomes in this order; raises what their futures raise.

        `timeout` is in seconds, for each of them.
        """
        futures = [self.submit(item) for item in items]
        return (future.result(timeout) for future in futures)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as concurrent.futures has it
        """Accept no more items, and wait until all are done.

        `cancel_futures` drops items that were not sent yet.
        """
        with self._changed:
            self._closed = True
            if cancel_futures:
                for _, future in self._waiting:
                    future.cancel()
            self._changed.notify()
        if wait:
            self._thread.join()
            self._folder.cleanup()

    def __enter__(self) -> Self:
        """Return the executor."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait until all is done."""
        self.shutdown()

    def _work(self) -> None:
        while self._wait_for_items():
            try:
                if self._take():
                    self._call.follow(self._items, self._tell, self._join)
            except BaseException as error:
                self._fail(error)

    def _wait_for_items(self) -> bool:
        """Wait until there is something to do; return False once nothing more will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return bool(self._waiting)

    def _take(self) -> bool:
        """Write the items submitted since the last call; return whether there were any."""
        with self._changed:
            waiting, self._waiting = self._waiting, []
        before = len(self._taken)
        for item, future in waiting:
            if not future.set_running_or_notify_cancel():
                continue
            try:
                self._items.add(item)
                self._taken[len(self._taken)] = future
            except Exception as error:
                future.set_exception(error)
        return len(self._taken) > before

    def _join(self, context: Context) -> bool:
        """Add the items submitted while the run goes on."""
        if not self._take():
            return False
        prepare(context)
        with suppress(NothingToDoError):  # done by an earlier call
            send_jobs(context)
        return True

    def _tell(self, number: int, outcome: Outcome) -> None:
        future = self._taken[number]
        if future.done():
            return  # from an earlier pass
        try:
            outcome.check()
        except JobError as error:
            future.set_exception(error)
        else:
            future.set_result(outcome)

    def _fail(self, error: BaseException) -> None:
        for future in self._taken.values():
            if not future.done():
                future.set_exception(error)
