"""`parallelize config …`: every setting, its value, and where it came from."""

from __future__ import annotations

from cyclopts import App

from parallelize.console import answer, answer_json
from parallelize.examples import epilogue
from parallelize.options import NOTHING, Common, Json

app = App(name="config", help="Show the settings.", help_epilogue=epilogue("config"))


@app.command(help_epilogue=epilogue("config show"))
def show(*, json: Json = False, common: Common = NOTHING) -> None:
    """Print each setting, its value, and where it came from."""
    from parallelize.context import open_context
    from parallelize.operations import config as operation

    context = open_context(common)
    rows = operation.rows(context.resolved, context.run)
    if json:
        answer_json({"schema": 1, "settings": rows})
        return
    for line in operation.listing(rows):
        answer(line)
