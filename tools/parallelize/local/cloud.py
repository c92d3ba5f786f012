"""Start, find, control and stop the local cloud.

with local_cloud() as cloud:                      # stops when the block or its process ends
    subprocess.run(command, env=cloud.child_environ(os.environ))

cloud = start(); ...; stop(cloud)                 # runs on until it is stopped
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import psutil
from platformdirs import user_state_path

from parallelize.console import escape
from parallelize.local.loopback import ROOT
from parallelize.local.machine import is_alive
from parallelize.local.records import (
    CONTROL_PREFIX,
    LOG_FILE,
    OWNERS_KEY,
    REGION,
    CloudState,
    InstanceView,
    InstanceViews,
)
from parallelize_core.errors import ServiceError, UsageError

START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 20.0
STOP_POLL_SECONDS = 0.02
# Cutting the power waits until every process of the machine is gone.
CONTROL_TIMEOUT_SECONDS = 30.0

LOG_LINES_SHOWN = 10

IDLE_SECONDS = 30 * 60
"""How long the local cloud stays up for `logs`, `failures` and `retry` after the last command."""

FOR_COMMANDS = ("--idle-seconds", str(IDLE_SECONDS))

# The SDKs would send requests to loopback through a proxy, too.
NO_PROXY = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

# Our own variables for the same settings, which would override AWS's.
OUR_AWS_VARIABLES = (
    "PARALLELIZE_REGION", "PARALLELIZE_AWS_REGION",
    "PARALLELIZE_PROFILE", "PARALLELIZE_AWS_PROFILE",
)  # fmt: skip

# Do not load moto's five hundred machine images, which nobody here needs.
MOTO_SETTINGS = {"MOTO_EC2_LOAD_DEFAULT_AMIS": "false"}


@dataclass(frozen=True)
class LocalCloud:
    """A running local cloud; `process` is set if this process started and owns it."""

    state_dir: Path
    state: CloudState = field(repr=False)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def endpoint(self) -> str:
        """The URL that stands in for all of AWS."""
        return self.state.endpoint

    @property
    def environ(self) -> dict[str, str]:
        """Return the variables that point the AWS SDKs, and this package, to the local cloud."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": OWNERS_KEY,
            "AWS_SECRET_ACCESS_KEY": self.state.secret,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            **NO_PROXY,
        }

    def child_environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return `environ` pointed to the local cloud, without any AWS variable of the user.

        One could take precedence: AWS_ENDPOINT_URL_S3 over AWS_ENDPOINT_URL, AWS_PROFILE over keys.
        """
        return _without_aws(environ) | self.environ

    def instances(self) -> list[InstanceView]:
        """Return every instance there has been, oldest first."""
        return InstanceViews.validate_json(self._request("GET", "instances"))

    def interrupt(self, instance_id: str, seconds: float = 120.0) -> None:
        """Post a spot notice; the instance is gone after `seconds`. Raises UsageError."""
        self._act(instance_id, "interrupt", seconds=seconds)

    def recommend_rebalance(self, instance_id: str) -> None:
        """Post a rebalance recommendation. Raises UsageError if there is no such instance."""
        self._act(instance_id, "rebalance")

    def kill(self, instance_id: str) -> None:
        """Pull the plug; nothing of the instance is left when this returns. Raises UsageError."""
        self._act(instance_id, "kill")

    def pause(self, instance_id: str) -> None:
        """Suspend every process of an instance. Raises UsageError if there is no such instance."""
        self._act(instance_id, "pause")

    def resume(self, instance_id: str) -> None:
        """Resume a paused instance. Raises UsageError if there is no such instance."""
        self._act(instance_id, "resume")

    def _act(self, instance_id: str, action: str, **arguments: float) -> None:
        self._request("POST", f"instances/{quote(instance_id, safe='')}/{action}", arguments)

    def _request(self, method: str, path: str, body: Mapping[str, float] | None = None) -> bytes:
        connection = HTTPConnection("127.0.0.1", self.state.port, timeout=CONTROL_TIMEOUT_SECONDS)
        headers = {
            "Authorization": f"Bearer {self.state.token}",
            "Content-Type": "application/json",
        }
        try:
            connection.request(method, f"{CONTROL_PREFIX}/{path}", json.dumps(body), headers)
            response = connection.getresponse()
            answer = response.read()
        except OSError as error:
            raise ServiceError(
                f"the local cloud at {self.endpoint} does not answer",
                str(error),
                fix=f"see {self.state_dir / LOG_FILE}",
            ) from error
        finally:
            connection.close()
        if response.status >= 400:
            raise UsageError(answer.decode(), fix="parallelize local status")
        return answer


def default_state_dir() -> Path:
    """Return where the local cloud keeps its state by default."""
    return user_state_path("parallelize") / "local"


def check_own(state_dir: Path, user: int | None = None) -> None:
    """Raise UsageError if another user could claim in this folder where a local cloud is.

    Everything is sent to the address in that folder. `user` defaults to this process's.
    """
    user = os.geteuid() if user is None else user
    try:
        found = state_dir.stat()
    except OSError:
        return  # it does not exist, or reading it will report the problem
    others = found.st_uid not in {user, ROOT} and user != ROOT
    if others or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        why = "it belongs to another user" if others else "other users can write there"
        raise UsageError(
            f"the state of the local cloud cannot be kept in {escape(str(state_dir))}",
            f"{why}, and could send your files to a server of their own",
            "set XDG_STATE_HOME to a folder of your own"
            if others
            else f"chmod go-w {shlex.quote(str(state_dir))}",
        )


def attach(state_dir: Path | None = None) -> LocalCloud | None:
    """Return the local cloud that runs with this state folder, or None."""
    state_dir = state_dir or default_state_dir()
    check_own(state_dir)
    state = CloudState.read(state_dir)
    return LocalCloud(state_dir, state) if state else None


def start(
    state_dir: Path | None = None,
    port: int = 0,
    *,
    owned: bool = False,
    daemon_options: Sequence[str] = (),
) -> LocalCloud:
    """Return the local cloud of this state folder; start it if it is not running.

    Args:
        state_dir: where state, log and instances are kept; `default_state_dir()` if None.
        port: the loopback port; 0 picks a free one.
        owned: stop it when this process ends, however it ends.
        daemon_options: further arguments for `parallelize.local.daemon`.

    Raises:
        UsageError: this is not Linux, moto is not installed, or `owned` was asked for and one
            runs already.
        ServiceError: it does not start, for instance because the port is in use.
    """
    with starting(state_dir, port, owned=owned, daemon_options=daemon_options) as started:
        return started()


def start_for_commands() -> LocalCloud:
    """Start the default local cloud, unless it runs; unused, it stops after `IDLE_SECONDS`."""
    return start(daemon_options=FOR_COMMANDS)


def starting_for_commands() -> AbstractContextManager[Callable[[], LocalCloud]]:
    """Begin what `start_for_commands` does; see `starting`."""
    return starting(daemon_options=FOR_COMMANDS)


@contextmanager
def starting(
    state_dir: Path | None = None,
    port: int = 0,
    *,
    owned: bool = False,
    daemon_options: Sequence[str] = (),
) -> Iterator[Callable[[], LocalCloud]]:
    """Begin what `start` does; the block gets a function that waits until it is done.

    Nobody else can start this local cloud until that function has returned. If the block ends
    before, the process is killed.
    """
    if sys.platform != "linux":
        raise UsageError(
            "the local cloud runs on Linux only",
            "its workers run the same agent as machines on AWS, which needs Linux",
            "leave out --local to use AWS; or work in a Linux container or virtual machine",
        )
    if find_spec("moto") is None:
        raise UsageError("the local cloud needs moto", fix="pip install 'parallelize[local]'")
    state_dir = (state_dir or default_state_dir()).absolute()
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    check_own(state_dir)
    with ExitStack() as alone:
        alone.enter_context(_only_starter(state_dir))
        running = attach(state_dir)
        if running and owned:
            raise UsageError(
                f"a local cloud is running already in {state_dir}", fix="parallelize local stop"
            )
        if running:
            alone.close()
            yield lambda: running
            return
        process, serves = _launch(state_dir, port, daemon_options, owned=owned)
        alone.callback(os.close, serves)
        begun = alone.enter_context(_killed(process))

        def started() -> LocalCloud:
            state = _state_of(state_dir, process, serves)
            begun.pop_all()
            alone.close()
            return LocalCloud(state_dir, state, process)

        yield started


@contextmanager
def _killed(process: subprocess.Popen[bytes]) -> Iterator[ExitStack]:
    """Kill a process at the end of the block, unless `pop_all` of what it yields prevents that."""
    with ExitStack() as end:
        end.callback(process.wait)
        end.callback(process.kill)
        yield end


def stop(cloud: LocalCloud) -> None:
    """Stop the local cloud with all its agents and jobs.

    Raises:
        ServiceError: a process was still running afterwards; it has been killed.
    """
    if not cloud.state.is_current():
        return
    daemon = psutil.Process(cloud.state.pid)
    family = daemon.children(recursive=True)
    daemon.terminate()
    for process in _outlasting([daemon]):
        # The machines notice this, and power off.
        process.kill()
    _kill_left_over(_outlasting(family))


@contextmanager
def local_cloud(
    state_dir: Path | None = None, daemon_options: Sequence[str] = ()
) -> Iterator[LocalCloud]:
    """Run a local cloud for the duration of a block, or until this process ends.

    Without `state_dir` it keeps its files in a temporary folder, which is then removed.
    """
    with ExitStack() as stack:
        if state_dir is None:
            state_dir = Path(stack.enter_context(TemporaryDirectory(prefix="parallelize-local-")))
        cloud = start(state_dir, owned=True, daemon_options=daemon_options)
        stack.callback(stop, cloud)
        yield cloud


@contextmanager
def _only_starter(state_dir: Path) -> Iterator[None]:
    """Let only one process at a time look for a local cloud and start it."""
    with (state_dir / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _launch(
    state_dir: Path, port: int, daemon_options: Sequence[str], *, owned: bool
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the process; return it with a pipe that hangs up when it serves, or has ended."""
    command = [sys.executable, "-m", "parallelize.local.daemon", "--state", str(state_dir)]
    serves, announces = os.pipe()
    command += ["--port", str(port), "--announce", str(announces)]
    command += [*(["--owned"] if owned else []), *daemon_options]
    try:
        with (state_dir / LOG_FILE).open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if owned else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_without_aws(os.environ) | NO_PROXY | MOTO_SETTINGS,
                pass_fds=[announces],
                # Ctrl-C in the terminal is for the owner, who needs the services to clean up.
                start_new_session=True,
            )
    finally:
        os.close(announces)
    return process, serves


