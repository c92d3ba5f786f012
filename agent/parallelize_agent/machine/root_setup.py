"""Machine set-up that only root may do. The agent, which is not root, requests it and waits.

It does so by touching a file that a path unit of the image watches
(systemd/parallelize-setup.path). The script that is then run as root is in the machine's user data,
which the unit reads again from the metadata service: nothing that the agent, a job, or the run's
bucket says can change it. `python -m parallelize_agent.machine.root_setup FILE` reads it, and
writes the script to FILE. On a machine from a vendor's plain image, whose user data is another
script, it takes the configuration that the script left, which only root can change:
`... FILE CONFIGURATION`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from parallelize_agent.job.preparation import reason
from parallelize_agent.machine.metadata import Metadata
from parallelize_core.config import AgentConfig
from parallelize_core.errors import SetupError

log = structlog.get_logger()

FOLDER_VARIABLE = "PARALLELIZE_ROOT_SETUP"
"""Names the folder in which the image's unit keeps `log` and, at the end, `status`."""

WANTED = "setup-wanted"
"""The file in $RUNTIME_DIRECTORY that the path unit watches."""

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class RootSetup:
    """Where to make the request, and where the answer will be; None if nothing is requested."""

    wanted: Path | None = None
    folder: Path = Path()

    @property
    def log(self) -> Path | None:
        """What the script has printed; None if there is no script, or it has not begun."""
        path = self.folder / "log"
        return path if self.wanted is not None and path.exists() else None

    async def wait(self, given_up: Callable[[], bool]) -> None:
        """Have root set up the machine, once; raise SetupError if that fails.

        The unit that does it has a time limit, and leaves a status whatever happens.
        """
        status = self.folder / "status"
        if self.wanted is None or given_up():
            return
        if not status.exists():
            log.info("set-up as root begins")
            self.wanted.touch()
        while not status.exists():
            if given_up():
                return
            await asyncio.sleep(_POLL_SECONDS)
        self._judge(status.read_text(encoding="ascii").strip())

    def _judge(self, status: str) -> None:
        if status.startswith("success"):
            return
        said = reason(self.log) if self.log else ""
        raise SetupError(
            f"the machine's set-up as root failed: {status}",
            said or "it printed nothing",
            "parallelize logs --setup; fix the script of workers.root_setup, then launch again",
        )


NO_ROOT_SETUP = RootSetup()


def find_root_setup(config: AgentConfig, environ: Mapping[str, str] = os.environ) -> RootSetup:
    """Return what to request; outside the image nobody would notice the request."""
    if not config.root_setup:
        return NO_ROOT_SETUP
    runtime, folder = environ.get("RUNTIME_DIRECTORY"), environ.get(FOLDER_VARIABLE)
    if not (runtime and folder):
        log.warning("root_setup left out: only a machine from the image runs it")
        return NO_ROOT_SETUP
    return RootSetup(Path(runtime, WANTED), Path(folder))


def main(target: Path, given: Path | None = None) -> None:
    """Write the script from this machine's user data, or from `given`, to `target`, for root."""
    text = given.read_text("utf-8") if given else Metadata.from_environment().get("user-data")
    source = str(given) if given else "the instance's user data"
    script = AgentConfig.decode(text or "", source).root_setup
    target.touch(mode=0o700)
    target.write_text(script, encoding="utf-8")


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:]))
