"""The first stage: decide whether to do this job here, and if so, fetch what it needs."""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

from parallelize_agent.container.images import Images
from parallelize_agent.job import fault
from parallelize_agent.job.checkpoints import Checkpoints, Kept
from parallelize_agent.job.commit import Commit
from parallelize_agent.job.environment import Environments
from parallelize_agent.job.job import FINISHED, PARKED, Decision, DecisionKind, Received, Staged
from parallelize_agent.job.merge import Merge, files_of_merge
from parallelize_agent.job.run_source import RunSource
from parallelize_agent.job.scratch import JobFolder, ScratchSpace
from parallelize_agent.machine import host
from parallelize_agent.process.isolation import Container
from parallelize_agent.queue.claims import Claims
from parallelize_agent.queue.lanes import Lanes
from parallelize_agent.reporting.peers import Peers
from parallelize_agent.shutdown import Shutdown, words
from parallelize_core.config import AgentConfig
from parallelize_core.errors import UsageError
from parallelize_core.files import S3, InputFile, files_of, staged_names
from parallelize_core.merge import ListedOutput
from parallelize_core.result import Cause
from parallelize_core.run import Run
from parallelize_core.store import AsyncStore, check_sha256

SMALL_BYTES = 64 * 1024
"""A smaller input waits in memory for its slot: a worker may hold eleven per slot."""

FILES_AT_ONCE = 8
"""Of one job with several files; other jobs that are fetched at the same time hide the rest."""


