"""Finds the machine image that workers start from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
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
AWS_PARAMETERS = "/aws/"
"""Only AWS can write parameters with this prefix."""

SELF = "self"
_IMAGE_ID = re.compile(r"ami-[0-9a-f]{8,}")
_OUR_NAME = re.compile(r"parallelize-(?P<version>[^-]+)-")
"""The names that `image build` gives to images (packer/worker.pkr.hcl)."""


@dataclass(frozen=True)
class Owners:
    """Whose images are accepted: our `account`'s, and those of one other named in the settings."""

    account: str
    other: str = SELF

    def check(self, found: Any) -> None:
        """Raise UsageError for anybody else's image: it would run with our role."""
        owner, alias = found.get("OwnerId", ""), found.get("ImageOwnerAlias", "")
        if owner in {self.account, self.other} or (alias and alias == self.other):
            return
        raise UsageError(
            f"image {found['ImageId']} belongs to account {owner}{f' ({alias})' * bool(alias)}",
            "its programs would run with the role of your workers",
            f'if you trust that account: workers.ami_owner = "{owner}"',
        )


def find_images(
    ec2: EC2Client,
    ssm: SSMClient,
    wanted: str,
    architectures: Sequence[str],
    owners: Owners | None = None,
) -> tuple[Image, ...]:
    """Return an image for each architecture that has one, in the order given.

    `wanted` is as in `find_image`, or a comma-separated list. If no image fits any of the
    architectures, the images that exist are returned.
    """
    found: dict[str, Image] = {}
    for name in (part.strip() for part in wanted.split(",")):
        # An id or a parameter always names exactly one image.
        asked = architectures if name == AUTO or is_stock(name) else architectures[:1]
        for architecture in asked:
            if image := find_image(ec2, ssm, name, architecture, owners):
                found.setdefault(image.architecture, image)
    fitting = tuple(found[one] for one in architectures if one in found)
    return fitting or tuple(found.values())


def find_image(
    ec2: EC2Client,
    ssm: SSMClient,
    wanted: str,
    architecture: str = "x86_64",
    owners: Owners | None = None,
) -> Image | None:
    """Return the image that `wanted` names, or None if there is none.

    "auto" is the newest image with an agent, of this account or of the owner named in the
    settings; "stock", or anything that begins with "stock:", is a vendor's newest for the
    architecture; "ami-…" is that image; "ssm:NAME" is the image that an SSM parameter names.
    Raises UsageError for anything else, for an unknown image id, and for an image whose owner is
    not among the `owners`.
    """
    if wanted == AUTO:
        return newest(ec2, architecture, owners.other if owners else SELF)
    if is_stock(wanted):
        wanted = SSM + distribution(wanted).parameters[architecture]
    if wanted.startswith(SSM):
        parameter = wanted.removeprefix(SSM)
        wanted = _parameter(ssm, parameter)
        owners = None if parameter.startswith(AWS_PARAMETERS) else owners
    if not _IMAGE_ID.fullmatch(wanted):
        raise UsageError(
            f'"{wanted}" does not name an image',
            fix='workers.ami = "auto", "stock", "stock:ubuntu", "stock:amazon", "ami-…"\n'
            '     or "ssm:NAME"',
        )
    return by_id(ec2, wanted, owners)


@translated("Systems Manager")
def _parameter(ssm: SSMClient, name: str) -> str:
    try:
        return ssm.get_parameter(Name=name)["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        raise UsageError(
            f"there is no SSM parameter {escape(name)} in this region",
            fix="parallelize image list   shows yours; or choose another --ami",
        ) from None


@translated("EC2")
def newest(ec2: EC2Client, architecture: str, owner: str = SELF) -> Image | None:
    """Return the owner's newest image with an agent inside, preferably of this architecture."""
    # Only one owner's images: anybody may publish an image with this tag or name. An image that is
    # still being made is visible but not usable. Tags are not shared along with an image.
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/sharingamis-explicit.html
    ours = {"tag-key": tags.VERSION} if owner == SELF else {"name": "parallelize-*"}
    filters = {**ours, "state": "available"}
    answer = ec2.describe_images(
        Owners=[owner],
        Filters=[{"Name": name, "Values": [value]} for name, value in filters.items()],
    )
    images = sorted(answer["Images"], key=lambda image: image.get("CreationDate", ""))
    found = [_image(image) for image in images]
    fitting = [image for image in found if image.architecture == architecture]
    return next(reversed(fitting or found), None)


@translated("EC2")
def by_id(ec2: EC2Client, image_id: str, owners: Owners | None = None) -> Image:
    """Return an image by its id; raise UsageError if it is not visible, or foreign."""
    # A filter, because DescribeImages fails for an unknown id.
    found = ec2.describe_images(Filters=[{"Name": "image-id", "Values": [image_id]}])["Images"]
    if not found:
        raise UsageError(
            f"there is no image {image_id} in this region that this account may use",
            fix="parallelize image list   shows yours",
        )
    if owners:
        owners.check(found[0])
    return _image(found[0])


def _image(found: Any) -> Image:
    named = _OUR_NAME.match(found.get("Name", ""))
    version = named["version"] if named else ""
    return Image(
        id=found["ImageId"],
        architecture=found.get("Architecture", "x86_64"),
        root_device=found.get("RootDeviceName", "/dev/xvda"),
        version=tags.as_dict(found.get("Tags")).get(tags.VERSION, version),
        created=found.get("CreationDate", "")[:10],
        root_gib=_root_gib(found),
    )


def _root_gib(found: Any) -> int:
    root = found.get("RootDeviceName")
    mappings = found.get("BlockDeviceMappings", ())
    sizes = [one["Ebs"].get("VolumeSize", 0) for one in mappings
             if one.get("DeviceName") == root and "Ebs" in one]  # fmt: skip
    return max(sizes, default=0)
