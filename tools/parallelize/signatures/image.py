"""The parameters of `parallelize image …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from parallelize.examples import epilogue
from parallelize.options import NOTHING, Common, DryRun, Json, Yes

DEFAULT_BASE = "debian-13"
DEFAULT_ARCHITECTURE = "amd64"
DEFAULT_KEEP = 3

app = App(name="image", help="Make the workers' machine image.", help_epilogue=epilogue("image"))


@app.command(help_epilogue=epilogue("image build"))
def build(
    *,
    base: Annotated[
        str, Parameter(help="The image to start from: debian-13, ubuntu-24.04 or gpu.")
    ] = DEFAULT_BASE,
    architecture: Annotated[str, Parameter(help="amd64 or arm64.")] = DEFAULT_ARCHITECTURE,
    package: Annotated[
        tuple[str, ...],
        Parameter(help="A Debian package for the jobs; repeat it.", show_default=False),
    ] = (),
    requirement: Annotated[
        tuple[str, ...],
        Parameter(help="A Python package for the jobs; repeat it.", show_default=False),
    ] = (),
    source: Annotated[Path | None, Parameter(help="The checkout to build from.")] = None,
    dry_run: DryRun = False,
    common: Common = NOTHING,
) -> None:
    """Make an image with this version's agent; needs Packer. Prints the image's id."""
    from parallelize.operations import image

    image.build(
        base=base,
        architecture=architecture,
        package=package,
        requirement=requirement,
        source=source,
        dry_run=dry_run,
        common=common,
    )


@app.command(name="list", help_epilogue=epilogue("image list"))
def list_(*, json: Json = False, common: Common = NOTHING) -> None:
    """List this account's images that have an agent inside, the newest first."""
    from parallelize.operations import image

    image.list_(json=json, common=common)


@app.command(help_epilogue=epilogue("image prune"))
def prune(
    *,
    keep: Annotated[
        int, Parameter(help="How many of each kind to keep.", validator=Number(gte=1))
    ] = DEFAULT_KEEP,
    dry_run: DryRun = False,
    yes: Yes = False,
    common: Common = NOTHING,
) -> None:
    """Delete old images and their snapshots; never one that a template or machine uses."""
    from parallelize.operations import image

    image.prune(keep=keep, dry_run=dry_run, yes=yes, common=common)
