"""The parameters of `parallelize explain`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from parallelize.completers import complete_file
from parallelize.options import NO_WORK, NOTHING, Common, Json, Work


def explain(
    file: Annotated[
        str,
        Parameter(name="FILE", help="An input, or the end of its key.", completer=complete_file),
    ],
    /,
    *,
    work: Work = NO_WORK,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Say whether a file's outputs are up to date, and which part differs if they are not."""
    from parallelize.operations import explain as command

    command.explain(file, work=work, json=json, common=common)
