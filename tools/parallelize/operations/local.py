"""`parallelize local …`: the local cloud for a whole shell, and accidents at will."""

from __future__ import annotations

import shlex
from dataclasses import asdict

import humanize

from parallelize.console import answer, answer_json, escape, say
from parallelize.local import cloud as local_cloud
from parallelize.local.cloud import OUR_AWS_VARIABLES, LocalCloud
from parallelize.local.disk import Kept, kept_in
from parallelize.local.records import InstanceView
from parallelize.units import plural, show_size
from parallelize_core.errors import UsageError

SCHEMA = 1
ENDED_SHOWN = 3
NOT_AWS = "local: S3, SQS and EC2 are emulated on 127.0.0.1; nothing is sent to AWS"

IN_THE_WAY = (
    "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_SQS",
)  # fmt: skip


def start(*, port: int, quota_bytes: int) -> None:
    """Start it, and print what leads a shell to it."""
    options = ("--quota-bytes", str(quota_bytes))
    cloud = local_cloud.start(port=port, daemon_options=options)
    for line in exports(cloud):
        answer(line)
    say(f"{NOT_AWS}\nstop it with: parallelize local stop")


def stop() -> None:
    """Stop it; its machines are gone, and its files and queues are there at the next start."""
    cloud = local_cloud.attach()
    if cloud is None:
        say("no local cloud is running")
        return
    local_cloud.stop(cloud)
    say("the local cloud has stopped; `parallelize local start` brings its runs back")


def status(*, json: bool = False) -> None:
    """Show whether it runs, and its machines."""
    cloud = local_cloud.attach()
    machines = cloud.instances() if cloud else []
    kept = kept_in(local_cloud.default_state_dir())
    if json:
        answer_json({
            "schema": SCHEMA,
            "running": cloud is not None,
            "endpoint": cloud.endpoint if cloud else None,
            "instances": [machine.model_dump(mode="json") for machine in machines],
            "kept": asdict(kept) if kept else None,
        })  # fmt: skip
        return
    if cloud is None:
        answer("no local cloud is running")
    if kept and kept.objects:
        answer(kept_line(kept))
    if cloud is None:
        return
    answer(f"running at {cloud.endpoint}, {plural(len(machines), 'machine')} so far")
    ended = [machine for machine in machines if machine.state == "terminated"]
    for machine in [one for one in machines if one not in ended] + ended[-ENDED_SHOWN:]:
        for line in machine_lines(machine):
            answer(line)
    if len(ended) > ENDED_SHOWN:
        answer(f"  and {len(ended) - ENDED_SHOWN:,} that ended before")


def kept_line(kept: Kept) -> str:
    """Return what `local status` says of what is on disk."""
    age = humanize.naturaldelta(kept.oldest_seconds)
    return (
        f"it keeps {plural(kept.objects, 'file')} ({show_size(kept.used_bytes)} of"
        f" {show_size(kept.quota_bytes)}), the oldest for {age};"
        " parallelize clean --local removes those of a run"
    )


def machine_lines(machine: InstanceView) -> list[str]:
    """Return what `local status` says of one machine."""
    agent = f"  agent {machine.pid}" if machine.pid else ""
    return [
        f"  {machine.id}  {machine.state:<10}  {machine.type}{agent}",
        f"    console {escape(str(machine.console))}",
    ]


def interrupt(machine: str, *, seconds: float) -> None:
    """Give a machine a spot notice."""
    running_cloud().interrupt(machine, seconds)
    say(f"{escape(machine)} will be gone in {seconds:g} s, and has been told")


def kill(machine: str) -> None:
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
