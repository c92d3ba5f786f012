"""The local cloud for a whole shell session."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import humanize

from parallelize.console import escape
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


@dataclass(frozen=True)
class LocalStatus:
    """Whether the local cloud runs, its machines, and what it stores on disk."""

    cloud: LocalCloud | None
    machines: Sequence[InstanceView]
    kept: Kept | None

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "schema": SCHEMA,
            "running": self.cloud is not None,
            "endpoint": self.cloud.endpoint if self.cloud else None,
            "instances": [machine.model_dump(mode="json") for machine in self.machines],
            "kept": asdict(self.kept) if self.kept else None,
        }

    def lines(self) -> Iterator[str]:
        """Say it in lines; of the terminated machines, only the last ones."""
        if self.cloud is None:
            yield "no local cloud is running"
        if self.kept and self.kept.objects:
            yield kept_line(self.kept)
        if self.cloud is None:
            return
        yield f"running at {self.cloud.endpoint}, {plural(len(self.machines), 'machine')} so far"
        ended = [one for one in self.machines if one.state == "terminated"]
        for machine in [one for one in self.machines if one not in ended] + ended[-ENDED_SHOWN:]:
            yield from machine_lines(machine)
        if len(ended) > ENDED_SHOWN:
            yield f"  and {len(ended) - ENDED_SHOWN:,} that ended before"


def start(*, port: int, quota_bytes: int) -> LocalCloud:
    """Start the local cloud, unless it is running."""
    return local_cloud.start(port=port, daemon_options=("--quota-bytes", str(quota_bytes)))


def stop() -> bool:
    """Stop it, if it is running; return whether it was."""
    cloud = local_cloud.attach()
    if cloud:
        local_cloud.stop(cloud)
    return cloud is not None


def look() -> LocalStatus:
    """Return the state of the local cloud."""
    cloud = local_cloud.attach()
    machines = cloud.instances() if cloud else []
    return LocalStatus(cloud, machines, kept_in(local_cloud.default_state_dir()))


def kept_line(kept: Kept) -> str:
    """Return the line of `local status` about what is on disk."""
    age = humanize.naturaldelta(kept.oldest_seconds)
    return (
        f"it keeps {plural(kept.objects, 'file')} ({show_size(kept.used_bytes)} of"
        f" {show_size(kept.quota_bytes)}), the oldest for {age};"
        " parallelize clean --local removes those of a run"
    )


def machine_lines(machine: InstanceView) -> list[str]:
    """Return the lines of `local status` about one machine."""
    agent = f"  agent {machine.pid}" if machine.pid else ""
    return [
        f"  {machine.id}  {machine.state:<10}  {machine.type}{agent}",
        f"    console {escape(str(machine.console))}",
    ]


def exports(cloud: LocalCloud) -> list[str]:
    """Return the lines that point a POSIX shell to the local cloud."""
    unset = f"unset {' '.join((*IN_THE_WAY, *OUR_AWS_VARIABLES))}"
    return [unset, *(f"export {name}={shlex.quote(v)}" for name, v in cloud.environ.items())]


def running_cloud() -> LocalCloud:
    """Return the local cloud; UsageError if none is running."""
    cloud = local_cloud.attach()
    if cloud is None:
        raise UsageError("no local cloud is running", fix="parallelize local start")
    return cloud
