"""The parameters of `parallelize report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from parallelize.options import NOTHING, SWITCH, Common, Json


def report(
    *,
    out: Annotated[
        Path | None, Parameter(help="The file to write. [default: NAME-report.html, here]")
    ] = None,
    open_: Annotated[
        bool, SWITCH, Parameter(name="--open", help="Show it in the browser.")
    ] = False,
    table: Annotated[
        Path | None,
        Parameter(help="Write all files to this .csv or .parquet file instead of a page."),
    ] = None,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Write one HTML page on the run: files, workers, times, failures, cost, provenance.

    It needs no network to be read. While the run goes on, it tells how far it is.
    """
    from parallelize.operations import report as command

    command.report(out=out, open_=open_, table=table, json=json, common=common)
