"""The parameters of `parallelize local …`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from parallelize.completers import complete_machine
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
        int, Parameter(help="The loopback port; 0 takes the last one, or a free one.")
    ] = ANY_PORT,
    quota: Annotated[
        float, Parameter(help="How many GB its files may take together.")
    ] = DEFAULT_QUOTA_BYTES / GB,
) -> None:
    """Start it, and print what leads a shell to it: eval "$(parallelize local start)"."""
    from parallelize.operations import local

    local.start(port=port, quota_bytes=int(quota * GB))


@app.command(help_epilogue=epilogue("local stop"))
def stop() -> None:
    """Stop it; its machines are gone, and its files and queues are there at the next start."""
    from parallelize.operations import local

    local.stop()


@app.command(help_epilogue=epilogue("local status"))
def status(*, json: Json = False) -> None:
    """Show whether it runs, and its machines."""
    from parallelize.operations import local

    local.status(json=json)


@app.command(help_epilogue=epilogue("local interrupt"))
def interrupt(
    machine: MachineId,
    *,
    seconds: Annotated[float, Parameter(help="How long it has until it is taken.")] = 120.0,
) -> None:
    """Give a machine a spot notice."""
    from parallelize.operations import local

    local.interrupt(machine, seconds=seconds)


@app.command(help_epilogue=epilogue("local kill"))
def kill(machine: MachineId) -> None:
    """Pull a machine's plug."""
    from parallelize.operations import local

    local.kill(machine)
