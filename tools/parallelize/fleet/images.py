"""Which machine image workers start from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from parallelize.console import escape
from parallelize.fleet import tags
from parallelize.fleet.distributions import distribution, is_stock
from parallelize.fleet.facts import Image
from parallelize_core.aws_errors import translated
from parallelize_core.errors import UsageError

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client
    from types_boto3_ssm import SSMClient

AUTO = "auto"
SSM = "ssm:"
_IMAGE_ID = re.compile(r"ami-[0-9a-f]{8,}")


def find_image(
    ec2: EC2Client, ssm: SSMClient, wanted: str, architecture: str = "x86_64"
) -> Image | None:
    """Return the image that `wanted` means, or None if there is none.

    "auto" is the account's newest image with an agent; "stock" and what begins with "stock:" a
    vendor's newest for the architecture; "ami-…" is that image; "ssm:NAME" the one that an SSM
    parameter names. Raises UsageError for anything else, and for an id of no image.
    """
    if wanted == AUTO:
        return newest(ec2, architecture)
    if is_stock(wanted):
        wanted = SSM + distribution(wanted).parameters[architecture]
    if wanted.startswith(SSM):
        wanted = _parameter(ssm, wanted.removeprefix(SSM))
    if not _IMAGE_ID.fullmatch(wanted):
        raise UsageError(
            f'"{wanted}" does not name an image',
            fix='workers.ami = "auto", "stock", "stock:ubuntu", "stock:amazon", "ami-…"\n'
            '     or "ssm:NAME"',
        )
    return by_id(ec2, wanted)


@translated("Systems Manager")
def _parameter(ssm: SSMClient, name: str) -> str:
    try:
        return ssm.get_parameter(Name=name)["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        raise UsageError(
            f"there is no SSM parameter {escape(name)} in this region",
            fix="parallelize image list, or another --ami",
        ) from None


@translated("EC2")
def newest(ec2: EC2Client, architecture: str) -> Image | None:
    """Return the account's newest image that has an agent inside; one that fits if there is one."""
    # Only our own: anybody may publish an image with this tag. One that is still being made can
    # be seen, too, but not started from.
    filters = {"tag-key": tags.VERSION, "state": "available"}
    answer = ec2.describe_images(
        Owners=["self"],
        Filters=[{"Name": name, "Values": [value]} for name, value in filters.items()],
    )
    images = sorted(answer["Images"], key=lambda image: image.get("CreationDate", ""))
    found = [_image(image) for image in images]
    fitting = [image for image in found if image.architecture == architecture]
    return next(reversed(fitting or found), None)


@translated("EC2")
def by_id(ec2: EC2Client, image_id: str) -> Image:
    """Return an image by its id; raise UsageError if there is none to be seen."""
    # A filter, because DescribeImages fails for an id that it does not know.
    found = ec2.describe_images(Filters=[{"Name": "image-id", "Values": [image_id]}])["Images"]
    if not found:
        raise UsageError(
            f"there is no image {image_id} in this region that this account may use",
            fix="parallelize image list",
        )
    return _image(found[0])


def _image(found: Any) -> Image:
    return Image(
        id=found["ImageId"],
        architecture=found.get("Architecture", "x86_64"),
        root_device=found.get("RootDeviceName", "/dev/xvda"),
        version=tags.as_dict(found.get("Tags")).get(tags.VERSION, ""),
        created=found.get("CreationDate", "")[:10],
        root_gib=_root_gib(found),
    )


def _root_gib(found: Any) -> int:
    root = found.get("RootDeviceName")
    mappings = found.get("BlockDeviceMappings", ())
    sizes = [one["Ebs"].get("VolumeSize", 0) for one in mappings
             if one.get("DeviceName") == root and "Ebs" in one]  # fmt: skip
    return max(sizes, default=0)
