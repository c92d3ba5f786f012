"""The parameters of `parallelize doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from parallelize.options import NOTHING, SWITCH, Common, Json, Yes


def doctor(
    *,
    vcpus: Annotated[
        int | None,
        Parameter(
            name="--request-quota",
            help="Ask AWS for N vCPUs in the market of the settings.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, SWITCH, Parameter(help="With --request-quota or --live: say what would be done.")
    ] = False,
    live: Annotated[
        bool, SWITCH, Parameter(help="Try what no emulator shows; at most $0.001. Asks first.")
    ] = False,
    machine: Annotated[
        bool, SWITCH, Parameter(help="With --live: one small machine's life; at most $0.01.")
    ] = False,
    transcript: Annotated[
        Path | None, Parameter(help="With --live: where its calls are written down.")
    ] = None,
    yes: Yes = False,
    json: Json = False,
    common: Common = NOTHING,
) -> int:
    """Check credentials, region, clock, stack, image, quota, network, permissions, leftovers.

    With --local: whether the local cloud runs, its image, and what is left in it.
    With --live: make things on the account under a random name, use them, delete
    them, and say what is left.
    """
    from parallelize.operations import doctor as command

    return command.doctor(
        vcpus=vcpus,
        dry_run=dry_run,
        live=live,
        machine=machine,
        transcript=transcript,
        yes=yes,
        json=json,
        common=common,
    )
