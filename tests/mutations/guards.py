"""All guards, in the order of docs/protocol.md."""

from __future__ import annotations

from tests.mutations import (
    changes,
    checkpoints,
    faults,
    lanes,
    leases,
    life,
    merge,
    read_once,
    results,
    safety,
    shared_inputs,
    stored_once,
)  # fmt: skip

MUTATIONS = (
    *leases.MUTATIONS,
    *results.MUTATIONS,
    *faults.MUTATIONS,
    *life.MUTATIONS,
    *merge.MUTATIONS,
    *read_once.MUTATIONS,
    *changes.MUTATIONS,
    *checkpoints.MUTATIONS,
    *lanes.MUTATIONS,
    *stored_once.MUTATIONS,
    *shared_inputs.MUTATIONS,
)

SAFETY = safety.MUTATIONS
"""Those of docs/safety.md, which names more tests than there are guards here."""

SURVIVED_TOGETHER = (
    "own-up",
    "result-before-claim-drop",
    "renewal-from-request",
    "parked-before-delete",
    "fresh-before-delete",
    "lease-before-fresh-message",
    "result-before-dead-letter",
    "lease-kept-until-delete",
    "keeper-outlives-acknowledger",
    "expiry-after-each-call",
    "clock-skew",
)
"""Could once all be broken at the same time, and no test of the first engine noticed."""
