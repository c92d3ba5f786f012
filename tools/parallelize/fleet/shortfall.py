"""Why fewer machines started than requested: quota, capacity, price and permission differ.

A fleet's errors describe pools, not machines, and many come along with machines that did
start: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFleetError.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Protocol

from parallelize_core.errors import (
    AccessError,
    CapacityError,
    ParallelizeError,
    ServiceError,
    UsageError,
)

PROFILE = "iamInstanceProfile"
"""EC2's name for the parameter with the workers' instance profile."""


MORE_VOLUMES = (
    "a smaller workers.disk, fewer workers, or more: Service Quotas, Amazon EBS,\n"
    '  "Storage for General Purpose SSD (gp3) volumes"'
)


class Reason(Enum):
    """What prevents machines; the first one present is the one to act on."""

    PERMISSION = "permission"
    MISTAKE = "mistake"
    QUOTA = "quota"
    PRICE = "price"
    THROTTLED = "throttled"
    ADDRESSES = "addresses"
    VOLUMES = "volumes"
    CAPACITY = "capacity"


class _Refused(Protocol):
    @property
    def code(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def pool(self) -> str: ...


_QUOTA = {
    "MaxSpotInstanceCountExceeded", "VcpuLimitExceeded", "InstanceLimitExceeded",
    "MaxSpotFleetRequestCountExceeded",
}  # fmt: skip
_VOLUMES = {"VolumeLimitExceeded", "MaxIOPSLimitExceeded"}
_ADDRESSES = {"InsufficientFreeAddressesInSubnet"}
_CAPACITY = {
    "InsufficientInstanceCapacity", "UnfulfillableCapacity", "InsufficientHostCapacity",
    "InsufficientCapacity", "InsufficientReservedInstanceCapacity", "Unsupported",
}  # fmt: skip
_PERMISSION = {
    "UnauthorizedOperation", "AccessDenied", "AuthFailure",
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted", "OptInRequired", "PendingVerification",
}  # fmt: skip
_TOO_MANY_CALLS = {"RequestLimitExceeded", "Throttling"}
_THROTTLED = {
    *_TOO_MANY_CALLS, "RequestResourceCountExceeded", "InternalError",
    "InternalFailure", "ServiceUnavailable", "Unavailable",
}  # fmt: skip

_CODES = {
    Reason.QUOTA: _QUOTA, Reason.CAPACITY: _CAPACITY, Reason.PERMISSION: _PERMISSION,
    Reason.THROTTLED: _THROTTLED, Reason.ADDRESSES: _ADDRESSES, Reason.VOLUMES: _VOLUMES,
    Reason.PRICE: {"SpotMaxPriceTooLow"},
}  # fmt: skip


def reason(code: str) -> Reason:
    """Return what an EC2 error code means for somebody who wants machines."""
    return next((kind for kind, codes in _CODES.items() if code in codes), Reason.MISTAKE)


def is_about_capacity(code: str) -> bool:
    """Whether a failed call means that there are no machines, rather than that it was wrong."""
    return reason(code) in {
        Reason.QUOTA, Reason.CAPACITY, Reason.PRICE, Reason.ADDRESSES, Reason.VOLUMES,
    }  # fmt: skip


def is_throttled(refusals: Sequence[_Refused]) -> bool:
    """Whether EC2 refused a call, or part of one, for its rate of calls or machines."""
    return any(refused.code in _TOO_MANY_CALLS for refused in refusals)


def is_answer(refused: _Refused) -> bool:
    """Whether a failed call means what a fleet's errors could, so that the launch can go on."""
    return is_about_capacity(refused.code) or is_too_early([refused]) or is_throttled([refused])


def is_short(refusals: Sequence[_Refused]) -> bool:
    """Whether a market lacked machines, or the quota for more: then another one may have them.

    A price above the limit, a missing permission or a mistake is no reason to try elsewhere.
    """
    kinds = {reason(refused.code) for refused in refusals}
    return not kinds or bool(kinds & {Reason.CAPACITY, Reason.QUOTA})


