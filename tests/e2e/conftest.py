"""The command line as a person types it, a local cloud for the session, real agents.

The local cloud refuses what AWS refuses (tests/strict_aws): its account has the stack, commands
have the rights of its submitters and launchers, and workers those of its role.

With CONFORMANCE_ENDPOINT, that server's S3 and SQS take the place of the local cloud's.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from tests.conformance.other_server import endpoints
from tests.strict_aws.layer import World

from parallelize.bucket import auto_name
from parallelize.local.cloud import LocalCloud, attach, start, stop
from parallelize.local.enter import local_defaults
from parallelize.local.instances import AGENT
from parallelize.local.records import REGION
from parallelize_core.names import Names

PROGRAM = Path(sys.executable).with_name("parallelize")
REPOSITORY = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0
LOCAL = "--local"
WORKERS = 2
STRICT = ("--layer", "tests.strict_aws.server:Strict", "--group-state-after", "5")
"""AWS's refusals in the local cloud, and a metadata service that knows of a group only later."""

JUDGED = ("--layer", "tests.strict_aws.server:Judged", *STRICT[2:])
"""The same, and who calls has the rights that `setup` gives."""

only_local = pytest.mark.skipif(bool(endpoints()), reason="it asks for the local cloud by itself")


@dataclass(frozen=True)
class Shell:
    """A folder to type commands in."""

    folder: Path
    environ: dict[str, str]

    def start(self, *words: str, program: Path = PROGRAM) -> subprocess.Popen[str]:
        # A shell that put the tests in the background has them, and their children, ignore ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # It would lead a command away from the other server.
        given = [word for word in words if not (endpoints() and word == LOCAL)]
        return subprocess.Popen(
            [program, *given], cwd=self.folder, env=self.environ, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str, program: Path = PROGRAM, code: int = 0) -> str:
        """Run a command to its end, check its exit code, and return its stdout."""
        process = self.start(*words, program=program)
        stdout, stderr = process.communicate()
        assert process.returncode == code, f"{words}: {process.returncode}\n{stdout}\n{stderr}"
        return stdout

    def type(
        self, *lines: str, code: int = 0, answers: str = "", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Type lines into one bash, which ends at the first error; return what is printed.

        With answers, it is typed into a terminal, as they are; what that shows is the stdout.
        """
        words = ["bash", "-c", "\n".join(["set -e", *lines])]
        if answers:
            words = ["script", "--quiet", "--return", "--command", shlex.join(words), "/dev/null"]
        done = subprocess.run(
            words, cwd=self.folder, check=False, text=True, capture_output=True, input=answers,
            env={**self.environ, "BROWSER": "true", **environ},
        )  # fmt: skip
        assert done.returncode == code, f"{lines}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

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
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("XDG_")},
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
        "PARALLELIZE_AGENT_LEASE": "4s",
        # All tests share a bucket, and none is to find what another has made.
        "PARALLELIZE_RUN_REUSE": "false",
    }
    state = home / "state" / "parallelize" / "local"
    if endpoints():
        environ |= led_elsewhere(home, state)
    else:
        start_judged(state)
    yield environ
    if cloud := attach(state):
        stop(cloud)


def start_judged(state: Path) -> LocalCloud:
    """Return the local cloud with this state folder, judged by policies; start it if need be.

    One that a test has stopped and a command has started again is as users have it.
    """
    running = attach(state)
    if running and JUDGED[1] not in psutil.Process(running.state.pid).cmdline():
        stop(running)
    cloud = start(state, daemon_options=JUDGED)
    bucket = auto_name(Names(), World().account, REGION)
    # What the stack makes is moto's, and objects are the local cloud's.
    administrator(cloud, "s3").create_bucket(Bucket=bucket)
    return cloud


def administrator(cloud: LocalCloud, service: str) -> Any:
    """Return a client that may do everything."""
    return boto3.client(
        service, REGION, endpoint_url=cloud.endpoint,
        aws_access_key_id="administrator", aws_secret_access_key=cloud.state.secret,
    )  # fmt: skip


def led_elsewhere(home: Path, state: Path) -> dict[str, str]:
    """Start a local cloud whose agents go to the other server; return what leads commands there.

    Commands get the settings of --local from the user's own file.
    """
    agent = ["env", *(f"{name}={url}" for name, url in endpoints().items()), *AGENT]
    cloud = start(state, daemon_options=("--agent", json.dumps(agent)))
    defaults = home / ".config" / "parallelize" / "config.toml"
    defaults.parent.mkdir(parents=True)
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in local_defaults(WORKERS).items()]
    defaults.write_text("".join(lines))
    return cloud.environ | endpoints()


@pytest.fixture
def shell(tmp_path: Path, environ: dict[str, str]) -> Shell:
    if not endpoints():
        start_judged(Path(environ["XDG_STATE_HOME"], "parallelize", "local"))
    return Shell(tmp_path, environ)
