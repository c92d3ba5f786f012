"""EC2: types that a region lacks, machines that are not there yet, or end before they start."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from fnmatch import fnmatch
from functools import cache
from typing import Any

from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES
from moto.ec2.models.instances import StateReason
from tests.strict_aws.call import Call, Refusal
from tests.strict_aws.clock import Windows
from tests.strict_aws.layer import Rule, World
from tests.strict_aws.rules.starts import Fault, MachineRule, Pool, Start, first
from tests.strict_aws.rules.templates import CONSISTENCY


@cache
def offered(region: str) -> frozenset[str]:
    """Return the types that a region has, by what moto has stored of it."""
    return frozenset(one["InstanceType"] for one in INSTANCE_TYPE_OFFERINGS["region"][region])


class RegionTypes(MachineRule):
    """Only the types of the current region are described, and can be started.

    No type of the other regions starts in any of its zones.
    """

    source = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceTypes.html"
    found = "in 23 of 30 regions launch refused its own default types"

    def fault(self, start: Start) -> Fault | None:
        absent = [kind for kind in start.types if kind not in offered(start.region)]
        if not absent:
            return None
        words = f"Your requested instance type ({absent[0]}) is not supported in this region."
        return Fault("Unsupported", words)

    def watches(self, call: Call) -> bool:
        return call.name == "ec2.DescribeInstanceTypes"

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        kinds = offered(call.region)
        found = [one for one in result.get("InstanceTypes", ()) if one["InstanceType"] in kinds]
        return {**result, "InstanceTypes": found}


class RequiredTypes(Rule):
    """Types that meet requirements are those of the region, by what is stored of each.

    moto does not know the call. Only those requirements are looked at that the project makes.
    """

    source = (
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/"
        "API_GetInstanceTypesFromInstanceRequirements.html"
    )

    def before(self, call: Call) -> dict[str, Any] | None:
        if call.operation != "GetInstanceTypesFromInstanceRequirements":
            return None
        wanted, found = call.params["InstanceRequirements"], []
        for name in sorted(offered(call.region)):
            kind = INSTANCE_TYPES.get(name, {})
            if kind and _architectures(name) & set(call.params["ArchitectureTypes"]):
                found += [{"InstanceType": name}] * _meets(kind, wanted)
        return {"InstanceTypes": found}


def _meets(kind: dict[str, Any], wanted: dict[str, Any]) -> bool:
    has = {
        "VCpuCount": kind["VCpuInfo"]["DefaultVCpus"],
        "MemoryMiB": kind["MemoryInfo"]["SizeInMiB"],
        "AcceleratorCount": sum(one["Count"] for one in kind.get("GpuInfo", {}).get("Gpus", ())),
    }
    within = all(
        int(wanted[name].get("Min", 0)) <= value <= int(wanted[name].get("Max", value))
        for name, value in has.items()
    )
    allowed = wanted.get("AllowedInstanceTypes") or ["*"]
    named = any(fnmatch(kind["InstanceType"], pattern) for pattern in allowed)
    burst = kind.get("BurstablePerformanceSupported") or kind.get("BareMetal")
    return within and named and not burst


class NewInstance(MachineRule):
    """A machine, and so its tags, is not described at once, and not to be changed for longer."""

    source = CONSISTENCY
    found = (
        "kill right after launch found no machine and said that none was left; or found one that"
        " EC2 did not know, and ended none"
    )

    seconds = 2.0
    longer = 3.0

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.unchanged = Windows(world.clock)

    def before(self, call: Call) -> dict[str, Any] | None:
        windows = self.unchanged if call.operation == "TerminateInstances" else self.windows
        new = set(windows.any_open())
        if call.service == "ec2" and (unknown := new & set(call.get("InstanceIds") or ())):
            raise Refusal(
                "InvalidInstanceID.NotFound", f"The instance ID '{min(unknown)}' does not exist"
            )
        return None

    def watches(self, call: Call) -> bool:
        return call.name == "ec2.DescribeInstances" or super().watches(call)

    def see(self, start: Start, id_: str) -> None:
        self.windows.open(id_, self.world.seconds(self.seconds))
        self.unchanged.open(id_, self.world.seconds(self.longer))

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        if call.operation == "DescribeInstances":
            return _without(result, set(self.windows.any_open()))
        return super().after(call, result)


def _without(result: dict[str, Any], ids: set[Any]) -> dict[str, Any] | None:
    if not ids:
        return None
    reservations = []
    for one in result.get("Reservations", ()):
        left = [item for item in one["Instances"] if item["InstanceId"] not in ids]
        if left:
            reservations.append({**one, "Instances": left})
    return {**result, "Reservations": reservations}


class VolumeSize(MachineRule):
    """A root volume cannot be smaller than the image's snapshot."""

    source = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EbsBlockDevice.html"
    found = "launch with a disk smaller than its image's, and image build --base gpu"

    def fault(self, start: Start) -> Fault | None:
        backend = ec2_backends[self.world.account][start.region]
        return first(_too_small(backend, pool.data) for pool in start.pools)


