"""The parameters of `parallelize dashboard`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.options import NOTHING, SWITCH, Common

ANY_PORT = 0


def dashboard(
    *,
    port: Annotated[int, Parameter(help="The loopback port; 0 takes a free one.")] = ANY_PORT,
    open_: Annotated[
        bool, SWITCH, Parameter(name="--open", help="Show it in the browser.")
    ] = False,
    common: Common = NOTHING,
) -> None:
    """Show the run in a browser, on this machine only, until ctrl-C; print the address.

    It shows, and changes nothing. The address has a token, without which nobody
    can read.
    """
    from parallelize.operations import dashboard as command

    command.dashboard(port=port, open_=open_, common=common)
