"""Makes a command use the local cloud, as environment variables would."""

from __future__ import annotations

import os
from contextlib import suppress

import psutil

from parallelize.local.cloud import LocalCloud, attach, default_state_dir
from parallelize.local.disk import kept_in
from parallelize.local.records import STATE_FILE
from parallelize_core.errors import UsageError

LOCAL_OVERRIDES = {
    "agent.lease": 20.0,
    # One server answers all workers, so lease renewals wait in line with all other requests.
    "agent.transfers": 8,
    "agent.poll": 1.0,
    "agent.heartbeat": 5.0,
    "agent.stop_grace": 2.0,
    "agent.drain_samples": 1,
    "agent.drain_interval": 0.5,
    "agent.drain_margin": 2.0,
}
"""The settings of AWS with smaller numbers, in seconds: here counts are exact and delays short.

Not too small: on an overloaded machine, healthy workers missed three heartbeats of 2 s, and
`status` called them overdue.
"""


def enter_local_cloud() -> LocalCloud:
    """Make this process use the running local cloud; raise UsageError if none runs.

    It does what `eval "$(parallelize local start)"` does in a shell, so no other code
    has to know.
    """
    cloud = attach()
    if cloud is None:
        raise _not_running()
    # Its age says how long the cloud has been unused, see `daemon`.
    with suppress(FileNotFoundError):
        os.utime(cloud.state_dir / STATE_FILE)
    wanted = cloud.child_environ(os.environ)
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)
    return cloud


def _not_running() -> UsageError:
    kept = kept_in(default_state_dir())
    if kept and kept.objects:
        return UsageError(
            "the local cloud is not running", "its runs are on disk, with results and logs",
            "parallelize local start   brings them back",
        )  # fmt: skip
    return UsageError(
        "no local cloud is running", None, "parallelize run --local, or parallelize local start"
    )


def local_defaults(workers: int) -> dict[str, object]:
    """Return settings that suit the local cloud, where `workers` share the CPUs."""
    return {
        **LOCAL_OVERRIDES,
        "workers.slots": max(1, (psutil.cpu_count() or 1) // max(1, workers)),
        # There is no stack here to create one, and the machines' consoles are files.
        "workers.log_group": "",
        # No alarm reads them here, and each agent would load AWS's library to send them.
        "workers.metrics": False,
    }
