"""A job in its slot: its folder is made, its command runs, and its outputs are found.

All of it blocks, so it all happens in the slot's own thread, in one go: each switch between the
event loop and a thread costs as much as half a request.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from io import FileIO
from pathlib import Path

import structlog

from parallelize_agent.gpu.equipment import Equipment
from parallelize_agent.job import dependencies, fault
from parallelize_agent.job.job import Decision, Job, Ran, Staged, memory_limit
from parallelize_agent.job.merge import write_list
from parallelize_agent.job.output_files import OutputError
from parallelize_agent.job.outputs import Outputs, Unprinted, find_outputs
from parallelize_agent.job.preparation import command_line, passed_on
from parallelize_agent.job.scratch import PRIVATE, JobFolder, ScratchSpace
from parallelize_agent.job.serving import Serving
from parallelize_agent.job.slots import SlotThreads
from parallelize_agent.job.snapshot import Snapshot, SnapshotError
from parallelize_agent.process import isolation
from parallelize_agent.process.cgroup import JobCgroup, JobCgroups
from parallelize_agent.process.command import Command, Ending, Execution, Outcome
from parallelize_agent.process.isolation import Container, Shared
from parallelize_agent.process.read_only import ReadOnlyFolder
from parallelize_agent.process.short_turns import take_short_turns
from parallelize_agent.process.world import World
from parallelize_core import for_commands
from parallelize_core.files import variable_name
from parallelize_core.template import Given

log = structlog.get_logger()

NO_OUTPUTS = Outputs(())

GOOD_ENDINGS = {Ending.EXITED, Ending.ANSWERED}


class Execute:
    """Runs commands in a pool of `slots` threads; none may write to `environments`.

    Each has the GPUs of `equipment` that belong to its slot.
    """

    def __init__(
        self,
        slots: int,
        scratch: ScratchSpace,
        environments: ReadOnlyFolder,
        cgroups: JobCgroups | None,
        equipment: Equipment,
    ) -> None:
        self._slots = slots
        self._environments = environments
        self._scratch = scratch
        self._cgroups = cgroups
        self._equipment = equipment
        self._serving = Serving(scratch, cgroups)
        self._passed_on = passed_on(None)
        self._threads = SlotThreads(slots, take_short_turns)

    async def __call__(self, job: Job, staged: Staged) -> Ran | Decision:
        """Run a job's command in its slots; it ends early if the job is stopped."""
        return await self._threads.run(lambda: self._run(job, staged))

    async def close(self, busy: Collection[int], timeout_seconds: float) -> None:
        """End the warm commands, and let the threads end with their current jobs.

        `busy` are the slots whose threads are working: their processes end with their jobs.
        """
        idle = [slot for slot in self._serving.close() if slot not in busy]
        ends = [
            asyncio.ensure_future(self._threads.run(partial(self._serving.end, slot)))
            for slot in idle
        ]
        if ends:
            await asyncio.wait(ends, timeout=timeout_seconds)
        self._threads.close()

    def _run(self, job: Job, staged: Staged) -> Ran | Decision:
        equipment = self._equipment
        if not equipment.allotment.serves(staged.run.limits):
            return fault.handed_back("run.gpus_per_job has changed since this worker started")
        gpus = equipment.of_slot(job.slots[0])
        if not gpus:
            return self._run_command(job, staged)
        with equipment.monitor.measured(gpus) as peak:
            ran = self._run_command(job, staged)
        if isinstance(ran, Decision):
            return ran
        succeeded = ran.outcome.ending in GOOD_ENDINGS and not ran.outcome.exit_code
        lost = "" if succeeded else equipment.monitor.lost_of(gpus)
        outcome = replace(ran.outcome, usage=peak.put_into(ran.outcome.usage))
        return replace(ran, outcome=outcome, gpu_lost=lost)

    def _run_command(self, job: Job, staged: Staged) -> Ran | Decision:
        if staged.run.serve:
            return self._serve(job, staged)
        self._furnish(staged)
        outcome = self._execute(job, staged)
        return outcome if isinstance(outcome, Decision) else self._ran(staged, outcome)

    def _furnish(self, staged: Staged) -> None:
        folder = staged.folder
        if staged.content is not None:
            self._scratch.make(folder)
            _write_new(folder.input, staged.content)
        elif not folder.inputs:
            self._scratch.make(folder)
        if staged.kept:
            staged.kept.put_back()
        if staged.received.message.merge:
            write_list(folder, staged.outputs)
        self._scratch.furnish(folder, staged.environment)

    def _ran(self, staged: Staged, outcome: Outcome) -> Ran:
        folder = staged.folder
        self._scratch.reclaim(folder)
        outputs = self._outputs(staged, outcome)
        log, snapshot = outcome.log, _snapshot(staged, outcome)
        files = () if isinstance(outputs, OutputError) else outputs.files
        if isinstance(log, bytes) and all(file.content is not None for file in files):
            self._scratch.remove(folder)
            return Ran(staged, outcome, outputs, log, None, snapshot)
        return Ran(staged, outcome, outputs, log, folder, snapshot)

    def _serve(self, job: Job, staged: Staged) -> Ran | Decision:
        """Let the slot's process do the job; see `serving`."""
        slot, *others = job.slots
        for other in others:  # a job that runs alone gets the memory that they occupy
            self._serving.end(other)
        try:
            home = self._serving.home(slot, staged, lambda home: self._warm(staged, home, slot))
        except (OSError, ValueError) as error:
            return fault.of_start(error, staged.run.command[0])
        staged = replace(staged, folder=replace(staged.folder, user=home.user))
        if staged.kept:
            staged.kept.folder = staged.folder
        self._furnish(staged)
        command = self._command(staged, job.slots, None)
        turn = self._serving.turn(slot, staged, command, _told(staged))
        job.attach(turn)
        try:
            outcome = turn.run()
        except BaseException:
            # Half a request may have been sent, which would spoil the next one.
            self._serving.end(slot)
            raise
        self._serving.after(slot, staged)
        return self._ran(staged, outcome)

    def _warm(self, staged: Staged, home: JobFolder, slot: int) -> Command:
        """Return the command for a slot's process, whose home is `home`."""
        run = staged.run
        # The scratch folders of later jobs are in the same folder as its own.
        shared = Shared((self._scratch.root,), (self._environments.folder,))
        container = self._equipment.within(slot, staged.container)
        environ = self._place(staged, home, (slot,))
        helper = self._helper(staged, home)
        path = os.pathsep.join(filter(None, (helper, environ.get("PYTHONPATH"))))
        return Command(
            argv=(
                *isolation.prefix(home.user, home.at.tmp, container, shared),
                *command_line(run.command, staged.environment),
            ),
            folder=home.scratch,
            environ=environ | {"PYTHONPATH": path},
            marker=f"PARALLELIZE_SCRATCH={home.scratch}",
            grace_seconds=run.limits.grace_seconds,
            memory_bytes=memory_limit(staged),
            read_only=self._environments if staged.environment else None,
            world=self._world(home, container, slot),
        )

    def _world(self, folder: JobFolder, container: Container | None, slot: int) -> World | None:
        if folder.user is None:
            return None
        hidden = self._equipment.hidden(slot)
        return isolation.world_of(folder.user, folder.at.tmp, container, hidden)

    def _helper(self, staged: Staged, home: JobFolder) -> str:
        """Return the folder with the module for warm commands, at a place where they find it."""
        own = Path(for_commands.__file__).parent
        if staged.container is None:
            return str(own)
        there = home.root / own.name
        shutil.copytree(own, there, ignore=shutil.ignore_patterns("__pycache__"))
        return str(there)

    def _execute(self, job: Job, staged: Staged) -> Outcome | Decision:
        cgroup = self._cgroups.create(memory_limit(staged)) if self._cgroups else None
        try:
            command = self._command(staged, job.slots, cgroup)
            at = staged.folder.at
            execution = Execution(command, at.stdout, at.log)
            job.attach(execution)
            return execution.run()
        except (OSError, ValueError) as error:
            return fault.of_start(error, staged.run.command[0])
        finally:
            if cgroup:
                cgroup.remove()

    def _command(self, staged: Staged, slots: tuple[int, ...], cgroup: JobCgroup | None) -> Command:
        folder, run = staged.folder, staged.run
        at = folder.at
        shared = Shared((at.scratch,), (self._environments.folder,))
        container = self._equipment.within(slots[0], staged.container)
        apart = isolation.prefix(folder.user, at.tmp, container, shared)
        command = command_line(run.command, staged.environment)
        given = _given(staged)
        words = run.grammar.filled(command, given) if run.template else (*command, *given.arguments)
        return Command(
            argv=(*apart, *words),
            folder=at.scratch,
            environ=self._environ(staged, slots),
            marker=f"PARALLELIZE_SCRATCH={at.scratch}",
            timeout_seconds=run.limits.timeout_seconds,
            grace_seconds=run.limits.grace_seconds,
            memory_bytes=memory_limit(staged),
            cgroup=cgroup,
            read_only=self._environments if staged.environment else None,
            world=self._world(folder, container, slots[0]),
        )

    def _environ(self, staged: Staged, slots: tuple[int, ...]) -> dict[str, str]:
        folder, message = staged.folder, staged.received.message
        environ = self._place(staged, folder, slots) | {
            "PARALLELIZE_INPUT": next(iter(_arguments(staged)), ""),
            "PARALLELIZE_INPUT_KEY": message.key,
            "PARALLELIZE_ATTEMPT": str(message.attempt),
            "PARALLELIZE_CHECKPOINT": folder.at.checkpoint,
        }
        if message.files is not None:
            environ["PARALLELIZE_FILES"] = str(folder.listing)
            columns = _given(staged).columns
            environ |= {variable_name(column): value for column, value in columns.items()}
        return environ

    def _place(self, staged: Staged, folder: JobFolder, slots: tuple[int, ...]) -> dict[str, str]:
        """Return the variables of a command's surroundings, without those of a job."""
        run = staged.run
        environ = ({} if staged.container else self._passed_on) | {
            "HOME": f"{folder.at.scratch}/{PRIVATE}",
            "TMPDIR": folder.at.tmp,
            "PARALLELIZE_RUN": run.name,
            "PARALLELIZE_SLOT": str(slots[0]),
            "PARALLELIZE_SLOTS": str(self._slots),
            "PARALLELIZE_SCRATCH": folder.at.scratch,
            "PARALLELIZE_ENVIRONMENT": str(staged.environment or ""),
        }
        path = environ.get("PATH", os.defpath)
        environ |= dependencies.variables(run.dependencies, staged.environment, path)
        return environ | self._equipment.variables(slots[0], staged.container)

    def _outputs(self, staged: Staged, outcome: Outcome) -> Outputs | OutputError:
        if outcome.ending is not Ending.EXITED or outcome.exit_code:
            return NO_OUTPUTS
        folder = staged.folder
        try:
            _check_stdout(outcome)
            places = folder.places_of_tmp if staged.container else folder.own_places
            run = staged.run
            named = _named(staged) if run.template else ()
            unprinted = Unprinted(run.naming.collect, named, folder.inputs)
            return find_outputs(
                outcome.stdout, folder.at.scratch, staged.environment, places, unprinted
            )
        except OutputError as error:
            return error


