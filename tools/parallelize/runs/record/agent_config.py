"""The configuration of the run's agents, made from the settings."""

from __future__ import annotations

import os
from typing import Any

from parallelize.console import escape
from parallelize.context import Context
from parallelize.lanes import steady_start
from parallelize.queues import Queues
from parallelize.setting_tables import AgentTable
from parallelize_core.config import AgentConfig, DrainSettings
from parallelize_core.errors import UsageError


def agent_config(context: Context, queues: Queues, *, watched: bool = False) -> AgentConfig:
    """Return the configuration of the run's agents. It holds no secrets.

    `watched` says that, for as long as a client watches the run, it starts workers for lanes in
    which jobs wait; a group that scales with the queue needs no client for that.
    """
    workers = context.settings.workers
    starts = watched or (workers.fleet == "persistent" and workers.autoscale)
    return AgentConfig(
        run=context.run,
        bucket=context.base.bucket,
        stack=context.names.stack,
        prefix=context.base.prefix,
        region=context.region,
        queue_url=queues.of(context.lane).url,
        dead_letter_queue_url=queues.dead.url,
        lane=context.lane,
        lane_queue_urls=queues.urls,
        steady_start=steady_start(workers, is_local=context.is_free) if starts else None,
        fleet=workers.fleet,
        slots=workers.slots,
        max_runtime_seconds=workers.max_hours * 3600 if workers.max_hours else None,
        shutdown=workers.shutdown,
        path=own_path() if context.is_free else "",
        root_setup=root_setup(context),
        max_cost_usd=workers.max_cost,
        metrics=workers.metrics,
        log_group=log_group(context),
        requester_pays=context.terms.requester_pays,
        kms_keys=dict(context.terms.kms_keys),
        drain=drain_settings(context.settings.agent),
        **_given(agent_settings(context.settings.agent)),
    )


def own_path() -> str:
    """Return the PATH of this shell; empty if it is not UTF-8, which JSON requires."""
    path = os.environ.get("PATH", "")
    return path if path.isprintable() else ""


def log_group(context: Context) -> str:
    """Return the log group for the agents' own log lines; empty for none."""
    named = context.settings.workers.log_group
    return context.names.log_group if named is None else named


def root_setup(context: Context) -> str:
    """Return the script to run as root on each machine; empty if there is none.

    Raises UsageError if a machine could not start it.
    """
    name = context.settings.workers.root_setup
    if name is None:
        return ""
    from parallelize.runs.environment.command_check import check_script  # noqa: PLC0415 - few do

    try:
        script = context.path(name).read_bytes()
        check_script(script, name)
        return script.decode()
    except OSError as error:
        raise UsageError(f"{escape(name)} cannot be read", error.strerror) from None
    except UnicodeDecodeError:
        raise UsageError(f"{escape(name)} is not text in UTF-8") from None


def agent_settings(table: AgentTable) -> dict[str, Any]:
    """Return the settings that have fields of their own in the configuration."""
    return {
        "lease_seconds": table.lease,
        "poll_seconds": table.poll,
        "heartbeat_seconds": table.heartbeat,
        "max_idle_seconds": table.max_idle,
        "max_outage_seconds": table.max_outage,
        "transfers": table.transfers,
        "disk_reserve_bytes": table.disk_reserve,
        "stop_grace_seconds": table.stop_grace,
    }


def drain_settings(table: AgentTable) -> DrainSettings:
    """Return the rules by which agents decide that an empty queue is really empty."""
    given = {
        "samples": table.drain_samples,
        "interval_seconds": table.drain_interval,
        "in_flight_margin_seconds": table.drain_margin,
    }
    return DrainSettings(**_given(given))


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
