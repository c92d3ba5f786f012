"""A job in its slot: its folder is made, its command runs, and what it leaves is looked through.

All of it blocks, so all of it happens in the slot's own thread, in one go: each way between the
event loop and a thread costs as much as half a request.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from parallelize_agent.job import fault
from parallelize_agent.job.job import Decision, Job, Ran, Staged
from parallelize_agent.job.outputs import OutputError, Outputs, Unprinted, find_outputs
from parallelize_agent.job.preparation import PASSED_ON, command_line
from parallelize_agent.job.scratch import PRIVATE, JobFolder, ScratchSpace
from parallelize_agent.machine import host
from parallelize_agent.process import isolation
from parallelize_agent.process.cgroup import JobCgroup, JobCgroups
from parallelize_agent.process.command import Command, Ending, Execution, Outcome
from parallelize_agent.process.read_only import ReadOnlyFolder
from parallelize_core.result import INLINE_LOG_BYTES

NO_OUTPUTS = Outputs(())


class Execute:
    """Runs commands in a pool of `slots` threads; none may write to `environments`."""

    def __init__(
        self,
        slots: int,
        scratch: ScratchSpace,
        environments: ReadOnlyFolder,
        cgroups: JobCgroups | None,
    ) -> None:
        self._slots = slots
        self._environments = environments
        self._scratch = scratch
        self._cgroups = cgroups
        self._threads = ThreadPoolExecutor(slots, "slot")
        self._passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}

    async def __call__(self, job: Job, staged: Staged) -> Ran | Decision:
        """Run a job's command in its slots; it ends early if the job is stopped."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._run, job, staged)

    def close(self) -> None:
        """Let the threads end with the commands that they have."""
        self._threads.shutdown(wait=False)

    def _run(self, job: Job, staged: Staged) -> Ran | Decision:
        folder = staged.folder
        if staged.content is not None:
            self._scratch.make(folder)
            folder.input.write_bytes(staged.content)
        self._scratch.furnish(folder, staged.environment)
        outcome = self._execute(job, staged)
        if isinstance(outcome, Decision):
            return outcome
        self._scratch.reclaim(folder)
        outputs = self._outputs(staged, outcome)
        log = _log(folder)
        files = () if isinstance(outputs, OutputError) else outputs.files
        if isinstance(log, bytes) and all(file.content is not None for file in files):
            self._scratch.remove(folder)
            return Ran(staged, outcome, outputs, log, None)
        return Ran(staged, outcome, outputs, log, folder)

    def _execute(self, job: Job, staged: Staged) -> Outcome | Decision:
        cgroup = self._cgroups.create(_memory_limit(staged)) if self._cgroups else None
        command = self._command(staged, job.slots, cgroup)
        execution = Execution(command, staged.folder.stdout, staged.folder.log)
        try:
            job.attach(execution)
            return execution.run()
        except (OSError, ValueError) as error:
            return fault.of_start(error, staged.run.command[0])
        finally:
            if cgroup:
                cgroup.remove()

    def _command(self, staged: Staged, slots: tuple[int, ...], cgroup: JobCgroup | None) -> Command:
        folder, run = staged.folder, staged.run
        apart = isolation.job_prefix(folder.user, folder.tmp)
        prefix = (*(cgroup.prefix if cgroup else ()), *apart)
        command = command_line(run.command, staged.environment)
        return Command(
            argv=(*prefix, *command, str(folder.input)),
            folder=folder.scratch,
            environ=self._environ(staged, slots),
            marker=f"PARALLELIZE_SCRATCH={folder.scratch}",
            timeout_seconds=run.limits.timeout_seconds,
            grace_seconds=run.limits.grace_seconds,
            memory_bytes=_memory_limit(staged),
            cgroup=cgroup,
            read_only=self._environments if staged.environment else None,
        )

    def _environ(self, staged: Staged, slots: tuple[int, ...]) -> dict[str, str]:
        folder, run, message = staged.folder, staged.run, staged.received.message
        environ = self._passed_on | {
            "HOME": str(folder.scratch / PRIVATE),
            "TMPDIR": str(folder.tmp),
            "PARALLELIZE_RUN": run.name,
            "PARALLELIZE_INPUT": str(folder.input),
            "PARALLELIZE_INPUT_KEY": message.key,
            "PARALLELIZE_ATTEMPT": str(message.attempt),
            "PARALLELIZE_SLOT": str(slots[0]),
            "PARALLELIZE_SLOTS": str(self._slots),
            "PARALLELIZE_SCRATCH": str(folder.scratch),
            "PARALLELIZE_ENVIRONMENT": str(staged.environment or ""),
        }
        if run.limits.gpus:
            environ["CUDA_VISIBLE_DEVICES"] = host.gpus_of_slot(slots[0], run.limits.gpus)
        return environ

    def _outputs(self, staged: Staged, outcome: Outcome) -> Outputs | OutputError:
        if outcome.ending is not Ending.EXITED or outcome.exit_code:
            return NO_OUTPUTS
        folder = staged.folder
        try:
            _check_stdout(folder, outcome)
            places = folder.own_places
            unprinted = Unprinted(staged.run.naming.collect, folder.input)
            return find_outputs(
                folder.stdout, folder.scratch, staged.environment, places, unprinted
            )
        except OutputError as error:
            return error


def _check_stdout(folder: JobFolder, outcome: Outcome) -> None:
    if not folder.stdout.exists():
        raise OutputError(
            "its stdout is gone, so its outputs are unknown: "
            "the command deleted files outside its scratch folder"
        )
    if outcome.stdout_lost:
        raise OutputError(
            f"not all of stdout was kept, so a line that names an output may be lost: "
            f"{outcome.stdout_lost}; print file names there, and the rest on stderr"
        )


def _log(folder: JobFolder) -> bytes | Path:
    try:
        with folder.log.open("rb") as file:
            start = file.read(INLINE_LOG_BYTES + 1)
    except FileNotFoundError:
        return b""
    return start if len(start) <= INLINE_LOG_BYTES else folder.log


def _memory_limit(staged: Staged) -> int | None:
    # What is alone on the worker may use all of it: one job's share was not enough.
    return None if staged.received.message.alone else staged.run.limits.memory_bytes
