"""The instance manager: for each running instance of the emulated EC2, one real agent process."""

from __future__ import annotations

import base64
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING

import psutil

from parallelize.local.facts import InstanceFacts, Notices, metadata_of
from parallelize.local.imds import MetadataServer
from parallelize.local.records import InstanceState, InstanceView

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client
    from types_boto3_ec2.type_defs import InstanceTypeDef

AGENT = (sys.executable, "-m", "parallelize_agent")

# EC2 gives a spot instance two minutes' notice; how long its shutdowns may take is not documented.
NOTICE_SECONDS = 120.0
SHUTDOWN_GRACE_SECONDS = 120.0

POLL_SECONDS = 0.3
ALIVE = ["pending", "running"]

log = logging.getLogger(__name__)


class Instance:
    """One agent in a machine of its own, with its metadata service, from construction on.

    `folder` holds its console output, the process id of the agent, its home and its work folder.
    """

    def __init__(
        self, facts: InstanceFacts, folder: Path, endpoint: str, agent: Sequence[str]
    ) -> None:
        self.facts = facts
        self.state = InstanceState.RUNNING
        self._notices = Notices()
        self._power_off_at = float("inf")
        self._folder = folder
        self._work = folder / "work"
        self._work.mkdir(parents=True)
        self._metadata_server = MetadataServer(self)
        self._machine = self._start_machine(endpoint, [*agent, "--work-dir", str(self._work)])

    def metadata(self) -> dict[str, str]:
        """Return what the metadata service tells, as of now."""
        return metadata_of(self.facts, self._notices, datetime.now(UTC))

    def view(self) -> InstanceView:
        """Return what `local status` shows."""
        return InstanceView(
            id=self.facts.id,
            state=self.state,
            type=self.facts.type,
            pid=self._agent_pid(),
            console=self._folder / "console.log",
        )

    def press_power_button(self, grace_seconds: float) -> None:
        """Send the agent SIGTERM, and note that the plug is to be pulled after the grace period."""
        self.state = InstanceState.STOPPING
        self._power_off_at = time.monotonic() + grace_seconds
        self._machine.send_signal(signal.SIGTERM)

    def announce_interruption(self, seconds: float) -> None:
        """Post a spot notice, and note that the plug is to be pulled `seconds` from now."""
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        self._notices = Notices(interruption=at, rebalance=self._notices.rebalance)
        self._power_off_at = time.monotonic() + seconds

    def recommend_rebalance(self) -> None:
        """Post a rebalance recommendation; nothing follows from it."""
        now = datetime.now(UTC)
        self._notices = Notices(interruption=self._notices.interruption, rebalance=now)

    def is_overdue(self) -> bool:
        """Whether it is time to pull the plug."""
        return time.monotonic() >= self._power_off_at

    def has_ended(self) -> bool:
        """Whether the machine is off."""
        return self._machine.poll() is not None

    def send_to_all(self, signal_number: signal.Signals) -> None:
        """Send a signal to every process of the machine, and not to what stands for the machine."""
        for process in psutil.Process(self._machine.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal_number)

    def pull_plug(self) -> None:
        """Let every process of the machine be killed; `release` waits for it."""
        if self._machine.stdin:
            self._machine.stdin.close()

    def release(self) -> None:
        """Wait for the machine to be off; its disk is gone then, its console output stays."""
        self._machine.wait()
        self._metadata_server.close()
        shutil.rmtree(self._work, ignore_errors=True)
        self.state = InstanceState.TERMINATED

    def _start_machine(self, endpoint: str, agent: Sequence[str]) -> subprocess.Popen[bytes]:
        home = self._folder / "home"
        home.mkdir()
        with (self._folder / "console.log").open("wb") as console:
            return subprocess.Popen(
                [sys.executable, "-m", "parallelize.local.machine", self._pid_file, *agent],
                stdin=subprocess.PIPE,
                stdout=console,
                stderr=subprocess.STDOUT,
                cwd=home,
                env=self._environment(endpoint, home),
                start_new_session=True,
            )

    def _environment(self, endpoint: str, home: Path) -> dict[str, str]:
        """Return what a machine would have: none of the user's variables, and no credentials."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self._metadata_server.endpoint,
        }

    @property
    def _pid_file(self) -> Path:
        return self._folder / "agent.pid"

    def _agent_pid(self) -> int | None:
        if self.state is InstanceState.TERMINATED:
            return None
        try:
            return int(self._pid_file.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            # The machine has only just been switched on.
            return None


class InstanceManager:
    """Keeps the agents and the emulated EC2 in step; every method may be called from any thread.

    `agent` is the command of an agent; it is given `--work-dir FOLDER`.
    """

    def __init__(
        self,
        ec2: EC2Client,
        folder: Path,
        endpoint: str,
        agent: Sequence[str] = AGENT,
        shutdown_grace_seconds: float = SHUTDOWN_GRACE_SECONDS,
    ) -> None:
        self._ec2 = ec2
        self._folder = folder
        self._endpoint = endpoint
        self._agent = agent
        self._grace_seconds = shutdown_grace_seconds
        self._instances: dict[str, Instance] = {}
        self._lock = RLock()
        self._closing = Event()
        self._thread = Thread(target=self._run, name="instance-manager")

    def start(self) -> None:
        """Begin to follow what EC2 says."""
        self._thread.start()

    def close(self) -> None:
        """Pull every plug, and return when all machines are off."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            living = self._living()
            for instance in living:
                instance.pull_plug()
            for instance in living:
                instance.release()

    def views(self) -> list[InstanceView]:
        """Return every instance there has been, oldest first."""
        with self._lock:
            return [instance.view() for instance in self._instances.values()]

    def interrupt(self, instance_id: str, seconds: float = NOTICE_SECONDS) -> None:
        """Post a spot notice; after `seconds` the plug is pulled. Raises KeyError if not alive."""
        with self._lock:
            self._alive(instance_id).announce_interruption(seconds)

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
        """Stop every process of an instance where it stands. Raises KeyError if not alive."""
        with self._lock:
            self._alive(instance_id).send_to_all(signal.SIGSTOP)

    def resume(self, instance_id: str) -> None:
        """Let a paused instance go on. Raises KeyError if not alive."""
        with self._lock:
            self._alive(instance_id).send_to_all(signal.SIGCONT)

    def _run(self) -> None:
        while not self._closing.wait(POLL_SECONDS):
            try:
                with self._lock:
                    self._follow_ec2()
            except Exception:
                # One failed look must not leave all machines without a manager.
                log.exception("cannot follow EC2; trying again")

    def _follow_ec2(self) -> None:
        described = self._describe()
        for instance_id in described.keys() - self._instances.keys():
            self._launch(described[instance_id])
        for instance in self._living():
            self._follow(instance, is_wanted=instance.facts.id in described)

    def _follow(self, instance: Instance, *, is_wanted: bool) -> None:
        if instance.has_ended():
            self._retire(instance)
        elif instance.is_overdue():
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
        facts = InstanceFacts.from_ec2(description, self._user_data(description["InstanceId"]))
        log.info("%s is launched", facts.id)
        folder = self._folder / facts.id
        self._instances[facts.id] = Instance(facts, folder, self._endpoint, self._agent)

    def _user_data(self, instance_id: str) -> str | None:
        answer = self._ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
        encoded = answer.get("UserData", {}).get("Value")
        return base64.b64decode(encoded).decode(errors="surrogateescape") if encoded else None

    def _retire(self, instance: Instance) -> None:
        """Clean up after a machine that is off, or about to be, and tell EC2."""
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
