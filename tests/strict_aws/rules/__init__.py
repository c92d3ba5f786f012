"""The rules, in the order in which a request meets them."""

from __future__ import annotations

from tests.strict_aws.layer import Rule
from tests.strict_aws.rules.alarms import NoAlarm
from tests.strict_aws.rules.groups import BusyGroup, DeletedGroup, GroupActivity, NewPolicy
from tests.strict_aws.rules.images import UsedSnapshot
from tests.strict_aws.rules.limits import ParameterLimits
from tests.strict_aws.rules.logs import NewStream
from tests.strict_aws.rules.machines import (
    Architecture,
    EndedAtOnce,
    NewInstance,
    RegionTypes,
    RequiredTypes,
    SharedImage,
    VolumeSize,
    VolumeSpeed,
)
from tests.strict_aws.rules.market import PlacementScores, SpotCapacity, SpotPrices
from tests.strict_aws.rules.organization import DemandedRole, DemandedTags, SmsSandbox
from tests.strict_aws.rules.queues import DeletedQueue, NewQueue
from tests.strict_aws.rules.roles import NewProfile, NewServiceRole
from tests.strict_aws.rules.shared_vpc import SharedSubnet
from tests.strict_aws.rules.stacks import (
    AttachedPolicy,
    DeletedStack,
    NamedResource,
    RegionalBucket,
)
from tests.strict_aws.rules.storage import (
    BucketOwner,
    DemandedKey,
    NewBucket,
    ObjectLimits,
    Permission,
    RequesterPays,
    UnseenKey,
)
from tests.strict_aws.rules.subnets import FullSubnet
from tests.strict_aws.rules.tags import TagForm
from tests.strict_aws.rules.templates import NewTemplate
from tests.strict_aws.rules.throttling import RateLimit, Throttling
from tests.strict_aws.rules.volumes import VolumeKey

RULES: tuple[type[Rule], ...] = (
    Throttling,
    RateLimit,
    ParameterLimits,
    ObjectLimits,
    Permission,
    TagForm,
    DemandedTags,
    SmsSandbox,
    BucketOwner,
    UnseenKey,
    RequesterPays,
    DemandedKey,
    NewBucket,
    NewQueue,
    DeletedQueue,
    RegionTypes,
    RequiredTypes,
    PlacementScores,
    SpotPrices,
    NewTemplate,
    NewProfile,
    VolumeSize,
    SharedSubnet,
    FullSubnet,
    VolumeSpeed,
    Architecture,
    SharedImage,
    SpotCapacity,
    EndedAtOnce,
    VolumeKey,
    NewServiceRole,
    NewInstance,
    UsedSnapshot,
    DeletedGroup,
    NewPolicy,
    BusyGroup,
    GroupActivity,
    NewStream,
    NoAlarm,
    DeletedStack,
    AttachedPolicy,
    DemandedRole,
    NamedResource,
    RegionalBucket,
)
