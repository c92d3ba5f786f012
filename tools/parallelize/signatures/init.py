"""The parameters of `parallelize init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from parallelize.options import SWITCH, DryRun


def init(
    folder: Annotated[Path, Parameter(name="DIR", help="The folder; made if need be.")] = Path(),
    /,
    *,
    example: Annotated[
        bool, SWITCH, Parameter(help="With real inputs and a script that reads them.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Make parallelize.toml, a script and a folder for the inputs."""
    from parallelize.operations import init as command

    command.init(folder, example=example, dry_run=dry_run)
