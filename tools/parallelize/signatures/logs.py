"""The parameters of `parallelize logs`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.completers import complete_file
from parallelize.options import NOTHING, SWITCH, Common, Json


def logs(
    file: Annotated[
        str | None, Parameter(help="The input: its key, or the end of it.", completer=complete_file)
    ] = None,
    *,
    setup: Annotated[
        bool, SWITCH, Parameter(help="What the set-up has printed on each worker instead.")
    ] = False,
    attempt: Annotated[int | None, Parameter(help="Only this attempt, counted from 1.")] = None,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Print the record and the log of every attempt at a file."""
    from parallelize.operations import logs as command

    command.logs(file, setup=setup, attempt=attempt, json=json, common=common)
