"""The chaos bench: a run on the local cloud, with faults by a schedule, and the verdict over it.

The client is the shipped command, the queue and the bucket are the local cloud's, the agents are
real processes. Jobs are fed to the queue a few at a time, so that a message that comes back is
soon received again and the time to recover is the protocol's, not that of a long queue.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import boto3
from tests.chaos.checker import Violation, Wrong, charged_by, check, read_evidence
from tests.chaos.journal import Journal, Recovery, read_executions, recoveries
from tests.chaos.machines import Machine, Machines
from tests.chaos.merged import check_merge
from tests.chaos.project import Expected, make_project
from tests.chaos.proxy import Door, Network, Trouble
from tests.chaos.schedule import NETWORK, Fault, Kind, make_schedule
from tests.functional.agent.threaded import ThreadedQueue, ThreadedStore

from parallelize.local.cloud import LocalCloud, local_cloud
from parallelize.local.records import REGION
from parallelize.operations.enqueue import Sender
from parallelize_core.boto_queue import SQSQueue
from parallelize_core.clients import Clients
from parallelize_core.config import AgentConfig, DrainSettings
from parallelize_core.errors import DecodeError, MissingError
from parallelize_core.files import files_of
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.job import JobMessage
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Entry, Part, finished, read_parts
from parallelize_core.merge import MERGE
from parallelize_core.run import Run

LOOK_SECONDS = 0.1
END_SECONDS = 1800.0
"""How long the run may go on after the last fault."""


@dataclass(frozen=True)
class Plan:
    """What is to be done; `span_seconds` is the time over which jobs are fed and faults happen."""

    seed: int
    jobs: int
    faults: int
    span_seconds: float
    agents: int = 3
    slots: int = 2
    lease_seconds: int = 4
    poll_seconds: int = 1
    job_seconds: float = 0.5
    outage_seconds: float = 3
    then: bool = False
    """Whether the run has a merge: then its jobs are fed in half the time."""
    warm: bool = False
    """Whether one process does many jobs (`run.serve`)."""

    @property
    def schedule(self) -> list[Fault]:
        """The faults; none in the last tenth of the time, so that some of it is calm."""
        return make_schedule(
            self.seed, self.faults, 0.9 * self.span_seconds, self.lease_seconds, self.outage_seconds
        )

    def adapt(self, config: AgentConfig) -> AgentConfig:
        """Return an agent's configuration with everything that takes minutes taking seconds."""
        return config.model_copy(
            update={
                "slots": self.slots,
                "lease_seconds": self.lease_seconds,
                "poll_seconds": self.poll_seconds,
                "transfers": 4,
                "heartbeat_seconds": 3.0,
                "run_refresh_seconds": 2.0,
                "recovery_seconds": 1,
                "notice_poll_seconds": 0.5,
                "interruption_margin_seconds": 1.0,
                "stop_grace_seconds": 2.0,
                "disk_reserve_bytes": 0,
                "drain": DrainSettings(samples=2, interval_seconds=1, in_flight_margin_seconds=1),
            }
        )


@dataclass(frozen=True)
class Verdict:
    """What came of a run; `violations` is empty, or something is wrong."""

    plan: Plan
    seconds: float
    workers: int
    faults: Mapping[Kind, int]
    requests_hit: Mapping[Kind, int]
    executions: int
    recoveries: tuple[Recovery, ...]
    calms: Mapping[Kind, list[float]]
    charged_by_sick: int
    violations: tuple[Violation, ...]
    merges: int = 0
    """How often the command of the merge began."""

    def lines(self) -> list[str]:
        """Return the figures, a sentence a line."""
        times = sorted(recovery.seconds for recovery in self.recoveries)
        kinds = "  ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items()))
        hit = "  ".join(f"{kind} {count}" for kind, count in sorted(self.requests_hit.items()))
        lines = [
            f"seed {self.plan.seed}: {self.plan.jobs} jobs in {self.seconds:.0f} s",
            f"{self.executions} executions by {self.workers} workers",
            f"{sum(self.faults.values())} faults: {kinds}",
            f"requests hit: {hit}",
        ]
        if times:
            lines.append(
                f"{len(times)} jobs lost their worker; started again after "
                f"median {median(times):.1f} s, max {times[-1]:.1f} s "
                f"(lease {self.plan.lease_seconds} s, poll {self.plan.poll_seconds} s)"
            )
        lines += [
            f"after {kind}: {len(times)} times, next result after median {median(times):.1f} s, "
            f"max {max(times):.1f} s"
            for kind, times in sorted(self.calms.items())
        ]
        if self.plan.then:
            lines.append(f"executions of the merge: {self.merges}")
        lines.append(f"attempts charged by sick workers: {self.charged_by_sick}")
        counts = Counter(violation.wrong for violation in self.violations)
        lines.append("  ".join(f"{wrong} {counts[wrong]}" for wrong in Wrong))
        return [*lines, *map(str, self.violations)]


