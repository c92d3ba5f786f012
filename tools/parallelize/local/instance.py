"""One instance of the local cloud: an agent in a machine of its own, with its metadata service."""

from __future__ import annotations

import json
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

import psutil
from platformdirs import user_cache_path, user_data_path

from parallelize.local.facts import InstanceFacts, Notices, metadata_of
from parallelize.local.imds import MetadataServer
from parallelize.local.records import InstanceState, InstanceView
from parallelize_core import installers
from parallelize_core.container_image import IMAGES_VARIABLE
from parallelize_core.installers import OWN_VARIABLES, find_installer
from parallelize_core.registry import AUTH_VARIABLE, own_auth_file


def _installers() -> dict[str, str]:
    """Return the variables for this user's installers and their caches, which a machine has, too.

    So an agent in the local cloud does not download again for each `check` what is on this disk.
    """
    found = {variable: find_installer(name) for name, variable in OWN_VARIABLES.items()}
    caches = {
        "UV_CACHE_DIR": str(user_cache_path("uv")),
        "UV_PYTHON_INSTALL_DIR": str(user_data_path("uv") / "python"),
    }
    told = {installers.SETTINGS: json.dumps(caches | installers.settings_here())}
    return told | {name: path for name, path in found.items() if path}


def _images() -> dict[str, str]:
    """Return where agents find the images that are on this disk already, and this user's logins."""
    return {
        IMAGES_VARIABLE: str(user_cache_path("parallelize") / "images"),
        AUTH_VARIABLE: str(own_auth_file(os.environ, Path.home())),
    }


class Instance:
    """A machine: the constructor switches it on, `release` switches it off for good.

    `folder` holds its console output, the agent's process id, its home and its work folder.
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
        self._metadata_server = MetadataServer(self, admits=self._is_agents)
        self._machine = self._start_machine(endpoint, [*agent, "--work-dir", str(self._work)])

    def metadata(self) -> dict[str, str]:
        """Return what the metadata service says now."""
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
        """Send the agent SIGTERM, and pull the plug after the grace period."""
        self.state = InstanceState.STOPPING
        self._power_off_at = time.monotonic() + grace_seconds
        self._machine.send_signal(signal.SIGTERM)

    def announce_interruption(self, seconds: float) -> None:
        """Post a spot notice, and pull the plug after `seconds`."""
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        self._notices = Notices(interruption=at, rebalance=self._notices.rebalance)
        self._power_off_at = time.monotonic() + seconds

    def recommend_rebalance(self) -> None:
        """Post a rebalance recommendation; nothing follows from it."""
        now = datetime.now(UTC)
        self._notices = Notices(interruption=self._notices.interruption, rebalance=now)

    def seconds_left(self) -> float:
        """Return when to pull the plug, in seconds from now; infinity if nothing says so."""
        return self._power_off_at - time.monotonic()

    def has_ended(self) -> bool:
        """Whether the machine is off."""
        return self._machine.poll() is not None

    def wait(self) -> None:
        """Return when the machine is off."""
        self._machine.wait()

    def send_to_all(self, signal_number: signal.Signals) -> None:
        """Send a signal to every process in the machine, but not to the machine's own process."""
        for process in psutil.Process(self._machine.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal_number)

    def pull_plug(self) -> None:
        """Have every process of the machine killed; `release` waits for it."""
        if self._machine.stdin:
            self._machine.stdin.close()

    def release(self) -> None:
        """Wait until the machine is off; its disk is gone then, its console output remains."""
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
        """Return a machine's environment: none of the user's variables, and no credentials."""
        return {
            "PATH": self.facts.path or os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self._metadata_server.endpoint,
            **_installers(),
            **_images(),
        }

    def _is_agents(self, socket: int) -> bool:
        """Whether a socket is in the agent's session; a job has its own, and gets no answer.

        On EC2, the image's firewall does this by user (`systemd/metadata.nft`).
        """
        agent = self._agent_pid()
        return agent is not None and (has_socket(agent, socket) or self._is_childs(agent, socket))

    def _is_childs(self, agent: int, socket: int) -> bool:
        children = psutil.Process(self._machine.pid).children(recursive=True)
        return any(has_socket(one.pid, socket) for one in children if session_of(one.pid) == agent)

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


def has_socket(pid: int, socket: int) -> bool:
    """Whether a process has a socket open, by the socket's number."""
    wanted = f"socket:[{socket}]"
    with suppress(OSError):
        return any(_leads_to(file, wanted) for file in Path(f"/proc/{pid}/fd").iterdir())
    return False


def _leads_to(file: Path, wanted: str) -> bool:
    # It may have been closed meanwhile.
    with suppress(OSError):
        return str(file.readlink()) == wanted
    return False


def session_of(pid: int) -> int:
    """Return the session of a process, 0 if it has ended."""
    with suppress(ProcessLookupError):
        return os.getsid(pid)
    return 0
