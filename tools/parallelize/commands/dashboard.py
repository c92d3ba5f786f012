"""`parallelize dashboard`: the live view of a run in a browser, on this machine."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

from cyclopts import Parameter

from parallelize.console import answer, say
from parallelize.options import NOTHING, SWITCH, Common

ANY_PORT = 0


def dashboard(
    *,
    port: Annotated[int, Parameter(help="The loopback port; 0 chooses a free one.")] = ANY_PORT,
    open_: Annotated[
        bool, SWITCH, Parameter(name="--open", help="Open it in the browser.")
    ] = False,
    common: Common = NOTHING,
) -> None:
    """Show the run in a browser, on this machine only, until ctrl-C; print the address.

    It only reads. Only the address, which contains a token, opens the pages.
    """
    from parallelize.context import open_context
    from parallelize.operations import dashboard as operation

    context = open_context(common)
    if not operation.has_begun(context):
        say(f'there is no run "{context.run}" yet; the page will show it once it exists')
    with operation.listening(context, common, port) as server:
        url = f"{server.url}{context.run}/"
        answer(url)
        say("ctrl-C stops it; it reads the run only while a browser has the page open")
        with operation.door(url, say) if open_ else nullcontext():
            server.serve_forever()
