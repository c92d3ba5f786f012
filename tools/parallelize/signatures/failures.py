"""The parameters of `parallelize failures`."""

from __future__ import annotations

from parallelize.options import NOTHING, Common, Json


def failures(*, json: Json = False, common: Common = NOTHING) -> None:
    """List the files that failed, grouped by how they ended; tell of those without an output."""
    from parallelize.operations import failures as command

    command.failures(json=json, common=common)
