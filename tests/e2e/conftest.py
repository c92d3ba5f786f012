"""The command line as a person types it, a local cloud for the session, real agents."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from parallelize.local.cloud import attach, stop

PROGRAM = Path(sys.executable).with_name("parallelize")
REPOSITORY = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Shell:
    """A folder to type commands in."""

    folder: Path
    environ: dict[str, str]

    def start(self, *words: str, program: Path = PROGRAM) -> subprocess.Popen[str]:
        # A shell that put the tests in the background has them, and their children, ignore ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return subprocess.Popen(
            [program, *words], cwd=self.folder, env=self.environ, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str, program: Path = PROGRAM, code: int = 0) -> str:
        """Run a command to its end, check its exit code, and return its stdout."""
        process = self.start(*words, program=program)
        stdout, stderr = process.communicate()
        assert process.returncode == code, f"{words}: {process.returncode}\n{stdout}\n{stderr}"
        return stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))

    def status(self) -> Any:
        return self.json("status", "--local")

    def machines(self) -> list[Any]:
        machines: list[Any] = self.json("local", "status")["instances"]
        return machines

    def wait_for(self, condition: Callable[[Any], Any]) -> Any:
        """Return what `condition` makes of the run's status as soon as that is something."""
        return wait_until(lambda: condition(self.status()))


def wait_until(look: Callable[[], Any]) -> Any:
    """Return what `look` finds as soon as it finds something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS:.0f} s in vain"
        time.sleep(0.5)
    return found


@pytest.fixture(scope="session")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    home = tmp_path_factory.mktemp("home")
    yield {
        **{name: value for name, value in os.environ.items() if not name.startswith("XDG_")},
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
        "PARALLELIZE_AGENT_LEASE": "4s",
    }
    if cloud := attach(home / "state" / "parallelize" / "local"):
        stop(cloud)


@pytest.fixture
def shell(tmp_path: Path, environ: dict[str, str]) -> Shell:
    return Shell(tmp_path, environ)