def _state_of(state_dir: Path, process: subprocess.Popen[bytes], serves: int) -> CloudState:
    """Wait until the process serves; raise ServiceError if it ends, or takes too long."""
    announced = select.poll()
    announced.register(serves)
    announced.poll(START_TIMEOUT_SECONDS * 1000)
    state = CloudState.read(state_dir)
    if state and state.pid == process.pid:
        return state
    log = (state_dir / LOG_FILE).read_text(encoding="utf-8", errors="replace")
    why = "\n".join(log.splitlines()[-LOG_LINES_SHOWN:])
    raise ServiceError("the local cloud did not start", why, fix=f"see {state_dir / LOG_FILE}")


def _outlasting(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Wait for processes to end; return those that have not.

    Not psutil.wait_procs: one that has ended is there for it until its parent, which may be a
    program that started the cloud long ago, takes notice of its end.
    """
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    left = list(processes)
    while left := [process for process in left if is_alive(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(STOP_POLL_SECONDS)
    return left


def _kill_left_over(processes: Sequence[psutil.Process]) -> None:
    left = [process for process in processes if is_alive(process)]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    if left:
        names = ", ".join(str(process.pid) for process in left)
        raise ServiceError(f"processes outlived the local cloud and were killed: {names}")


def _without_aws(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("AWS_") and name not in OUR_AWS_VARIABLES
    }
