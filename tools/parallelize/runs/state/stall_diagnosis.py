"""Why a run stands still, if EC2 knows more than the workers' heartbeats say.

A machine that is booting, one that was taken away, and a group that AWS gives no machines look the
same: nobody writes a heartbeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from parallelize.console import escape, shown
from parallelize.context import Context
from parallelize.fleet import group as groups
from parallelize.fleet import instances
from parallelize.fleet.clients import ComputeClients
from parallelize.fleet.instances import HUNG_SECONDS, Machine, hung
from parallelize.runs.state.status import RunStatus
from parallelize.units import plural, show_duration
from parallelize_core.errors import ParallelizeError
from parallelize_core.heartbeat import WorkerState
from parallelize_core.names import Names
from parallelize_core.pause import HELD_PROCESSES

BOOT_SECONDS = 10 * 60
"""A machine that has not reported by then is no longer booting, not even from a stock image."""


def with_stall_diagnosis(context: Context, status: RunStatus) -> RunStatus:
    """Ask EC2 why the run stands still, if it knows and this user may ask it."""
    try:
        clients = ComputeClients.make(context.session)
    except ParallelizeError as error:
        return _without_ec2(status, error)
    return told_by_ec2(clients, context.names, status)


def told_by_ec2(clients: ComputeClients, names: Names, status: RunStatus) -> RunStatus:
    """Do the same with existing clients."""
    try:
        told = explain(clients, names, status)
    except ParallelizeError as error:
        return _without_ec2(status, error)
    return replace(status, why=told) if told else status


def _without_ec2(status: RunStatus, error: ParallelizeError) -> RunStatus:
    return replace(status, why=f"{status.why}; EC2 cannot tell more: {error.what}")


def explain(clients: ComputeClients, names: Names, status: RunStatus) -> str | None:
    """Say in one sentence what keeps the run's machines from working, None if that is not known."""
    known = instances.find(clients.ec2, names, instances.KNOWN)
    machines = {one.id: one for one in known if one.state in instances.LIVE}
    gone = [worker.id for worker in status.workers if worker.overdue and worker.id not in machines]
    if gone:
        return _gone(gone)
    beats = [worker.beat for worker in status.workers if worker.id in machines]
    heard = [machines[beat.worker] for beat in beats]
    if hanging := hung(heard, beats, status.taken_at):
        return _hanging(hanging)
    if status.alive:
        return None
    reported = {worker.id for worker in status.workers}
    billed = [machine for machine in machines.values() if machine.state in instances.BILLED]
    lost = [one for one in known if one.ended_by_ec2 and one.id not in reported]
    if silent := [machine for machine in billed if machine.id not in reported]:
        told = _silent(silent, status.taken_at)
        # A group replaces machines that EC2 ends, and the new ones end as well.
        return f"{told}; {_lost(lost)}" if lost else told
    return _group(clients, names, status) or (_lost(lost) if lost else None)


def _lost(machines: Sequence[Machine]) -> str:
    """Say that EC2 ended machines before their first heartbeat."""
    latest = machines[-1]
    who = plural(len(machines), "machine")
    return f"EC2 ended {who} before the first heartbeat: {latest.id}, {escape(latest.reason)}"


def _gone(workers: list[str]) -> str:
    who = (
        f"worker {shown(workers[0], 30)} is" if len(workers) == 1 else f"{len(workers)} workers are"
    )
    return f"{who} gone without a last heartbeat; other workers get the files within a lease"


def _hanging(machines: Sequence[Machine]) -> str:
    who = "machine hangs" if len(machines) == 1 else "machines hang"
    return (
        f"{len(machines)} {who}, silent for over {HUNG_SECONDS // 60} minutes: "
        f"{machines[0].id}; parallelize scale N replaces hanging machines"
    )


def _silent(machines: list[Machine], now: float) -> str:
    first = machines[0]
    seconds = now - first.launched.timestamp()
    if seconds < BOOT_SECONDS:
        verb = "boots" if len(machines) == 1 else "boot"
        return f"{plural(len(machines), 'machine')} {verb}, for {show_duration(seconds)} so far"
    return (
        f"machine {first.id} never reported in {show_duration(seconds)}; its console:\n"
        f"  aws ec2 get-console-output --latest --instance-id {first.id}"
    )


def _group(clients: ComputeClients, names: Names, status: RunStatus) -> str | None:
    for group in groups.find_of_run(clients.autoscaling, names):
        if set(HELD_PROCESSES) & set(group.suspended):
            return _held(status)
        if refusal := groups.last_refusal(clients.autoscaling, group.name):
            return f"AWS starts no worker for its fleet: {escape(refusal)}"
    return None


def _held(status: RunStatus) -> str:
    failed = [worker.beat for worker in status.workers if worker.beat.state is WorkerState.FAILED]
    if not failed:
        return "its fleet is held and starts no workers; to resume it: parallelize scale N"
    words = escape(max(failed, key=lambda beat: beat.last_seen).reason) or "no reason"
    return f"its fleet is held because its last worker failed: {words}; then: parallelize scale N"
