"""Regions and partitions that lack what most have, or call it otherwise.

moto deploys every stack as if it were the commercial partition's, so the template's text is read.
"""

import re

import pytest
from cfnlint.decode import decode_str
from tests.functional.fleet.conftest import BUCKET
from tests.unit.fleet.examples import kind

from parallelize import stack
from parallelize.bucket import auto_name
from parallelize.fleet import describe
from parallelize.fleet.clients import FactClients
from parallelize.fleet.permissions import Where, asks
from parallelize.fleet.prices import price_list_region
from parallelize.fleet.volume_key import scaling_role
from parallelize_core.layout import Location, RunLayout
from parallelize_core.names import Names

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")

SCANS = Names("scans")
ACCOUNT = "123456789012"


@pytest.mark.parametrize("region", ["me-south-1", "me-central-1"])
def test_setup_asks_for_a_plain_name_where_an_account_has_none_of_its_own(
    account, parallelize, monkeypatch, region
):
    monkeypatch.delenv("PARALLELIZE_BUCKET")
    monkeypatch.setenv("AWS_REGION", region)
    code, _, err = parallelize("setup", "--dry-run")
    assert code == 0, err
    assert auto_name(SCANS, ACCOUNT, region) == f"parallelize-{ACCOUNT}-{region}"


@pytest.mark.parametrize("region", ["eu-west-1", "cn-north-1", "us-gov-west-1"])
def test_the_buckets_name_is_the_accounts_own_everywhere_else(region):
    assert auto_name(SCANS, ACCOUNT, region).endswith(f"{ACCOUNT}-{region}-an")


def test_no_arn_of_the_template_is_of_one_partition_only():
    document, _ = decode_str(stack.template())
    assert "arn:aws:" not in str(document["Resources"])


def test_roles_are_passed_to_ec2_by_the_name_that_it_has_in_the_partition():
    document, _ = decode_str(stack.template())
    named = re.findall(r"'(ec2\.[^']*)'", str(document["Resources"]))
    assert "ec2.${AWS::URLSuffix}" in named
    assert "ec2.amazonaws.com" not in named


@pytest.mark.parametrize(
    ("partition", "region", "service"),
    [
        ("aws", "eu-west-1", "ec2.amazonaws.com"),
        ("aws-us-gov", "us-gov-west-1", "ec2.amazonaws.com"),
        ("aws-cn", "cn-north-1", "ec2.amazonaws.com.cn"),
    ],
)
def test_doctor_asks_in_the_partitions_names(partition, region, service):
    where = Where(partition, region, ACCOUNT)
    role = f"arn:{partition}:iam::{ACCOUNT}:role/agent"
    wanted = asks(where, RunLayout(Location(BUCKET), "scans"), SCANS, {}, role)
    assert wanted[-1].context == {"iam:PassedToService": service}
    assert all(ask.resource.startswith(f"arn:{partition}:") for ask in wanted)


def test_auto_scalings_role_is_that_of_the_keys_partition():
    key = f"arn:aws-cn:kms:cn-north-1:{ACCOUNT}:key/1"
    assert scaling_role(key, ACCOUNT).startswith(
        f"arn:aws-cn:iam::{ACCOUNT}:role/aws-service-role/"
    )


def test_prices_in_yuan_are_not_taken_for_dollars(account):
    assert price_list_region("cn-north-1") == "cn-northwest-1"
    ec2 = account.client("ec2")
    clients = FactClients(ec2, ec2, ec2, account.client("pricing"))
    subnets = describe.find_subnets(ec2, ())
    pools = describe.find_pools(clients, "cn-north-1", subnets, [kind("c7i.xlarge")])
    assert pools
    assert {pool.spot_usd for pool in pools} == {None}
