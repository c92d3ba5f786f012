"""`parallelize local …`: the local cloud for a whole shell session, and accidents on demand."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from parallelize.completers import complete_machine
from parallelize.console import answer, answer_json, escape, say
from parallelize.examples import epilogue
from parallelize.local.disk import DEFAULT_QUOTA_BYTES
from parallelize.options import Json

GB = 10**9
ANY_PORT = 0

MachineId = Annotated[
    str, Parameter(help="Its id, as `local status` shows it.", completer=complete_machine)
]

app = App(
    name="local",
    help="Run S3, SQS and EC2 here; nothing is sent to AWS.",
    help_epilogue=epilogue("local"),
)


@app.command(help_epilogue=epilogue("local start"))
def start(
    *,
    port: Annotated[
        int, Parameter(help="The loopback port; 0 chooses the previous one, or a free one.")
    ] = ANY_PORT,
    quota: Annotated[float, Parameter(help="How many GB its files may use.")] = DEFAULT_QUOTA_BYTES
    / GB,
) -> None:
    """Start the local cloud; print the lines that point a shell to it.

    Use it as: eval "$(parallelize local start)"
    """
    from parallelize.operations import local

    for line in local.exports(local.start(port=port, quota_bytes=int(quota * GB))):
        answer(line)
    say(f"{local.NOT_AWS}\nstop it with: parallelize local stop")


@app.command(help_epilogue=epilogue("local stop"))
def stop() -> None:
    """Stop the local cloud. Its machines end; its files and queues stay for the next start."""
    from parallelize.operations import local

    if local.stop():
        say("the local cloud has stopped; `parallelize local start` brings its runs back")
    else:
        say("no local cloud is running")


@app.command(help_epilogue=epilogue("local status"))
def status(*, json: Json = False) -> None:
    """Show whether the local cloud runs, and its machines."""
    from parallelize.operations import local

    found = local.look()
    if json:
        answer_json(found.as_json())
        return
    for line in found.lines():
        answer(line)


@app.command(help_epilogue=epilogue("local interrupt"))
def interrupt(
    machine: MachineId,
    *,
    seconds: Annotated[float, Parameter(help="Seconds from the notice to the power cut.")] = 120.0,
) -> None:
    """Give a machine a spot notice."""
    from parallelize.operations.local import running_cloud

    running_cloud().interrupt(machine, seconds)
    say(f"{escape(machine)} has its spot notice, and loses power in {seconds:g} s")


@app.command(help_epilogue=epilogue("local kill"))
def kill(machine: MachineId) -> None:
    """Cut the power of a machine, without a notice."""
    from parallelize.operations.local import running_cloud

    running_cloud().kill(machine)
    say(f"{escape(machine)} has lost its power")
