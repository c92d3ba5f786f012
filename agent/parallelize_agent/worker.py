"""The worker: starts everything in order, watches over it, and leaves in order.

One thread receives, one keeps the leases, the pipeline's pools do the work. The caller of `run`
waits for the decision to leave, which any of them may take.
"""

from __future__ import annotations

import time

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from parallelize_agent.job.job import Job, Verdict, failed
from parallelize_agent.job.job_runner import JobRunner
from parallelize_agent.job.pipeline import Pipeline, Stage, Stages
from parallelize_agent.job.settlement import Settler
from parallelize_agent.queue.receiver import Receiver
from parallelize_agent.reporting.circuit_breaker import Brakes
from parallelize_agent.reporting.heartbeat import HeartbeatWriter
from parallelize_agent.reporting.resource_peaks import PeakMeter, read_use
from parallelize_agent.reporting.tally import Tally
from parallelize_agent.shutdown import Departure, Leaving, words
from parallelize_agent.workplace import Machine, Services
from parallelize_core.clock import boot_seconds
from parallelize_core.config import AgentConfig
from parallelize_core.errors import BOUNDARY_ERRORS, ParallelizeError, ServiceError
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.result import Cause
from parallelize_core.version import VERSION

log = structlog.get_logger()

PREPARING = "setting up"
"""The reason why a worker does nothing yet."""

SUPERVISION_SECONDS = 1.0
"""How often the worker looks for a reason to leave that nobody reports."""


