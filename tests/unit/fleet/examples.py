"""Facts and requests that the tests of this folder vary."""

from dataclasses import replace

from parallelize.fleet.facts import Facts, Image, InstanceType, Pool, Quota, Work
from parallelize.fleet.request import LaunchRequest
from parallelize_core.config import AgentConfig

ZONES = ("eu-west-1a", "eu-west-1b", "eu-west-1c")
AGENT = AgentConfig(
    run="scans", bucket="b", queue_url="https://q", dead_letter_queue_url="https://d",
    max_runtime_seconds=12 * 3600,
)  # fmt: skip
IMAGE = Image("ami-0123456789abcdef0", "x86_64", "/dev/xvda", "0.1.0", "2026-11-18")
SPOT_STANDARD = "L-34B43A08"


def kind(name="c7i.xlarge", vcpus=4, architecture="x86_64"):
    return InstanceType(name, vcpus, vcpus * 2 * 2**30, (architecture,))


def pool(name="c7i.xlarge", zone=ZONES[0], spot=0.07, on_demand=0.18, by_table=False, **more):
    return Pool(kind(name, **more), zone, f"subnet-{zone[-1]}", spot, on_demand, by_table)


def pools(*names, **more):
    return tuple(pool(name, zone, **more) for name in names for zone in ZONES)


FACTS = Facts(
    account="123456789012",
    region="eu-west-1",
    image=IMAGE,
    pools=pools("c7i.xlarge", "c6i.xlarge"),
    work=Work(waiting=100),
    security_groups=("sg-1",),
    quotas=(Quota(SPOT_STANDARD, 64, 0),),
)
REQUEST = LaunchRequest(count=2, agent=AGENT, token="token", types=("c7i.xlarge", "c6i.xlarge"))


def facts(**changes):
    return replace(FACTS, **changes)


def request(**changes):
    return replace(REQUEST, **changes)


def only_fleet(plan):
    (fleet,) = plan.fleets
    return fleet


def overrides(fleet):
    (config,) = fleet.body["LaunchTemplateConfigs"]
    return config["Overrides"]