class Bench:
    """One run; made and closed by `run_plan`."""

    def __init__(self, plan: Plan, folder: Path, cloud: LocalCloud, network: Network) -> None:
        self._plan = plan
        self._folder = folder
        # Each run is executed, whatever another has made.
        self._environ = cloud.child_environ(os.environ) | {"PARALLELIZE_RUN_REUSE": "false"}
        session = boto3.Session("local", cloud.state.secret, region_name=REGION)
        self._clients = Clients(
            session.client("s3", endpoint_url=cloud.endpoint),
            session.client("sqs", endpoint_url=cloud.endpoint),
        )
        self.expected: Mapping[str, Expected] = make_project(
            folder, plan.seed, plan.jobs, plan.job_seconds, then=plan.then, warm=plan.warm
        )
        self._parallelize("prep")
        self._parallelize("enqueue", "--limit", "1")
        config = AgentConfig.decode(self._parallelize("launch", "--print-config"), "the settings")
        self.layout: RunLayout = config.layout
        self.store = self._clients.store(config.bucket)
        self._queue = SQSQueue(self._clients.sqs, config.queue_url)
        self._parts: list[Part] = list(read_parts(self.store, self.layout))
        self._sender = Sender(
            ThreadedStore(self.store), self.layout, ThreadedQueue(self._queue), set()
        )
        self._inputs = Run.decode(self.store.get(self.layout.run_json)).input
        self._sent = 1
        self._portion = 2 * plan.agents * plan.slots
        self.journal = Journal()
        self.machines = Machines(
            folder / "machines", plan.adapt(config), network, self.journal, cloud.state.secret
        )
        self.faults: Counter[Kind] = Counter()
        self.requests_hit = network.watched.hit
        self._network = network
        self._spared: Machine | None = None
        self.unwitnessed: set[str] = set()
        """Sick workers whose witness left the run before they did."""
        self._ends: list[tuple[float, Kind, Door | None]] = []
        network.watched.results_path = f"/{config.bucket}/{self.layout.results.prefix}"
        network.watched.refused = {
            self._path_of(entry): refused
            for part in self._parts
            for entry in part.entries
            if (refused := self.expected[entry.key].refused)
        }
        self.faults.update(network.watched.refused.values())

    def _path_of(self, entry: Entry) -> str:
        """Return the path of a request for an input, which lies where all runs find it."""
        ((bucket, key),) = [file.place(self._inputs) for file in files_of(entry)]
        return f"/{bucket}/{key}"

    def calms(self) -> Mapping[Kind, list[float]]:
        """Return for each kind how long after a fault's end the next result was written.

        Of a fault of one agent's network that agent's; none if it was lost before.
        """
        found = defaultdict(list)
        for until, kind, door in self._ends:
            later = [
                at - until
                for at, through in self._network.watched.results
                if at > until and door in {None, through}
            ]
            if later:
                found[kind].append(later[0])
        return found

    def run(self) -> None:
        """Feed jobs and faults until all of both are over and every worker has left."""
        begun = time.monotonic()
        pending = self._plan.schedule
        while pending or self._sent < self._plan.jobs:
            passed = time.monotonic() - begun
            for fault in [fault for fault in pending if self._is_due(fault, passed)]:
                pending.remove(fault)
                self._strike(fault)
            self._feed(passed)
            self._replace_lost()
        self._await_end()

    def _await_end(self) -> None:
        deadline = time.monotonic() + END_SECONDS
        while time.monotonic() < deadline:
            self.machines.tend()
            self._end_unwitnessed()
            if not self.machines.alive:
                if len(finished(self.store, self.layout)) >= self._plan.jobs + self._plan.then:
                    return
                # All have left or were lost before the end: somebody launches a worker.
                self.machines.start()
            time.sleep(LOOK_SECONDS)

    def _replace_lost(self) -> None:
        self.machines.tend()
        self._end_unwitnessed()
        if len(self.machines.alive) < self._plan.agents:
            self.machines.start()
        time.sleep(LOOK_SECONDS)

    def _feed(self, passed: float) -> None:
        # Faults are to happen while there is a merge, too.
        share = passed / self._plan.span_seconds * (2 if self._plan.then else 1)
        due = min(self._plan.jobs, int(self._plan.jobs * share) + 1)
        enough = due - self._sent >= self._portion or due == self._plan.jobs > self._sent
        if enough and self._queue.counts().visible < self._portion:
            numbers = [part.number for part in self._parts]
            limit = min(due - self._sent, self._portion)
            self._sent += asyncio.run(self._sender.send(numbers, limit))

    def _strike(self, fault: Fault) -> None:
        """Let a fault happen, if there is anybody whom it can hit."""
        machines = [machine for machine in self.machines.alive if machine is not self._witness()]
        machine = machines[fault.target % len(machines)] if machines else None
        with (self._folder / "faults").open("a") as log:
            log.write(f"{time.time():.3f} {fault.kind} {machine.id if machine else '-'} {fault}\n")
        if fault.kind in _ON_QUEUE:
            _ON_QUEUE[fault.kind](self, fault)
        elif fault.kind in {Kind.JOIN, Kind.SICK, Kind.SKEWED}:
            self._start(fault.kind)
        elif fault.kind is Kind.OUTAGE:
            self._network.watched.troubles = (self._made(fault),)
            self._ends.append((time.time() + fault.seconds, fault.kind, None))
        elif machine is None:
            return
        elif fault.kind in NETWORK:
            self._trouble(machine, fault)
        else:
            self._hit(machine, fault)
        self.faults[fault.kind] += 1

    def _is_due(self, fault: Fault, passed: float) -> bool:
        """Whether a fault is to happen: a sick machine comes once there is a witness."""
        if fault.at > passed:
            return False
        late = passed > self._plan.span_seconds
        return fault.kind is not Kind.SICK or late or self._find_witness() is not None

    def _start(self, kind: Kind) -> None:
        """Start a machine; a sick one not beside another sick one."""
        if kind is Kind.SICK and self.machines.sick_alive:
            kind = Kind.JOIN
        if kind is Kind.SICK:
            self._spared = self._find_witness()
        self.machines.start(kind)

    def _witness(self) -> Machine | None:
        """Return the machine that no fault hits while a sick one lives.

        Without it nobody could tell a sick worker from a command that is broken.
        """
        return self._spared if self.machines.sick_alive else None

    def _end_unwitnessed(self) -> None:
        """Unplug a sick machine whose witness leaves, as workers do when the queue is empty."""
        if self.machines.sick_alive and not (self._spared and self._receives(self._spared)):
            self.unwitnessed |= self.machines.unplug_sick()

    def _receives(self, machine: Machine) -> bool:
        beat = Heartbeat.decode(self.store.get(self.layout.heartbeat(machine.id)))
        return machine in self.machines.alive and beat.state in {WorkerState.IDLE, WorkerState.BUSY}

    def _find_witness(self) -> Machine | None:
        """Return a machine on which commands have succeeded, as its heartbeat says."""
        for machine in self.machines.healthy:
            with suppress(MissingError):
                beat = Heartbeat.decode(self.store.get(self.layout.heartbeat(machine.id)))
                if beat.done and not machine.door.in_trouble:
                    return machine
        return None

    def _hit(self, machine: Machine, fault: Fault) -> None:
        match fault.kind:
            case Kind.UNPLUG:
                self.machines.unplug(machine)
            case Kind.KILL_AGENT:
                self.machines.kill_agent(machine)
            case Kind.PAUSE:
                self.machines.pause(machine, fault.seconds)
            case Kind.NOTICE:
                self.machines.notice(machine, fault.seconds)
            case Kind.POWER_OFF:
                self.machines.power_off(machine)

    def _trouble(self, machine: Machine, fault: Fault) -> None:
        machine.door.impose(self._made(fault))
        self._ends.append((time.time() + fault.seconds, fault.kind, machine.door))

    def _made(self, fault: Fault) -> Trouble:
        until = time.monotonic() + fault.seconds
        chance = random.Random(fault.target)
        return Trouble(fault.kind, until, fault.share, chance, self.requests_hit)

    def _duplicate(self, fault: Fault) -> None:
        entries = [entry for part in self._parts for entry in part.entries][: self._sent]
        # Mostly of late ones: a job that is being worked on is the one that can be harmed.
        entry = entries[-1 - fault.target % min(len(entries), 20)]
        delay = round(fault.seconds) if fault.kind is Kind.LATE_DUPLICATE else 0
        self._queue.send([entry.message(self.layout.run).encode()], delay)

    def _hide(self, fault: Fault) -> None:
        self._take(max(1, round(fault.seconds)))

    def _vanish(self, fault: Fault) -> None:
        self._queue.delete(self._take(self._plan.lease_seconds))

    def _take(self, seconds: int) -> list[str]:
        messages = self._queue.receive(3, 0, seconds)
        for message in messages:
            try:
                self.journal.taken[JobMessage.decode(message.body).key].append(time.time())
            except DecodeError:
                continue
        return [message.receipt for message in messages]

    def _purge(self, fault: Fault) -> None:
        # SQS allows one in 60 seconds.
        with suppress(self._clients.sqs.exceptions.PurgeQueueInProgress):
            self._clients.sqs.purge_queue(QueueUrl=self._queue.url)
            self.journal.purges.append(time.time())

    def _parallelize(self, *words: str) -> str:
        command = [str(Path(sys.executable).with_name("parallelize")), *words]
        done = subprocess.run(
            command,
            check=False,
            cwd=self._folder,
            env=self._environ,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


_ON_QUEUE = {
    Kind.DUPLICATE: Bench._duplicate,
    Kind.LATE_DUPLICATE: Bench._duplicate,
    Kind.HIDE: Bench._hide,
    Kind.VANISH: Bench._vanish,
    Kind.PURGE: Bench._purge,
}


def run_plan(plan: Plan, folder: Path) -> Verdict:
    """Do a run below `folder`, which is to be empty, and judge it."""
    with ExitStack() as stack:
        cloud = stack.enter_context(local_cloud(folder / "cloud"))
        network = stack.enter_context(Network(cloud.endpoint, folder))
        bench = Bench(plan, folder / "project", cloud, network)
        stack.callback(bench.machines.unplug_all)
        begun = time.monotonic()
        bench.run()
        seconds = time.monotonic() - begun
        return _judge(bench, plan, seconds, folder / "project/journal")


def _judge(bench: Bench, plan: Plan, seconds: float, journal: Path) -> Verdict:
    executions = read_executions(journal)
    evidence = read_evidence(bench.store, bench.layout)
    violations = list(
        check(
            evidence,
            bench.layout,
            bench.expected,
            bench.machines.killed,
            bench.machines.sick,
            bench.unwitnessed,
            then=plan.then,
        )
    )
    if plan.then:
        violations += check_merge(bench.store, bench.layout, evidence)
    left = [f"on a machine: {path}" for path in bench.machines.left_behind]
    left += [f"still running: {process}" for process in bench.machines.stray_processes()]
    left += [f"still on: {machine.id}" for machine in bench.machines.alive]
    violations += [Violation(Wrong.LEFT, said) for said in left]
    return Verdict(
        plan, seconds, bench.machines.started, bench.faults, bench.requests_hit, len(executions),
        tuple(recoveries(executions, bench.journal)), bench.calms(),
        charged_by(evidence, bench.machines.sick), tuple(violations),
        sum(execution.key == MERGE for execution in executions),
    )  # fmt: skip
