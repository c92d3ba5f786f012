"""The account's images: all, those in use, and those that may be deleted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from parallelize.console import escape, say
from parallelize.fleet import tags
from parallelize_core.aws_errors import translated
from parallelize_core.outlast import USED_SNAPSHOT, outlast

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client

SCHEMA = 1

BASE_TAG = "parallelize:base"

LIVE_STATES = ["pending", "running", "stopping", "stopped", "shutting-down"]


@dataclass(frozen=True)
class WorkerImage:
    """An image with an agent inside; `created` is ISO 8601, `users` lists what starts from it."""

    id: str
    created: str
    version: str
    base: str
    architecture: str
    snapshots: tuple[str, ...] = ()
    users: tuple[str, ...] = ()

    @property
    def kind(self) -> tuple[str, str]:
        """What must be equal for one image to replace another."""
        return self.base, self.architecture


@translated("EC2")
def read_images(ec2: EC2Client) -> list[WorkerImage]:
    """Return the account's own images that have an agent inside, newest first."""
    filters: list[Any] = [{"Name": "tag-key", "Values": [tags.VERSION]}]
    answer = ec2.describe_images(Owners=["self"], Filters=filters)
    users = read_users(ec2)
    images = [_image(found, users) for found in answer["Images"]]
    return sorted(images, key=lambda image: (image.created, image.id), reverse=True)


@translated("EC2")
def read_users(ec2: EC2Client) -> dict[str, list[str]]:
    """Return, for each image, the launch templates and instances that start from it."""
    users = defaultdict(list)
    for page in ec2.get_paginator("describe_launch_templates").paginate():
        for template in page["LaunchTemplates"]:
            for image in _template_images(ec2, template["LaunchTemplateId"]):
                users[image].append(template["LaunchTemplateName"])
    filters: list[Any] = [{"Name": "instance-state-name", "Values": LIVE_STATES}]
    for found in ec2.get_paginator("describe_instances").paginate(Filters=filters):
        for reservation in found["Reservations"]:
            for instance in reservation["Instances"]:
                users[instance["ImageId"]].append(instance["InstanceId"])
    return users


def plan_prune(images: Sequence[WorkerImage], keep: int) -> list[WorkerImage]:
    """Return the images that may be deleted: unused, and not among the newest `keep` of a kind."""
    seen: dict[tuple[str, str], int] = defaultdict(int)
    gone = []
    for image in sorted(images, key=lambda image: (image.created, image.id), reverse=True):
        seen[image.kind] += 1
        if seen[image.kind] > keep and not image.users:
            gone.append(image)
    return gone


def delete_image(ec2: EC2Client, image: WorkerImage) -> None:
    """Delete an image, then the snapshots that only it used: other images keep theirs."""
    _deregister(ec2, image.id)
    for snapshot in image.snapshots:
        outlast(USED_SNAPSHOT, partial(_delete_snapshot, ec2, snapshot), say)


@translated("EC2")
def _deregister(ec2: EC2Client, image: str) -> None:
    ec2.deregister_image(ImageId=image)


@translated("EC2")
def _delete_snapshot(ec2: EC2Client, snapshot: str) -> None:
    ec2.delete_snapshot(SnapshotId=snapshot)


def _template_images(ec2: EC2Client, template: str) -> set[str]:
    # A fleet or a group may start its next machine from any version.
    pages = ec2.get_paginator("describe_launch_template_versions").paginate(
        LaunchTemplateId=template
    )
    versions = (v for page in pages for v in page["LaunchTemplateVersions"])
    found = (version["LaunchTemplateData"].get("ImageId") for version in versions)
    return {image for image in found if image}


def _image(found: Any, users: dict[str, list[str]]) -> WorkerImage:
    given = tags.as_dict(found.get("Tags"))
    return WorkerImage(
        id=found["ImageId"],
        created=found.get("CreationDate", ""),
        version=given.get(tags.VERSION, ""),
        base=given.get(BASE_TAG, ""),
        architecture=found.get("Architecture", ""),
        snapshots=tuple(_snapshots(found.get("BlockDeviceMappings", ()))),
        users=tuple(users.get(found["ImageId"], ())),
    )


def _snapshots(mappings: Iterable[Any]) -> Iterable[str]:
    for mapping in mappings:
        if snapshot := mapping.get("Ebs", {}).get("SnapshotId"):
            yield snapshot


def line_of(image: WorkerImage) -> str:
    """Describe an image in one line."""
    used = f"used by {len(image.users)}" if image.users else ""
    words = (image.id, image.created[:10], escape(image.version), escape(image.base),
             image.architecture, used)  # fmt: skip
    return "  ".join(word for word in words if word)


def record(image: WorkerImage) -> dict[str, object]:
    """Return an image in machine-readable form."""
    return {
        "id": image.id,
        "created": image.created,
        "version": image.version,
        "base": image.base,
        "architecture": image.architecture,
        "users": list(image.users),
    }