def _given(staged: Staged) -> Given:
    """Return what a job's placeholders stand for: its files in order, or else its values.

    A column is a value, or the path of the file in it.
    """
    message, paths = staged.received.message, _arguments(staged)
    if message.files is None or message.merge:
        return Given(paths, number=message.number)
    named = {f.column: path for f, path in zip(message.files, paths, strict=True) if f.column}
    columns = {**message.variables, **named}
    return Given(paths or tuple(message.variables.values()), columns, message.number)


def _arguments(staged: Staged) -> tuple[str, ...]:
    """Return the paths of a job's files; a merge has too many, and gets their list."""
    if staged.received.message.merge:
        return (str(staged.folder.outputs),)
    return staged.folder.inputs


def _told(staged: Staged) -> dict[str, object]:
    """Return a job in the form that a warm command receives."""
    message, folder = staged.received.message, staged.folder
    inputs = [*folder.inputs]
    return {
        "key": message.key,
        "input": inputs[0] if inputs else None,
        "files": inputs,
        "vars": dict(_given(staged).columns),
        "scratch": folder.at.scratch,
        "checkpoint": folder.at.checkpoint,
        "attempt": message.attempt,
    }


def _snapshot(staged: Staged, outcome: Outcome) -> Snapshot | None:
    """Pack what a command has left if it is to go on: it was told to end, or asks for it."""
    told = outcome.ending in {Ending.STOPPED, Ending.TIMEOUT}
    if staged.kept is None or not (told or outcome.exit_code == os.EX_PROTOCOL):
        return None
    try:
        return staged.kept.pack(os.geteuid())
    except SnapshotError as error:
        log.warning("checkpoint not stored", key=staged.received.key, error=str(error))
        return None


def _named(staged: Staged) -> tuple[str, ...]:
    """Return the output names that the command's own words may contain."""
    run, inputs = staged.run, staged.folder.inputs
    return tuple(run.grammar.named_besides(run.command, _given(staged), inputs))


def _write_new(path: str, content: bytes) -> None:
    # Not with pathlib, which takes three times as long.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with FileIO(descriptor, "wb") as file:
        written = 0
        while written < len(content):
            written += file.write(content[written:])


def _check_stdout(outcome: Outcome) -> None:
    if isinstance(outcome.stdout, Path) and not outcome.stdout.exists():
        raise OutputError(
            "its stdout is gone, so its outputs are unknown: "
            "the command has deleted files outside its scratch folder"
        )
    if outcome.stdout_lost:
        raise OutputError(
            f"not all of stdout was kept, so a line that names an output may be lost: "
            f"{outcome.stdout_lost}; print file names there, and the rest on stderr"
        )