@dataclass(frozen=True)
class StageIn:
    """Fetches inputs and the environment; `worker` is this worker's id."""

    config: AgentConfig
    worker: str
    open_store: Callable[[str], AsyncStore]
    run: RunSource
    claims: Claims
    environments: Environments
    images: Images
    scratch: ScratchSpace
    peers: Peers
    shutdown: Shutdown
    files: Executor
    at_once: asyncio.Semaphore
    """How many inputs may be fetched at once."""
    room: int
    """How many bytes a job may take on this worker's disk if it is the only one."""
    lanes: Lanes
    checkpoints: Checkpoints | None = None

    async def __call__(self, received: Received, others: int) -> Staged | Decision:
        """Fetch what the job needs; `others` is the number of other jobs in hand."""
        async with self.at_once:
            return await self._stage_in(received, others)

    async def _stage_in(self, received: Received, others: int) -> Staged | Decision:
        if decision := await self._early_decision(received):
            return decision
        if decision := self._disk_decision(received.message.size, others):
            return decision
        run = await self.run.fresh()
        try:
            container = await self.images.container(run)
            environment = await self.environments.folder(run, container)
        except UsageError as error:
            # Not the job's fault, and the next job would fail, too.
            self.shutdown.decide(words(error), 0, error)
            return fault.interrupted(words(error))
        try:
            return await self._fetch(received, run, environment, container)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                return fault.handed_back(str(error), blameless=others > 0)
            raise

    async def _early_decision(self, received: Received) -> Decision | None:
        # The claim before the result: its owner drops it once the result is written, so if it is
        # gone by now, there is a result, and hours of work are not repeated.
        message = received.message
        if (merge := self._merge(received)) and not await merge.is_current():
            return FINISHED  # there is another one by now, with its own message
        if message.claimed and not await self.claims.take_over(message.key):
            return PARKED
        # A message that comes for the first time is rarely a duplicate, and the result's
        # condition finds out in any case.
        if not received.first and await self._is_finished(received):
            return FINISHED
        if received.lease.message.receives > self.config.max_receives:
            return fault.failed(
                Cause.INFRASTRUCTURE,
                f"it was taken {self.config.max_receives} times, and each time its worker died or "
                "lost contact; perhaps it needs more memory than the machines have",
                final=True,
            )
        return await self._elsewhere(received)

    async def _elsewhere(self, received: Received) -> Decision | None:
        """Return a decision if the job is for another worker, or for another lane's."""
        if await self._is_for_another(received):
            return Decision(DecisionKind.PASSED_ON)
        lane = await self.lanes.lane_at_receive(received.message)
        return None if lane is self.lanes.own else Decision(DecisionKind.MOVED, lane=lane)

    async def _is_finished(self, received: Received) -> bool:
        records = self.open_store(self.config.bucket)
        layout, run = self.config.layout, self.run.current
        if await records.head(layout.result(received.key)) is None:
            return False
        outputs = self.open_store(run.output.bucket)
        check, merge = received.lease.check, self._merge(received)
        return await Commit(
            run, layout, records, outputs, received.key, check, merge=merge
        ).finished()

    def _merge(self, received: Received) -> Merge | None:
        if not received.message.merge:
            return None
        records = self.open_store(self.config.bucket)
        return Merge(records, self.config.layout, received.message.etag)

    async def _is_for_another(self, received: Received) -> bool:
        """Whether the job waits for a second opinion, and a living worker can give it."""
        message = received.message
        if not message.second_opinion or self.worker not in message.failed_by:
            return False
        return await self.peers.any_other(message.failed_by)

    def _disk_decision(self, size: int, others: int) -> Decision | None:
        if size <= SMALL_BYTES:
            return None  # the reserve has room for this, and was there at the receive
        free = host.free_bytes(self.scratch.root) - self.config.disk_reserve_bytes
        if size <= free:
            return None
        why = f"it has {size:,} bytes, but the worker's disk has room for {max(0, free):,}"
        if size > self.room:
            return fault.failed(Cause.INPUT, f"{why}; increase workers.disk")
        return fault.handed_back(why, blameless=others > 0)

    async def _fetch(
        self,
        received: Received,
        run: Run,
        environment: Path | None,
        container: Container | None,
    ) -> Staged | Decision:
        outputs: tuple[ListedOutput, ...] = ()
        if merge := self._merge(received):
            try:
                outputs = await merge.outputs()
            except fault.OF_THE_FILE as error:
                return fault.of_input(error, received.message.attempt)
            message = received.message.model_copy(update={"files": files_of_merge(outputs)})
            received, run = replace(received, message=message), run.merging()
        files = received.message.files
        names = None if files is None else staged_names(files)
        folder = self.scratch.reserve(received.key, names)
        try:
            content, size = await self._inputs(received, run, folder)
        except fault.OF_THE_FILE as error:
            await self._remove(folder)
            return fault.of_input(error, received.message.attempt)
        except BaseException:
            await self._remove(folder)
            raise
        if size != received.message.size:
            await self._remove(folder)
            return fault.failed(
                Cause.INPUT, f"it has {size:,} bytes, but prep listed {received.message.size:,}"
            )
        kept = await self._checkpoint(received, run, folder)
        return Staged(received, run, environment, folder, content, outputs, container, kept)

    async def _checkpoint(self, received: Received, run: Run, folder: JobFolder) -> Kept | None:
        """Return what an earlier attempt has left; a job's first attempt has nothing."""
        if self.checkpoints is None:
            return None
        kept = Kept(run, received.message, received.lease, folder)
        if not received.first:
            try:
                await self.checkpoints.find(kept)
            except BaseException:
                await self._remove(folder)
                raise
        return kept

    async def _inputs(
        self, received: Received, run: Run, folder: JobFolder
    ) -> tuple[bytes | None, int]:
        """Like `_input`, for a job of several files, all of which go into the folder."""
        files = received.message.files
        if files is None:
            return await self._input(received, run, folder)
        if not files:
            return None, 0  # its slot makes the folder
        await self._in_thread(self.scratch.make, folder)
        # A file that is in two columns is fetched once.
        wanted = dict(zip(map(Path, folder.inputs), files, strict=True))
        at_once = asyncio.Semaphore(FILES_AT_ONCE)
        tasks = [
            asyncio.create_task(self._file(file, run, path, at_once))
            for path, file in wanted.items()
        ]
        try:
            return None, sum(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            # Nothing may be written any more when the folder is removed.
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _file(self, file: InputFile, run: Run, path: Path, at_once: asyncio.Semaphore) -> int:
        bucket, key = file.place(run.input)
        async with at_once:
            return await self._fetched(self.open_store(bucket), key, file, path)

    @staticmethod
    async def _fetched(store: AsyncStore, key: str, file: InputFile, path: Path) -> int:
        """Fetch an input into a file, and compare it with what the result will name."""
        return await store.get_file(key, path, file.etag, file.size, file.checksum)

    async def _input(
        self, received: Received, run: Run, folder: JobFolder
    ) -> tuple[bytes | None, int]:
        """Return a small input, or None if it is in the folder, and its size in bytes."""
        [file] = files_of(received.message)
        store = self.open_store(run.input.bucket)
        key = run.input.key(file.stored or file.key)
        if file.size <= SMALL_BYTES:
            content = await store.get_within(key, SMALL_BYTES, file.etag)
            if content is not None:
                if file.checksum:
                    found = hashlib.sha256(content).hexdigest()
                    check_sha256(found, file.checksum, f"{S3}{store.bucket}/{key}")
                return content, len(content)
        await self._in_thread(self.scratch.make, folder)
        return None, await self._fetched(store, key, file, Path(folder.input))

    async def _remove(self, folder: JobFolder) -> None:
        await asyncio.shield(self._in_thread(self.scratch.remove, folder))

    async def _in_thread(self, do: Callable[[JobFolder], None], folder: JobFolder) -> None:
        await asyncio.get_running_loop().run_in_executor(self.files, do, folder)
