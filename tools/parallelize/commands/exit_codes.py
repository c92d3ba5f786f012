"""`parallelize help exit-codes`."""

from __future__ import annotations

from cyclopts import App

from parallelize.console import answer
from parallelize.examples import epilogue

EXIT_CODES = {
    0: "success",
    1: "some files failed or produced no output, or an output was not written here",
    2: "usage, configuration or input is wrong",
    3: "nothing to do",
    4: "credentials or permission",
    5: "quota or capacity",
    6: "AWS cannot be reached, or keeps throttling",
    7: "a budget or a time limit is reached",
    130: "interrupted with ctrl-C; workers on AWS go on",
}

app = App(name="help", help="Explain a topic: exit-codes.", help_epilogue=epilogue("help"))


@app.command(name="exit-codes", help_epilogue=epilogue("help exit-codes"))
def exit_codes() -> None:
    """Print what each exit code means."""
    for code, meaning in EXIT_CODES.items():
        answer(f"{code:>3}  {meaning}")
