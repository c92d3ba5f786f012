"""The parameters of `parallelize kill`."""

from __future__ import annotations

from parallelize.options import NOTHING, Common, DryRun, Json


def kill(*, dry_run: DryRun = False, json: Json = False, common: Common = NOTHING) -> None:
    """End the run's workers now. Files in work go back to the queue within a lease.

    Nothing that does not carry the run's tag is touched. It may be repeated.
    """
    from parallelize.operations import kill as command

    command.kill(dry_run=dry_run, json=json, common=common)
