"""The facts of an instance, and what its metadata service says about it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from parallelize.fleet.tags import PLAIN

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import InstanceTypeDef

ACCOUNT_ID = "123456789012"
ROLE = "parallelize-agent"
ROLE_KEY = "ASIALOCALCLOUD000000"
GROUP_TAG = "aws:autoscaling:groupName"

WORKER_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The PATH that systemd gives the agent on a worker.

https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#%24PATH
"""

# The credentials are invented, but expire like EC2's, to exercise refreshing them, too.
CREDENTIALS_LIFETIME = timedelta(hours=6)


@dataclass(frozen=True)
class InstanceFacts:
    """What does not change during an instance's life."""

    id: str
    type: str
    image: str
    zone: str
    lifecycle: str
    private_ip: str
    tags: dict[str, str]
    user_data: str | None
    secret: str = field(default="local", repr=False)
    """The secret key of its role's credentials."""
    group_known_at: float = 0.0
    """When the metadata service starts to say that it is in a group; seconds since 1970."""

    @classmethod
    def from_ec2(
        cls, instance: InstanceTypeDef, user_data: str | None, secret: str
    ) -> InstanceFacts:
        """Read them from an instance in DescribeInstances's form."""
        return cls(
            id=instance["InstanceId"],
            type=instance["InstanceType"],
            image=instance["ImageId"],
            zone=instance["Placement"]["AvailabilityZone"],
            lifecycle=instance.get("InstanceLifecycle", "on-demand"),
            private_ip=instance.get("PrivateIpAddress", "127.0.0.1"),
            tags={tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])},
            user_data=user_data,
            secret=secret,
        )

    @property
    def path(self) -> str:
        """The PATH for the machine's programs; empty if the launch named none."""
        if PLAIN in self.tags:
            return WORKER_PATH
        try:
            told = json.loads(self.user_data or "{}")
        except ValueError:
            return ""
        path = told.get("path") if isinstance(told, dict) else None
        return path if isinstance(path, str) and path.isprintable() else ""

    @property
    def region(self) -> str:
        """The zone without its letter."""
        return self.zone[:-1]


class Notices(NamedTuple):
    """What EC2 has announced to an instance: an interruption, or a higher risk of one."""

    interruption: datetime | None = None
    rebalance: datetime | None = None


def metadata_of(facts: InstanceFacts, notices: Notices, now: datetime) -> dict[str, str]:
    """Return the content of each path below `/latest/`, without what the instance lacks."""
    data = {
        "meta-data/ami-id": facts.image,
        "meta-data/instance-id": facts.id,
        "meta-data/instance-life-cycle": facts.lifecycle,
        "meta-data/instance-type": facts.type,
        "meta-data/local-ipv4": facts.private_ip,
        "meta-data/placement/availability-zone": facts.zone,
        "meta-data/placement/region": facts.region,
        f"meta-data/iam/security-credentials/{ROLE}": json.dumps(credentials(now, facts)),
        "dynamic/instance-identity/document": json.dumps(identity_document(facts)),
    }
    data |= {f"meta-data/tags/instance/{name}": value for name, value in facts.tags.items()}
    if GROUP_TAG in facts.tags and now.timestamp() >= facts.group_known_at:
        data["meta-data/autoscaling/target-lifecycle-state"] = "InService"
    if facts.user_data is not None:
        data["user-data"] = facts.user_data
    return data | announcements(notices)


def announcements(notices: Notices) -> dict[str, str]:
    """Return the paths that only exist while there is something to announce."""
    data = {}
    if notices.interruption:
        action = {"action": "terminate", "time": timestamp(notices.interruption)}
        data["meta-data/spot/instance-action"] = json.dumps(action)
        data["meta-data/spot/termination-time"] = action["time"]
    if notices.rebalance:
        notice = {"noticeTime": timestamp(notices.rebalance)}
        data["meta-data/events/recommendations/rebalance"] = json.dumps(notice)
    return data


def credentials(now: datetime, facts: InstanceFacts) -> dict[str, str]:
    """Return credentials of the instance's role, in the form that SDKs expect.

    As on EC2, the session is the instance's: the service identifies the caller by it.
    """
    return {
        "Code": "Success",
        "LastUpdated": timestamp(now),
        "Type": "AWS-HMAC",
        "AccessKeyId": ROLE_KEY,
        "SecretAccessKey": facts.secret,
        "Token": facts.id,
        "Expiration": timestamp(now + CREDENTIALS_LIFETIME),
    }


def identity_document(facts: InstanceFacts) -> dict[str, str]:
    """Return the instance identity document, in the form that EC2 signs."""
    return {
        "accountId": ACCOUNT_ID,
        "architecture": "x86_64",
        "availabilityZone": facts.zone,
        "imageId": facts.image,
        "instanceId": facts.id,
        "instanceType": facts.type,
        "privateIp": facts.private_ip,
        "region": facts.region,
        "version": "2017-09-30",
    }


def timestamp(time: datetime) -> str:
    """Return a time in the metadata service's form."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
