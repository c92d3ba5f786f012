"""The parameters of `parallelize download`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from parallelize.options import NOTHING, Common, DryRun, Json


def download(
    folder: Annotated[Path, Parameter(name="DIR", help="Where the outputs go.")],
    /,
    *,
    dry_run: DryRun = False,
    json: Json = False,
    common: Common = NOTHING,
) -> int:
    """Fetch the outputs of all finished jobs, keeping the input folder structure."""
    from parallelize.operations import download as command

    return command.download(folder, dry_run=dry_run, json=json, common=common)
