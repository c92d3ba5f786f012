"""The receive loop: takes messages for free places, and finds out when it is over."""

from __future__ import annotations

import threading
import time

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from parallelize_agent.job.job import Job, failed
from parallelize_agent.job.pipeline import Pipeline
from parallelize_agent.job.settlement import refuse
from parallelize_agent.machine import host
from parallelize_agent.queue.drain import DrainRule, Step
from parallelize_agent.queue.repair import all_sent, missing_jobs, send_again
from parallelize_agent.reporting.heartbeat import is_keeper, read_heartbeats
from parallelize_agent.shutdown import Leaving, words
from parallelize_agent.workplace import Machine, Services
from parallelize_core.config import AgentConfig
from parallelize_core.errors import BOUNDARY_ERRORS, DecodeError, ServiceError, UsageError
from parallelize_core.job import JobMessage
from parallelize_core.queue import BATCH, Message
from parallelize_core.result import Cause

log = structlog.get_logger()

WAIT_SECONDS = 1.0
"""How long the loop waits for a place, or after an error, before it looks around again."""

MIB = 2**20


class Receiver:
    """Receives in a thread of its own until the worker leaves.

    A poll that is under way then is waited for, and what it brings is handed back: SQS leases
    messages to a poll whether or not anybody still listens.
    """

    def __init__(
        self,
        config: AgentConfig,
        services: Services,
        machine: Machine,
        pipeline: Pipeline,
        leaving: Leaving,
    ) -> None:
        self._config = config
        self._services = services
        self._machine = machine
        self._pipeline = pipeline
        self._leaving = leaving
        self._drain = DrainRule(config)
        self.preparing = True
        """Whether this machine is still being made ready for its first job."""
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the last poll has come back."""
        self._thread.join()

    @property
    def running(self) -> bool:
        """Whether messages are being received."""
        return self._thread.is_alive()

    def _run(self) -> None:
        self._prepare()
        while not self._leaving.decided:
            try:
                self._round()
            except DecodeError as error:
                # The manifest itself: nobody can tell any more when the run is over.
                self._leaving.decide(f"{error.what}: {error.why}", error=error)
            except (BotoCoreError, ClientError, *BOUNDARY_ERRORS) as error:
                log.warning("not received", error=str(error))
                self._leaving.wait(WAIT_SECONDS)

    def _prepare(self) -> None:
        """Make the machine and the environment ready, before any job waits for them."""
        try:
            self._machine.root_setup.wait(lambda: self._leaving.decided is not None)
            self._machine.environments.folder(self._services.run.current())
        except UsageError as error:
            self._leaving.decide(words(error), error=error)
        except (BotoCoreError, ClientError, *BOUNDARY_ERRORS) as error:
            # The first job will ask again, and is handed back if that fails too.
            log.warning("environment not ready", error=str(error))
        self._drain.reset()
        self.preparing = False

    def _round(self) -> None:
        places = self._pipeline.wait_for_place(WAIT_SECONDS)
        if not places or self._leaving.decided or not self._has_disk():
            return
        asked = self._services.keeper.clock()
        messages = self._services.queue.receive(
            min(places, BATCH), self._config.poll_seconds, self._config.lease_seconds
        )
        for message in messages:
            self._take(message, asked)
        if messages or self._services.keeper.held:
            self._drain.reset()
        elif not self._leaving.decided:
            self._consider_leaving()

    def _take(self, message: Message, asked: float) -> None:
        lease = self._services.keeper.hold(message, asked)
        try:
            job = Job(self._decode(message.body), lease)
        except DecodeError as error:
            log.error("message refused", message=message.id, why=error.why)
            refuse(self._services, self._machine.worker, lease, f"{error.what}: {error.why}")
            return
        if departure := self._leaving.decided:
            job.decide(failed(Cause.INTERRUPTED, departure.reason))
        self._pipeline.add(job)

    def _decode(self, body: str) -> JobMessage:
        job = JobMessage.decode(body)
        if job.run != self._config.run:
            raise DecodeError("a message is on the wrong queue", body, f"its run is {job.run}")
        return job

    def _has_disk(self) -> bool:
        free, reserve = host.free_bytes(self._machine.work_dir), self._config.disk_reserve_bytes
        if free >= reserve:
            return True
        if not self._pipeline.size:
            error = ServiceError(
                f"the disk is full, and no job holds any of it: {free // MIB:,} MiB are free, "
                f"and {reserve // MIB:,} are kept in reserve (agent.disk_reserve)"
            )
            self._leaving.decide(error.what, error=error)
        self._leaving.wait(WAIT_SECONDS)
        return False

    def _consider_leaving(self) -> None:
        step = self._drain.next_step(self._services.queue.counts())
        if step is Step.GIVE_UP:
            self._leaving.decide("there was nothing to do for too long")
        elif step is Step.HAND_OVER and not self._is_keeper():
            self._leaving.decide("others hold the last jobs")
        elif step is Step.CHECK:
            self._check_truth()
        if self._config.poll_seconds == 0:
            self._leaving.wait(WAIT_SECONDS)

    def _check_truth(self) -> None:
        records, layout = self._services.records, self._config.layout
        missing = missing_jobs(records, layout)
        if not missing:
            whole = "every job has its result"
            partly = "every job that was sent has its result"
            self._leaving.decide(whole if all_sent(records, layout) else partly)
        elif self._is_keeper():
            log.warning("jobs without result or message are sent again", jobs=len(missing))
            send_again(self._services.queue, self._config.run, missing)
            self._drain.reset()

    def _is_keeper(self) -> bool:
        heartbeats = read_heartbeats(self._services.records, self._config.layout)
        return is_keeper(self._machine.worker, heartbeats, time.time())