def is_too_early(refusals: Sequence[_Refused]) -> bool:
    """Whether only a launch template was missing that was created a moment ago."""
    return bool(refusals) and all(
        refused.code.startswith(("InvalidLaunchTemplateId", "InvalidLaunchTemplateName"))
        for refused in refusals
    )


def lacks_profile(refusals: Sequence[_Refused]) -> bool:
    """Whether EC2 does not know the workers' profile: it is new, or does not exist."""
    return bool(refusals) and all(PROFILE in refused.message for refused in refusals)


def explain(
    region: str, asked: int, started: int, refusals: Iterable[_Refused]
) -> ParallelizeError:
    """Return the error that says why `asked - started` machines are missing."""
    by_reason: dict[Reason, list[_Refused]] = {}
    for refused in refusals:
        by_reason.setdefault(reason(refused.code), []).append(refused)
    count = f"started {started} of {asked} workers"
    first = next((kind for kind in Reason if kind in by_reason), Reason.CAPACITY)
    found = by_reason.get(first, [])
    message = found[0].message if found else ""
    kind, what, fix = _TOLD[first]
    if first is Reason.MISTAKE and PROFILE in message:
        fix = "parallelize setup   makes the workers' role"
    code = found[0].code if found else ""
    told = what.format(region=region, pools=_pools(found), code=code)
    why = "your quota is not the cause" if first is Reason.CAPACITY else message
    return kind(f"{told}; {count}", why, fix)


def explain_words(region: str, words: str) -> ParallelizeError:
    """Return the error that Auto Scaling's message means; it comes without a code."""
    told = words.lower()
    found = next((kind for known, kind in _WORDS if known in told), Reason.MISTAKE)
    kind, what, fix = _TOLD[found]
    if found is Reason.PERMISSION:
        what, fix = "Auto Scaling may not start machines", "parallelize doctor"
    return kind(what.format(region=region, pools="these types", code="Auto Scaling"), words, fix)


_WORDS = (
    ("not authorized", Reason.PERMISSION),
    ("vcpu", Reason.QUOTA),
    ("max spot instance count exceeded", Reason.QUOTA),
    ("free addresses", Reason.ADDRESSES),
    ("price", Reason.PRICE),
    ("capacity", Reason.CAPACITY),
    ("not supported in", Reason.CAPACITY),
)
"""What identifies the reason in Auto Scaling's messages; the first match counts.

https://docs.aws.amazon.com/autoscaling/ec2/userguide/ts-as-instancelaunchfailure.html
"""

_TOLD: Mapping[Reason, tuple[type[ParallelizeError], str, str]] = {
    Reason.QUOTA: (
        CapacityError,
        "the vCPU quota of {region} is used up",
        (
            "parallelize doctor   shows it and what uses it\n"
            "  more: parallelize doctor --request-quota VCPUS"
        ),
    ),
    Reason.PRICE: (
        CapacityError,
        "the spot price is above your max price",
        "raise --max-price, add types, or --market on-demand",
    ),
    Reason.PERMISSION: (
        AccessError,
        "not allowed to start machines",
        "attach the stack's launcher policy, or use another profile (AWS_PROFILE)",
    ),
    Reason.THROTTLED: (
        ServiceError,
        "EC2 is refusing calls",
        "in a while: parallelize scale N   starts the missing workers",
    ),
    Reason.MISTAKE: (
        UsageError,
        "EC2 rejected the launch ({code})",
        "parallelize doctor   looks for the cause",
    ),
    Reason.ADDRESSES: (
        CapacityError,
        "the subnets have too few free addresses",
        "set aws.subnets to larger subnets or to more zones, or start fewer workers",
    ),
    Reason.VOLUMES: (
        CapacityError,
        "the quota of volumes in {region} is used up",
        MORE_VOLUMES,
    ),
    Reason.CAPACITY: (
        CapacityError,
        "AWS has no capacity now for {pools} in {region}",
        "add types, wait, or --market on-demand",
    ),
}
"""The error class, text and advice for each reason."""


def _pools(refusals: Iterable[_Refused]) -> str:
    names = sorted({refused.pool.split()[0] for refused in refusals if refused.pool})
    if not names:
        return "these types"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