def _disks(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the EBS volumes that a machine is asked to have, but for what they leave open."""
    mappings = data.get("BlockDeviceMappings") or ()
    return [one["Ebs"] for one in mappings if "VolumeSize" in one.get("Ebs", {})]


def _too_small(backend: Any, data: Mapping[str, Any]) -> Fault | None:
    image = backend.amis.get(data.get("ImageId"))
    sizes = [int(one["VolumeSize"]) for one in _disks(data)]
    smallest = int(image.ebs_snapshot.volume.size) if image else 0
    if not sizes or min(sizes) >= smallest:
        return None
    return Fault(
        "InvalidBlockDeviceMapping",
        f"Volume of size {min(sizes)}GB is smaller than snapshot "
        f"'{image.ebs_snapshot.id}', expect size >= {smallest}GB",
    )


class VolumeSpeed(MachineRule):
    """A gp3 volume has at most 500 IOPS for each GiB, and 0.25 MiB/s for each of those."""

    source = "https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html"

    def fault(self, start: Start) -> Fault | None:
        return first(_too_fast(disk) for pool in start.pools for disk in _disks(pool.data))


def _too_fast(disk: Mapping[str, Any]) -> Fault | None:
    size, iops = int(disk["VolumeSize"]), int(disk.get("Iops", 3000))
    throughput = int(disk.get("Throughput", 125))
    if iops <= max(3000, 500 * size) and throughput * 4 <= iops:
        return None
    return Fault(
        "InvalidParameterCombination",
        "The iops to volume size, or throughput to iops, ratio is too high",
    )


class Architecture(MachineRule):
    """A machine starts only from an image of its architecture."""

    source = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-instance-type-compat.html"

    def fault(self, start: Start) -> Fault | None:
        backend = ec2_backends[self.world.account][start.region]
        return first(_unlike(backend, pool) for pool in start.pools)


def _unlike(backend: Any, pool: Pool) -> Fault | None:
    image = backend.amis.get(pool.data.get("ImageId"))
    can, made_for = _architectures(pool.type), (image and image.architecture) or "x86_64"
    if not can or made_for in can:
        return None
    return Fault(
        "InvalidParameterValue",
        f"The architecture '{','.join(sorted(can))}' of the specified instance type does not match"
        f" the architecture '{made_for}' of the specified AMI.",
    )


def _architectures(name: str | None) -> frozenset[str]:
    kind = INSTANCE_TYPES.get(name or "", {})
    return frozenset(kind.get("ProcessorInfo", {}).get("SupportedArchitectures", ()))


class SharedImage(Rule):
    """The tags of an image are seen by its owner only."""

    source = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/sharingamis-explicit.html"

    def watches(self, call: Call) -> bool:
        return call.name == "ec2.DescribeImages"

    def after(self, call: Call, result: dict[str, Any]) -> dict[str, Any] | None:
        images = [
            one if one.get("OwnerId") == self.world.account else {**one, "Tags": []}
            for one in result.get("Images", ())
        ]
        return {**result, "Images": images}


class EndedAtOnce(MachineRule):
    """Machines that EC2 ends after they have started; the state reason says why.

    Limits of volumes and refusals of KMS are found only then: pending, then terminated.
    """

    source = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html"
    found = "launch said that machines had started which EC2 had ended; status knew no reason"

    KEY = ("Client.InternalError", "Client.InternalError: Client error on launch")
    VOLUMES = ("Client.VolumeLimitExceeded", "Client.VolumeLimitExceeded: Volume limit exceeded")
    SPOT = ("Server.SpotInstanceTermination", "Server.SpotInstanceTermination: no capacity")

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._next: deque[tuple[str, str]] = deque()

    def end_next(self, reason: tuple[str, str], count: int = 1) -> None:
        """Let EC2 end the next machines for a reason: its code and its words."""
        self._next.extend([reason] * count)

    def end(self, region: str, id_: str, reason: tuple[str, str]) -> None:
        """Let EC2 end a machine that is there."""
        machine = ec2_backends[self.world.account][region].get_instance(id_)
        self.acted = True
        machine.terminate()
        machine._state.name, machine._state.code = "terminated", 48
        machine._reason = ""
        machine.state_reason = StateReason(reason[1], reason[0])

    def see(self, start: Start, id_: str) -> None:
        if self._next:
            self.end(start.region, id_, self._next.popleft())
