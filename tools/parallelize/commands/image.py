"""`parallelize image …`: build, list and prune the machine images of the workers."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from parallelize.console import DRY_RUN, answer, answer_json, confirm, say, show_plan
from parallelize.examples import epilogue
from parallelize.options import NOTHING, Common, DryRun, Json, Yes
from parallelize_core.errors import NothingToDoError

DEFAULT_BASE = "debian-13"
DEFAULT_ARCHITECTURE = "amd64"
DEFAULT_KEEP = 3

app = App(name="image", help="Build the workers' machine image.", help_epilogue=epilogue("image"))


@app.command(help_epilogue=epilogue("image build"))
def build(
    *,
    base: Annotated[
        str, Parameter(help="The image to start from: debian-13, ubuntu-24.04 or gpu.")
    ] = DEFAULT_BASE,
    architecture: Annotated[str, Parameter(help="amd64 or arm64.")] = DEFAULT_ARCHITECTURE,
    package: Annotated[
        tuple[str, ...],
        Parameter(help="A Debian package for the jobs; may be repeated.", show_default=False),
    ] = (),
    requirement: Annotated[
        tuple[str, ...],
        Parameter(help="A Python package for the jobs; may be repeated.", show_default=False),
    ] = (),
    source: Annotated[Path | None, Parameter(help="The checkout to build from.")] = None,
    dry_run: DryRun = False,
    common: Common = NOTHING,
) -> None:
    """Make an image with this version's agent; needs Packer. Prints the image's id."""
    from parallelize.context import open_context
    from parallelize.image import packer
    from parallelize_core.version import VERSION

    context = open_context(common)
    tags = context.settings.aws.tags
    request = packer.ImageRequest(
        VERSION, context.region, base, architecture, package, requirement, tags
    )
    tree = packer.find_source(source)
    with TemporaryDirectory(prefix="parallelize-image-") as out:
        plan = packer.plan_build(request, tree, Path(out))
        if dry_run:
            for line in plan.lines:
                answer(f"{DRY_RUN} {line}")
            return
        answer(packer.build(plan, packer.packer_environ(context)))


@app.command(name="list", help_epilogue=epilogue("image list"))
def list_(*, json: Json = False, common: Common = NOTHING) -> None:
    """List this account's images that contain an agent, newest first."""
    from parallelize.context import open_context
    from parallelize.image import catalog

    images = catalog.read_images(open_context(common).client("ec2"))
    if json:
        answer_json({"schema": catalog.SCHEMA, "images": [*map(catalog.record, images)]})
        return
    if not images:
        say("there is no image with an agent in this account and region\n"
            "make one: parallelize image build")  # fmt: skip
    for image in images:
        answer(catalog.line_of(image))


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
    from parallelize.context import open_context
    from parallelize.image import catalog
    from parallelize.units import plural

    ec2 = open_context(common).client("ec2")
    images = catalog.read_images(ec2)
    gone = catalog.plan_prune(images, keep)
    if not gone:
        raise NothingToDoError(
            f"no image to delete: {plural(len(images), 'image')} in all",
            f"the newest {keep} of each base and architecture stay, and those in use",
        )
    if dry_run:
        show_plan(f"would delete {catalog.line_of(image)}" for image in gone)
        return
    for image in gone:
        say(f"delete {catalog.line_of(image)}")
    confirm(f"Delete {plural(len(gone), 'image')}?", yes=yes)
    for image in gone:
        catalog.delete_image(ec2, image)
        answer(image.id)
