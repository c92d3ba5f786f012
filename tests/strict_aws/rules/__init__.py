"""The rules, in the order in which a request meets them."""

from __future__ import annotations

from tests.strict_aws.layer import Rule
from tests.strict_aws.rules.groups import BusyGroup, DeletedGroup, NewPolicy
from tests.strict_aws.rules.limits import ParameterLimits
from tests.strict_aws.rules.machines import (
    Architecture,
    EndedAtOnce,
    NewInstance,
    NewTemplate,
    RegionTypes,
    RequiredTypes,
    SharedImage,
    VolumeSize,
    VolumeSpeed,
)
from tests.strict_aws.rules.queues import DeletedQueue, NewQueue, PurgedQueue
from tests.strict_aws.rules.stacks import AttachedPolicy, DeletedStack, NamedResource
from tests.strict_aws.rules.storage import ArchivedObject, BucketOwner, Permission, UnseenKey
from tests.strict_aws.rules.throttling import Throttling

RULES: tuple[type[Rule], ...] = (
    Throttling,
    ParameterLimits,
    Permission,
    BucketOwner,
    UnseenKey,
    ArchivedObject,
    NewQueue,
    DeletedQueue,
    PurgedQueue,
    RegionTypes,
    RequiredTypes,
    NewTemplate,
    VolumeSize,
    VolumeSpeed,
    Architecture,
    SharedImage,
    EndedAtOnce,
    NewInstance,
    DeletedGroup,
    NewPolicy,
    BusyGroup,
    DeletedStack,
    AttachedPolicy,
    NamedResource,
)
