"""`parallelize report`: the whole run on one page, to keep and to share."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from parallelize.console import answer, answer_json, say
from parallelize.options import NOTHING, SWITCH, Common, Json
from parallelize_core.errors import UsageError


def report(
    *,
    out: Annotated[
        Path | None, Parameter(help="The file to write. [default: NAME-report.html]")
    ] = None,
    open_: Annotated[
        bool, SWITCH, Parameter(name="--open", help="Open it in the browser.")
    ] = False,
    table: Annotated[
        Path | None,
        Parameter(help="Write all files to this .csv or .parquet file instead of a page."),
    ] = None,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Write one HTML page on the run: files, workers, times, failures, cost, provenance.

    The page needs no network, and can be written before the run has finished.
    """
    from parallelize.context import open_context
    from parallelize.operations import report as operation
    from parallelize.report.export import as_json
    from parallelize.report.table import check_form
    from parallelize.runs.record.ownership import tell_whose

    if (json or table) and (out or open_):
        flag = "--json" if json else "--table"
        raise UsageError(f"{flag} writes no page to open", None, "leave out --out and --open")
    if table:
        check_form(table)
    context = open_context(common)
    tell_whose(context)
    if json:
        answer_json(as_json(operation.make(context)))
    elif table:
        operation.write_files(context, table)
        answer(str(table))
    else:
        path = operation.write_report(context, out)
        answer(str(path))
        if open_ and not webbrowser.open(path.resolve().as_uri()):
            say("no browser could be started; open the file by hand")
