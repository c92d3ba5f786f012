"""`parallelize local …`: the local cloud for a whole shell, and accidents at will."""

from __future__ import annotations

import shlex
from typing import Annotated

from cyclopts import App, Parameter

from parallelize.console import answer, answer_json, escape, say
from parallelize.local import cloud as local_cloud
from parallelize.local.cloud import OUR_AWS_VARIABLES, LocalCloud
from parallelize.local.records import InstanceView
from parallelize.options import Json
from parallelize.units import plural
from parallelize_core.errors import UsageError

SCHEMA = 1
ANY_PORT = 0
ENDED_SHOWN = 3
NOT_AWS = "local: S3, SQS and EC2 are emulated on 127.0.0.1; nothing is sent to AWS"

IN_THE_WAY = (
    "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_SQS",
)  # fmt: skip

MachineId = Annotated[str, Parameter(help="Its id, as `local status` shows it.")]

app = App(name="local", help="Run S3, SQS and EC2 here; nothing is sent to AWS.")


@app.command
def start(
    *,
    port: Annotated[int, Parameter(help="The loopback port; 0 takes a free one.")] = ANY_PORT,
) -> None:
    """Start it, and print what leads a shell to it: eval "$(parallelize local start)"."""
    cloud = local_cloud.start(port=port)
    for line in exports(cloud):
        answer(line)
    say(f"{NOT_AWS}\nstop it with: parallelize local stop")


@app.command
def stop() -> None:
    """Stop it; its buckets, queues and machines are gone."""
    cloud = local_cloud.attach()
    if cloud is None:
        say("no local cloud is running")
        return
    local_cloud.stop(cloud)
    say("the local cloud has stopped")


@app.command
def status(*, json: Json = False) -> None:
    """Show whether it runs, and its machines."""
    cloud = local_cloud.attach()
    machines = cloud.instances() if cloud else []
    if json:
        answer_json({
            "schema": SCHEMA,
            "running": cloud is not None,
            "endpoint": cloud.endpoint if cloud else None,
            "instances": [machine.model_dump(mode="json") for machine in machines],
        })  # fmt: skip
        return
    if cloud is None:
        answer("no local cloud is running")
        return
    answer(f"running at {cloud.endpoint}, {plural(len(machines), 'machine')} so far")
    ended = [machine for machine in machines if machine.state == "terminated"]
    for machine in [one for one in machines if one not in ended] + ended[-ENDED_SHOWN:]:
        for line in machine_lines(machine):
            answer(line)
    if len(ended) > ENDED_SHOWN:
        answer(f"  and {len(ended) - ENDED_SHOWN:,} that ended before")


def machine_lines(machine: InstanceView) -> list[str]:
    """Return what `local status` says of one machine."""
    agent = f"  agent {machine.pid}" if machine.pid else ""
    return [
        f"  {machine.id}  {machine.state:<10}  {machine.type}{agent}",
        f"    console {escape(str(machine.console))}",
    ]


@app.command
def interrupt(
    machine: MachineId,
    *,
    seconds: Annotated[float, Parameter(help="How long it has until it is taken.")] = 120.0,
) -> None:
    """Give a machine a spot notice."""
    running_cloud().interrupt(machine, seconds)
    say(f"{escape(machine)} will be gone in {seconds:g} s, and has been told")


@app.command
def kill(machine: MachineId) -> None:
    """Pull a machine's plug."""
    running_cloud().kill(machine)
    say(f"{escape(machine)} is gone")


def exports(cloud: LocalCloud) -> list[str]:
    """Return the lines that lead a POSIX shell to the local cloud."""
    unset = f"unset {' '.join((*IN_THE_WAY, *OUR_AWS_VARIABLES))}"
    return [unset, *(f"export {name}={shlex.quote(v)}" for name, v in cloud.environ.items())]


def running_cloud() -> LocalCloud:
    """Return the local cloud; UsageError if there is none."""
    cloud = local_cloud.attach()
    if cloud is None:
        raise UsageError("no local cloud is running", fix="parallelize local start")
    return cloud
