"""The parameters of `parallelize runs`."""

from __future__ import annotations

from parallelize.options import NOTHING, Common, Json


def runs(*, json: Json = False, common: Common = NOTHING) -> None:
    """List the runs of the bucket, the newest first, and whether anybody works on them.

    It reads no results: done and failed are what the workers say, `status` counts
    exactly.
    """
    from parallelize.operations import runs as command

    command.runs(json=json, common=common)
