"""The bodies of the requests that create machines: pure functions from a launch to JSON.

A launch template holds everything that is the same for all machines of a run, so that a fleet and
an Auto Scaling group start exactly the same worker.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from parallelize.fleet.disk import Disk
from parallelize.fleet.facts import Image, Market, Pool
from parallelize.fleet.request import LaunchRequest
from parallelize_core.config import MAX_USER_DATA_BYTES
from parallelize_core.errors import UsageError

MACHINE = ("instance", "volume")
"""The resources of a machine that can outlive its launch."""

TAGGED = (*MACHINE, "network-interface")


def launch_template(
    request: LaunchRequest,
    image: Image,
    security_groups: Sequence[str],
    market: Market | None,
    user_data: str,
) -> dict[str, Any]:
    """Return a LaunchTemplateData; `market` is None for an Auto Scaling group, which mixes them.

    It has no InstanceMarketOptions: the fleet specifies the market, and an Auto Scaling group
    rejects a template that does.
    https://docs.aws.amazon.com/autoscaling/ec2/userguide/create-launch-template.html
    """
    data: dict[str, Any] = {
        "ImageId": image.id,
        "IamInstanceProfile": {"Name": request.instance_profile},
        "UserData": base64.b64encode(checked(user_data).encode()).decode(),
        "InstanceInitiatedShutdownBehavior": request.shutdown_behavior,
        # Hop limit 1: programs in a container or behind a proxy get no credentials.
        "MetadataOptions": {
            "HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1,
            # If an account has them on, a tag with a blank or a slash prevents a launch.
            "InstanceMetadataTags": "disabled",
        },
        "BlockDeviceMappings": [_root_volume(image, disk_of(request, image))],
        "TagSpecifications": _tag_specifications(request, market),
    }  # fmt: skip
    if groups := (*security_groups, *request.security_groups):
        data["SecurityGroupIds"] = list(dict.fromkeys(groups))
    if request.key_name:
        data["KeyName"] = request.key_name
    return data


def fingerprint(template: dict[str, Any]) -> str:
    """Return a digest of a template's content, for its version's description."""
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()


def fleet_request(
    request: LaunchRequest,
    market: Market,
    count: int,
    groups: Sequence[Sequence[Pool]],
    purpose: str,
) -> dict[str, Any]:
    """Return a CreateFleet request without the launch templates' ids and versions.

    The pools of each group in `groups` start from one template. `purpose` distinguishes the fleets
    of one launch, which must not share a token.

    Each override has the max price: MaxTotalPrice would stop a fleet in the middle.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFleet.html
    """
    given = request.tag_list
    body: dict[str, Any] = {
        "Type": "instant",
        "ClientToken": f"{request.token}-{purpose}",
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": count,
            "DefaultTargetCapacityType": market,
        },
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": given} for kind in ("fleet", *MACHINE)
        ],
        "LaunchTemplateConfigs": [
            {"Overrides": [override(pool, market, request.max_price) for pool in pools]}
            for pools in groups
        ],
    }
    if market == "spot":
        body["SpotOptions"] = {
            "AllocationStrategy": "price-capacity-optimized",
            "InstanceInterruptionBehavior": "terminate",
        }
    else:
        body["OnDemandOptions"] = {"AllocationStrategy": "lowest-price"}
    return body


def override(pool: Pool, market: Market, max_price: float | None) -> dict[str, Any]:
    """Return a pool as an override of a fleet."""
    price = {"MaxPrice": f"{max_price:.4f}"} if market == "spot" and max_price else {}
    return {"InstanceType": pool.type.name, "SubnetId": pool.subnet, **price}


def checked(user_data: str) -> str:
    """Return user data if it fits; raise UsageError if it does not."""
    size = len(user_data.encode())
    if size > MAX_USER_DATA_BYTES:
        raise UsageError(
            f"the worker's configuration is too large: {size:,} bytes",
            f"EC2 accepts {MAX_USER_DATA_BYTES:,} bytes of user data",
            "use fewer workers.types (it contains their prices), or a shorter workers.root_setup",
        )
    return user_data


def disk_of(request: LaunchRequest, image: Image) -> Disk:
    """Return a worker's root volume: EC2 makes none smaller than the image's.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EbsBlockDevice.html
    """
    return replace(request.disk, gib=max(request.disk.gib, image.root_gib))


def _root_volume(image: Image, disk: Disk) -> dict[str, Any]:
    return {"DeviceName": image.root_device, "Ebs": disk.ebs()}


def _tag_specifications(request: LaunchRequest, market: Market | None) -> list[dict[str, Any]]:
    """Return the tags of a launch's resources, except those that a fleet's request tags itself.

    Permission to start only machines with our tag is sure to check the request, but not this.
    """
    kinds: tuple[str, ...] = ("network-interface",) if market else TAGGED
    # A launch fails if its template tags a kind of resource that it does not create.
    if market == "spot":
        kinds = (*kinds, "spot-instances-request")
    given = request.tag_list
    return [{"ResourceType": kind, "Tags": given} for kind in kinds]
