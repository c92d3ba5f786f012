"""The parameters of `parallelize config …`."""

from __future__ import annotations

from cyclopts import App

from parallelize.examples import epilogue
from parallelize.options import NOTHING, Common, Json

app = App(name="config", help="Show the settings.", help_epilogue=epilogue("config"))


@app.command(help_epilogue=epilogue("config show"))
def show(*, json: Json = False, common: Common = NOTHING) -> None:
    """Print each setting, its value, and where it came from."""
    from parallelize.operations import config

    config.show(json=json, common=common)
