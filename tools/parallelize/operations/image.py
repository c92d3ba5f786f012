"""`parallelize image …`: make the machine image of the workers, list and tidy those there are."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from parallelize.console import DRY_RUN, answer, answer_json, escape, say
from parallelize.context import Context, open_context
from parallelize.image import catalog, packer
from parallelize.image.catalog import WorkerImage
from parallelize.image.packer import ImageRequest
from parallelize.operations.clean import confirm
from parallelize.options import NOTHING, Common
from parallelize.units import plural
from parallelize_core.errors import NothingToDoError
from parallelize_core.version import VERSION

SCHEMA = 1


def build(  # noqa: PLR0913 - each is a flag of its own
    *,
    base: str,
    architecture: str,
    package: tuple[str, ...] = (),
    requirement: tuple[str, ...] = (),
    source: Path | None = None,
    dry_run: bool = False,
    common: Common = NOTHING,
) -> None:
    """Make an image with this version's agent; needs Packer. Prints the image's id."""
    context = open_context(common)
    request = ImageRequest(
        VERSION, context.region, base, architecture, package, requirement, context.settings.aws.tags
    )
    tree = packer.find_source(source)
    with TemporaryDirectory(prefix="parallelize-image-") as out:
        plan = packer.plan_build(request, tree, Path(out))
        if dry_run:
            for line in plan.lines:
                answer(f"{DRY_RUN} {line}")
            return
        answer(packer.build(plan, packer_environ(context)))


def packer_environ(context: Context) -> dict[str, str]:
    """Return this process's environment, with the profile and region of the settings."""
    profile = context.settings.aws.profile
    return {
        **os.environ,
        "AWS_REGION": context.region,
        **({"AWS_PROFILE": profile} if profile else {}),
    }


def list_(*, json: bool = False, common: Common = NOTHING) -> None:
    """List this account's images that have an agent inside, the newest first."""
    images = catalog.read_images(open_context(common).client("ec2"))
    if json:
        answer_json({"schema": SCHEMA, "images": [record(image) for image in images]})
        return
    if not images:
        say("there is no image with an agent in this account and region\n"
            "make one: parallelize image build")  # fmt: skip
    for image in images:
        answer(line_of(image))


def prune(*, keep: int, dry_run: bool = False, yes: bool = False, common: Common = NOTHING) -> None:
    """Delete old images and their snapshots; never one that a template or machine uses."""
    ec2 = open_context(common).client("ec2")
    images = catalog.read_images(ec2)
    gone = catalog.plan_prune(images, keep)
    if not gone:
        raise NothingToDoError(
            f"no image to delete: {plural(len(images), 'image')} in all",
            f"the newest {keep} of each base and architecture stay, and those in use",
        )
    for image in gone:
        say(f"{DRY_RUN} would delete {line_of(image)}" if dry_run else f"delete {line_of(image)}")
    if dry_run:
        return
    confirm(f"Delete {plural(len(gone), 'image')}?", yes=yes)
    for image in gone:
        catalog.delete_image(ec2, image)
        answer(image.id)


def line_of(image: WorkerImage) -> str:
    """Return an image in one line."""
    used = f"used by {len(image.users)}" if image.users else ""
    words = (image.id, image.created[:10], escape(image.version), escape(image.base),
             image.architecture, used)  # fmt: skip
    return "  ".join(word for word in words if word)


def record(image: WorkerImage) -> dict[str, object]:
    """Return an image as a machine may read it."""
    return {
        "id": image.id,
        "created": image.created,
        "version": image.version,
        "base": image.base,
        "architecture": image.architecture,
        "users": list(image.users),
    }
