"""What a cost consists of, in words: each view says what is counted."""

from __future__ import annotations

from dataclasses import replace

from parallelize.runs.state.snapshot import Snapshot
from parallelize.units import show_usd
from parallelize_core.cost import Spent, spent
from parallelize_core.queue import BATCH

NOT_COUNTED = "storage in S3, data transfer, or requests from this machine"


def prepared_usd(snapshot: Snapshot) -> float:
    """Return what sending a run's inputs and messages has cost, by the built-in price table."""
    from parallelize.fleet.rates import shipped  # noqa: PLC0415 - most looks need no prices

    prices = shipped()
    sent_here = snapshot.run.shares_inputs or snapshot.run.input == snapshot.layout.input
    inputs = snapshot.total * prices.s3_write if sent_here else 0.0
    return inputs + snapshot.sent / BATCH * prices.sqs


def spent_on(snapshot: Snapshot) -> Spent:
    """Return what a run has cost; if its workers are free, so is everything else."""
    found = spent(snapshot.heartbeats)
    if not any(beat.charges for beat in snapshot.heartbeats):
        return found
    return replace(found, requests=found.requests + prepared_usd(snapshot))


def told_spent(spent: Spent) -> str:
    """Say what the money was spent on; workers of an older version report only their machines."""
    beside = {
        "addresses": spent.addresses, "disks": spent.disks, "requests": spent.requests,
        "metrics and log": spent.monitoring,
    }  # fmt: skip
    if not any(beside.values()):
        return "machines only"
    machines = f"machines {show_usd(spent.machines) if spent.machines else 'not known'}"
    return ", ".join([machines, *(f"{name} {show_usd(usd)}" for name, usd in beside.items())])
