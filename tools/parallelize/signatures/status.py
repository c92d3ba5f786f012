"""The parameters of `parallelize status`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.options import NOTHING, SWITCH, Common, Json


def status(
    *,
    watch_: Annotated[
        bool, SWITCH, Parameter(name="--watch", help="Go on until every file has a result.")
    ] = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Show how many files are done, running, waiting and failed, and what the workers do.

    With --watch --json, each look is a line of JSON.
    """
    from parallelize.operations import status as command

    command.status(watch_=watch_, json=json, common=common)
