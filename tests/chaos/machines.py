"""The machines of a chaos run: the local cloud's instances, each behind a door of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from tests.chaos.journal import Journal, Loss
from tests.chaos.proxy import Door, Network
from tests.chaos.schedule import Kind

from parallelize.local.facts import InstanceFacts
from parallelize.local.instance import Instance
from parallelize_core.config import AgentConfig

AGENT = (sys.executable, "-m", "parallelize_agent")
SKEW_SECONDS = 600.0
GRACE_SECONDS = 10.0


@dataclass
class Machine:
    """A machine; `resume_at` is set while it stands still, in seconds of the clock."""

    instance: Instance
    door: Door
    folder: Path
    resume_at: float | None = None

    @property
    def id(self) -> str:
        """Its id, which is its worker's name."""
        return self.instance.facts.id

    def left_behind(self) -> list[Path]:
        """Return what is left of jobs in the agent's folder."""
        return [path for path in (self.folder / "work/jobs").glob("*/*") if path.exists()]


class Machines:
    """Starts machines, does to them what a schedule says, and notes which were lost."""

    def __init__(
        self, folder: Path, config: AgentConfig, network: Network, journal: Journal, secret: str
    ) -> None:
        self._folder = folder
        self._secret = secret
        self._config = config
        self._network = network
        self._journal = journal
        self._alive: dict[str, Machine] = {}
        self.started = 0
        self.killed: set[str] = set()
        self.sick: set[str] = set()
        self.skewed: set[str] = set()
        self.left_behind: list[Path] = []

    @property
    def alive(self) -> list[Machine]:
        """The machines that are on, oldest first."""
        return list(self._alive.values())

    @property
    def healthy(self) -> list[Machine]:
        """Those on which commands work, that do not stand still and whose clock is right.

        The oldest come first. By a wrong clock a worker seems to have been silent for long.
        """
        odd = self.sick | self.skewed
        return [one for one in self.alive if one.id not in odd and one.resume_at is None]

    @property
    def sick_alive(self) -> bool:
        """Whether a sick machine is on."""
        return any(one.id in self.sick for one in self.alive)

    def start(self, kind: Kind = Kind.JOIN) -> Machine:
        """Switch on one more, which may be SICK or have a SKEWED clock."""
        # Counted down, so that the newest is the keeper: every change of fleet tests that rule.
        name = f"i-{9999 - self.started:04d}"
        self.started += 1
        door = self._network.open_door()
        facts = InstanceFacts(
            id=name, type="local", image="ami-chaos", zone="us-east-1a", lifecycle="spot",
            private_ip="127.0.0.1", tags={}, user_data=self._config.encode(),
            secret=self._secret,
        )  # fmt: skip
        folder = self._folder / name
        if kind is Kind.SICK:
            folder.mkdir(parents=True)
            (folder / "sick").touch()
            self.sick.add(name)
        variables = [f"AWS_CA_BUNDLE={self._network.authority}"]
        if kind is Kind.SKEWED:
            self.skewed.add(name)
            variables += self._set_wrong()
        # As the words of a command: a machine has no variables but its own.
        instance = Instance(facts, folder, door.endpoint, ("env", *variables, *AGENT))
        self._alive[name] = Machine(instance, door, folder)
        return self._alive[name]

    def _set_wrong(self) -> list[str]:
        """Return the variables that put a process's clock off, ahead and behind by turns."""
        library = self._folder / "clock.so"
        if not library.exists():
            self._folder.mkdir(exist_ok=True)
            source = Path(__file__).with_name("clock.c")
            subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        offset = SKEW_SECONDS if self.started % 2 else -SKEW_SECONDS
        return [f"LD_PRELOAD={library}", f"CLOCK_OFFSET={offset:.0f}"]

    def tend(self) -> None:
        """Resume what has stood still long enough, and clear away what is off."""
        for machine in self.alive:
            if machine.resume_at is not None and time.monotonic() >= machine.resume_at:
                machine.resume_at = None
                machine.instance.send_to_all(signal.SIGCONT)
            if machine.instance.has_ended():
                if self._network.has_outage or machine.door.in_trouble:
                    self.killed.add(machine.id)  # its last heartbeat may have nowhere to go
                elif machine.id not in self.killed:
                    self.left_behind += machine.left_behind()
                self._clear(machine)
            elif machine.instance.seconds_left() <= 0:
                self.unplug(machine, Kind.NOTICE)

    def unplug(self, machine: Machine, kind: Kind = Kind.UNPLUG) -> None:
        """Kill every process of a machine."""
        self._lose(machine, kind)
        self.killed.add(machine.id)
        machine.instance.pull_plug()
        self._clear(machine)

    def kill_agent(self, machine: Machine) -> None:
        """Kill the agent alone; its machine goes down with it, as systemd's unit sees to."""
        pid = machine.instance.view().pid
        if pid is not None and psutil.pid_exists(pid):
            self._lose(machine, Kind.KILL_AGENT)
            self.killed.add(machine.id)
            os.kill(pid, signal.SIGKILL)

    def pause(self, machine: Machine, seconds: float) -> None:
        """Let all of a machine stand still."""
        if machine.resume_at is None:
            self._lose(machine, Kind.PAUSE)
            machine.instance.send_to_all(signal.SIGSTOP)
            machine.resume_at = time.monotonic() + seconds

    def notice(self, machine: Machine, seconds: float) -> None:
        """Announce that a machine is taken away."""
        machine.instance.announce_interruption(seconds)

    def power_off(self, machine: Machine) -> None:
        """Press the power button."""
        machine.instance.press_power_button(GRACE_SECONDS)

    def unplug_sick(self) -> set[str]:
        """Unplug the sick machines, and return which were on."""
        sick = [machine for machine in self.alive if machine.id in self.sick]
        for machine in sick:
            self.unplug(machine)
        return {machine.id for machine in sick}

    def unplug_all(self) -> None:
        """Leave nothing running."""
        for machine in self.alive:
            self.unplug(machine)

    def stray_processes(self) -> Iterator[psutil.Process]:
        """Go through the processes on this host that belong to a job of these machines."""
        marker = f"PARALLELIZE_SCRATCH={self._folder}".encode()
        for process in psutil.process_iter():
            try:
                environ = Path(f"/proc/{process.pid}/environ").read_bytes()
            except OSError:
                continue
            if any(line.startswith(marker) for line in environ.split(b"\0")):
                yield process

    def _lose(self, machine: Machine, kind: Kind) -> None:
        self._journal.losses.append(Loss(machine.id, kind, time.time()))

    def _clear(self, machine: Machine) -> None:
        machine.instance.release()
        self._network.close_door(machine.door)
        del self._alive[machine.id]
