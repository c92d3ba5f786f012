"""The instance manager: one real agent process for each running instance of the emulated EC2."""

from __future__ import annotations

import base64
import logging
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING

from parallelize.local.facts import InstanceFacts
from parallelize.local.instance import Instance
from parallelize.local.records import CloudState, InstanceState, InstanceView

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client
    from types_boto3_ec2.type_defs import InstanceTypeDef

AGENT = (sys.executable, "-m", "parallelize_agent")

# EC2 gives a spot instance two minutes' notice; how long its shutdowns may take is not documented.
NOTICE_SECONDS = 120.0
SHUTDOWN_GRACE_SECONDS = 120.0

# A look takes about 15 ms of CPU time, ours and the emulator's together. Whatever is known to
# change a machine asks for a look; this is for the rest.
POLL_SECONDS = 5.0
ALIVE = ["pending", "running"]

log = logging.getLogger(__name__)


class InstanceManager:
    """Keeps the agents in step with the emulated EC2; any thread may call any method.

    `agent` is the command that starts an agent; it receives `--work-dir FOLDER`.
    """

    def __init__(
        self,
        ec2: EC2Client,
        folder: Path,
        cloud: CloudState,
        agent: Sequence[str] = AGENT,
        shutdown_grace_seconds: float = SHUTDOWN_GRACE_SECONDS,
    ) -> None:
        self._ec2 = ec2
        self._folder = folder
        self._cloud = cloud
        self._agent = agent
        self._grace_seconds = shutdown_grace_seconds
        self.group_state_after = 0.0
        """The seconds until the metadata service tells a machine that it is in a group."""
        self.poll_seconds = POLL_SECONDS
        """The seconds between looks that nothing asks for."""
        self._instances: dict[str, Instance] = {}
        self._lock = RLock()
        self._closing = Event()
        self._awake = Event()
        self._thread = Thread(target=self._run, name="instance-manager")

    def start(self) -> None:
        """Start to follow EC2."""
        self._thread.start()

    def close(self) -> None:
        """Pull every plug, and return when all machines are off."""
        self._closing.set()
        self._awake.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            living = self._living()
            for instance in living:
                instance.pull_plug()
            for instance in living:
                instance.release()

    def look(self) -> None:
        """Look at EC2 at once: something may have changed."""
        self._awake.set()

    def views(self) -> list[InstanceView]:
        """Return every instance there has been, oldest first."""
        with self._lock:
            return [instance.view() for instance in self._instances.values()]

    def interrupt(self, instance_id: str, seconds: float = NOTICE_SECONDS) -> None:
        """Post a spot notice, and pull the plug after `seconds`. Raises KeyError if not alive."""
        with self._lock:
            self._alive(instance_id).announce_interruption(seconds)
        self.look()

    def recommend_rebalance(self, instance_id: str) -> None:
        """Post a rebalance recommendation. Raises KeyError if not alive."""
        with self._lock:
            self._alive(instance_id).recommend_rebalance()

    def kill(self, instance_id: str) -> None:
        """Pull the plug, and return when nothing of it is left. Raises KeyError if not alive."""
        with self._lock:
            instance = self._alive(instance_id)
            instance.pull_plug()
            self._retire(instance)

    def pause(self, instance_id: str) -> None:
        """Suspend every process of an instance. Raises KeyError if not alive."""
        with self._lock:
            self._alive(instance_id).send_to_all(signal.SIGSTOP)

    def resume(self, instance_id: str) -> None:
        """Resume a paused instance. Raises KeyError if not alive."""
        with self._lock:
            self._alive(instance_id).send_to_all(signal.SIGCONT)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                with self._lock:
                    self._follow_ec2()
            except Exception:
                # One failed look must not leave all machines without a manager.
                log.exception("cannot follow EC2; trying again")
            self._awake.wait(self._pause_seconds())
            self._awake.clear()

    def _pause_seconds(self) -> float:
        """Return how long nothing has to be done, unless something asks for a look."""
        with self._lock:
            left = [instance.seconds_left() for instance in self._living()]
        return max(0.0, min([self.poll_seconds, *left]))

    def _follow_ec2(self) -> None:
        described = self._describe()
        for instance_id in described.keys() - self._instances.keys():
            self._launch(described[instance_id])
        for instance in self._living():
            self._follow(instance, is_wanted=instance.facts.id in described)

    def _follow(self, instance: Instance, *, is_wanted: bool) -> None:
        if instance.has_ended():
            self._retire(instance)
        elif instance.seconds_left() <= 0:
            instance.pull_plug()
            self._retire(instance)
        elif not is_wanted and instance.state is InstanceState.RUNNING:
            log.info("%s is terminated through the API", instance.facts.id)
            instance.press_power_button(self._grace_seconds)

    def _describe(self) -> dict[str, InstanceTypeDef]:
        pages = self._ec2.get_paginator("describe_instances").paginate(
            Filters=[{"Name": "instance-state-name", "Values": ALIVE}]
        )
        reservations = (reservation for page in pages for reservation in page["Reservations"])
        return {
            instance["InstanceId"]: instance
            for reservation in reservations
            for instance in reservation["Instances"]
        }

    def _launch(self, description: InstanceTypeDef) -> None:
        user_data = self._user_data(description["InstanceId"])
        facts = InstanceFacts.from_ec2(description, user_data, self._cloud.secret)
        facts = replace(facts, group_known_at=time.time() + self.group_state_after)
        log.info("%s is launched", facts.id)
        folder = self._folder / facts.id
        machine = Instance(facts, folder, self._cloud.endpoint, self._agent)
        self._instances[facts.id] = machine
        Thread(target=self._await_end, args=(machine,), daemon=True).start()

    def _await_end(self, machine: Instance) -> None:
        machine.wait()
        self.look()

    def _user_data(self, instance_id: str) -> str | None:
        answer = self._ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
        encoded = answer.get("UserData", {}).get("Value")
        return base64.b64decode(encoded).decode(errors="surrogateescape") if encoded else None

    def _retire(self, instance: Instance) -> None:
        """Clean up after a machine that is off, or nearly off, and tell EC2."""
        instance.release()
        self._ec2.terminate_instances(InstanceIds=[instance.facts.id])
        log.info("%s is terminated", instance.facts.id)

    def _living(self) -> list[Instance]:
        return [
            instance
            for instance in self._instances.values()
            if instance.state is not InstanceState.TERMINATED
        ]

    def _alive(self, instance_id: str) -> Instance:
        instance = self._instances[instance_id]
        if instance.state is InstanceState.TERMINATED:
            raise KeyError(instance_id)
        return instance
