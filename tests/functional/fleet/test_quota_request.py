"""`doctor --request-quota`, by Stubber: moto has no EC2 quotas."""

import boto3
import pytest
from botocore.stub import Stubber
from tests.functional.fleet.conftest import REGION

from parallelize.operations.quota_request import QuotaRequest, plan_quota, send_quota_request
from parallelize_core.errors import NothingToDoError, UsageError

SPOT = "L-34B43A08"
WHICH = {"ServiceCode": "ec2", "QuotaCode": SPOT}


@pytest.fixture
def stubbed():
    quotas = boto3.client(
        "service-quotas", region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b"
    )
    with Stubber(quotas) as stub:
        yield quotas, stub
        stub.assert_no_pending_responses()


def test_the_request_says_what_the_quota_is_now(stubbed):
    quotas, stub = stubbed
    stub.add_response("get_service_quota", {"Quota": {"Value": 5.0}}, WHICH)
    plan = plan_quota(quotas, "spot", "c7i.xlarge", 64)
    assert plan == QuotaRequest(SPOT, "spot", now=5, wanted=64)


def test_a_quota_that_is_high_enough_is_not_asked_for(stubbed):
    quotas, stub = stubbed
    stub.add_response("get_service_quota", {"Quota": {"Value": 64.0}}, WHICH)
    with pytest.raises(NothingToDoError, match="64 vCPUs already"):
        plan_quota(quotas, "spot", "c7i.xlarge", 64)


def test_a_quota_that_may_not_be_read_may_still_be_asked_for(stubbed):
    quotas, stub = stubbed
    stub.add_client_error("get_service_quota", "AccessDeniedException", "no", 400)
    assert plan_quota(quotas, "spot", "c7i.xlarge", 64).now is None


def test_a_machine_without_a_known_quota_is_refused_before_any_call(stubbed):
    with pytest.raises(UsageError, match="u-6tb1"):
        plan_quota(stubbed[0], "spot", "u-6tb1.metal", 64)


def test_aws_is_asked_once(stubbed):
    quotas, stub = stubbed
    wanted = {**WHICH, "DesiredValue": 64.0}
    plan = QuotaRequest(SPOT, "spot", 5, 64)
    name = "request_service_quota_increase"
    stub.add_response(name, {"RequestedQuota": {"Status": "PENDING"}}, wanted)
    assert send_quota_request(quotas, plan) == "PENDING"
    stub.add_client_error(name, "ResourceAlreadyExistsException", "open", 400)
    assert send_quota_request(quotas, plan) == "a request is open already"


def test_a_dry_run_asks_for_nothing(account, parallelize):
    # moto cannot take the request: it would be a traceback.
    code, out, err = parallelize("doctor", "--request-quota", "64", "--dry-run")
    assert (code, out) == (0, "")
    assert err.startswith(f"(dry run) would ask AWS for 64 spot vCPUs ({SPOT}, now not known)")