class Worker:
    """One agent's life, from the first receive to the last heartbeat."""

    def __init__(self, config: AgentConfig, services: Services, machine: Machine) -> None:
        self._config = config
        self._services = services
        self._machine = machine
        self._started = time.time()
        self._started_clock = boot_seconds()
        self._left = False
        self._leaving_since: float | None = None
        self._told = WorkerState.STARTING
        self._tally = Tally()
        self._meter = PeakMeter(lambda: read_use(machine.work_dir))
        self.leaving = Leaving()
        runner = JobRunner(config, services, machine)
        settler = Settler(config, services, machine)
        self._pipeline = Pipeline(
            Stages(runner.stage_in, runner.execute, settler.settle),
            machine.slots,
            config.transfers,
            self._settled,
            self._broken,
        )
        self._receiver = Receiver(config, services, machine, self._pipeline, self.leaving)
        self._brakes = Brakes(
            config, services.records, services.run, lambda: self._tally.counts.failed_attempts
        )
        self._heartbeat = HeartbeatWriter(
            services.records,
            config.layout,
            self.describe,
            config.heartbeat_seconds,
            services.accounts.settle,
        )

    def run(self) -> Departure:
        """Work until there is a reason to leave; leave, and return the reason."""
        self._services.keeper.start()
        self._services.acknowledger.start()
        self._heartbeat.start()
        self._brakes.start()
        self._receiver.start()
        while not self.leaving.wait(SUPERVISION_SECONDS):
            self._supervise()
        return self._leave()

    def describe(self) -> Heartbeat:
        """Return the worker's account of itself."""
        counts = self._tally.counts
        departure = self.leaving.decided
        return Heartbeat(
            worker=self._machine.worker,
            state=self._state(departure),
            started=self._started,
            seen=time.time(),
            interval_seconds=self._config.heartbeat_seconds,
            slots=self._machine.slots,
            type=self._machine.type,
            zone=self._machine.zone,
            running=tuple(job.key for job in self._pipeline.jobs(Stage.RUNNING)),
            done=counts.done,
            failed=counts.failed,
            handed_back=counts.handed_back,
            busy_seconds=counts.busy_seconds,
            reason=departure.reason if departure else PREPARING * self._receiver.preparing,
            last_failure=counts.last_failure,
            agent_version=VERSION,
            hourly_usd=self._machine.hourly_usd,
            max_cost_usd=self._config.max_cost_usd,
            leaving=self._leaving_since,
            peaks=self._meter.peaks,
        )

    def _state(self, departure: Departure | None) -> WorkerState:
        if departure is None and self._receiver.preparing:
            return WorkerState.STARTING
        if departure is None:
            return WorkerState.BUSY if self._pipeline.size else WorkerState.IDLE
        if not self._left:
            return WorkerState.DRAINING
        return WorkerState.FAILED if departure.error else WorkerState.LEFT

    def _supervise(self) -> None:
        self._meter.look()
        for part, running in (
            ("receiver", self._receiver),
            ("lease keeper", self._services.keeper),
        ):
            if not running.running:
                error = ServiceError(f"the {part} has died", fix="see the agent's log")
                self.leaving.decide(error.what, 0, error)
        limit = self._config.max_runtime_seconds
        if limit is not None and boot_seconds() - self._started_clock >= limit:
            grace = self._config.stop_grace_seconds
            self.leaving.decide("max_runtime is reached", grace, imposed=True)
        self._look_for_pause()
        self._tell_change()
        for job in self._pipeline.surplus():
            self._pipeline.give_up(job, failed(Cause.INTERRUPTED, "others can start it sooner"))

    def _tell_change(self) -> None:
        """Send a heartbeat out of turn when work begins or ends: then people look at `status`."""
        state = self._state(self.leaving.decided)
        if state is not self._told:
            self._told = state
            self._heartbeat.beat()

    def _look_for_pause(self) -> None:
        try:
            if paused := self._services.run.current().paused:
                self.leaving.decide(f"the run is paused: {paused}")
        except (BotoCoreError, ClientError, *BOUNDARY_ERRORS) as error:
            log.warning("run.json not read", error=str(error))

    def _settled(self, job: Job, verdict: Verdict) -> None:
        counts = self._tally.count(job, verdict)
        log.info(
            "job settled",
            key=job.key,
            attempt=job.message.attempt,
            fate=verdict.fate.name.lower(),
            cause=verdict.cause,
            why=verdict.message or None,
            seconds=job.outcome.usage.seconds if job.outcome else None,
        )
        if counts.unfit >= self._config.max_unfit:
            error = ServiceError(
                f"{counts.unfit} jobs in a row failed for reasons of this machine or its network",
                verdict.message,
            )
            self.leaving.decide(error.what, 0, error)

    def _broken(self, error: Exception) -> None:
        known = error if isinstance(error, ParallelizeError) else None
        failure = known or ServiceError(f"a bug in the agent: {error!r}")
        self.leaving.decide(words(failure), 0, failure)

    def _leave(self) -> Departure:
        """Leave in the only order that loses nothing.

        The receiver has seen the decision; its last poll may still bring messages, so it is
        joined before the pipeline is emptied for good. Deletes come after the results they
        follow, leases are kept until the deletes are done, and the heartbeat says last that
        this worker cannot be counted on any more. A set-up is stopped first: the receiver, or a
        job on its way in, may be waiting for it.
        """
        self._leaving_since = time.time()
        self._machine.environments.stop()
        self._heartbeat.beat()
        log.info("leaving", why=self.leaving.decided and self.leaving.decided.reason)
        self._hand_back_waiting()
        self._await_running()
        self._receiver.join()
        self._hand_back(self._pipeline.jobs())
        self._pipeline.wait_until_empty()
        self._pipeline.close()
        self._services.acknowledger.stop()
        self._services.keeper.stop()
        self._brakes.stop()
        self._left = True
        self._heartbeat.stop()
        departure = self.leaving.decided
        assert departure  # noqa: S101 - it is why we are here
        return departure

    def _await_running(self) -> None:
        """Let running jobs end while there is time; the time may become shorter meanwhile."""
        left = self.leaving.time_left()
        while left is None or left > 0:
            self._meter.look()
            pause = SUPERVISION_SECONDS if left is None else min(left, SUPERVISION_SECONDS)
            if self._pipeline.wait_until_empty(pause):
                return
            self._hand_back_waiting()
            left = self.leaving.time_left()

    def _hand_back_waiting(self) -> None:
        self._hand_back(self._pipeline.jobs(Stage.WAITING))

    def _hand_back(self, jobs: list[Job]) -> None:
        reason = self.leaving.decided.reason if self.leaving.decided else ""
        for job in jobs:
            self._pipeline.give_up(job, failed(Cause.INTERRUPTED, reason))
