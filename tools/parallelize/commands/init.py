"""`parallelize init`: make a new project folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from parallelize.console import answer, escape, say, show_plan
from parallelize.options import SWITCH, DryRun


def init(
    folder: Annotated[Path, Parameter(name="DIR", help="The folder; created if missing.")] = Path(),
    /,
    *,
    example: Annotated[
        bool, SWITCH, Parameter(help="Include real inputs and a script that reads them.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Make parallelize.toml, a script and a folder for the inputs."""
    from parallelize.operations import init as operation

    contents = operation.contents_for(folder, example=example)
    if dry_run:
        show_plan(f"would write {escape(str(folder / name))}" for name in contents)
        return
    operation.make(folder, contents, example=example)
    where = "" if folder == Path() else f"cd {escape(str(folder))} && "
    say("next:" if example else "next: put files into inputs/, then:")
    say(f"  {where}parallelize run --local")
    answer(str(folder / "parallelize.toml"))
