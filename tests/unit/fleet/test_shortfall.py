import pytest

from parallelize.fleet.execute import LaunchOutcome, Refusal, Started
from parallelize.fleet.shortfall import Reason, explain_words, is_about_capacity, reason
from parallelize_core.errors import AccessError, CapacityError, ServiceError, UsageError


def outcome(*codes, asked=2, started=1):
    machines = tuple(Started(f"i-{n}", "c7i.xlarge", "spot") for n in range(started))
    refusals = tuple(Refusal(code, f"message of {code}", "c7i.xlarge eu-west-1a") for code in codes)
    return LaunchOutcome(asked, machines, refusals, "eu-west-1")


def test_errors_beside_a_full_number_of_machines_are_no_failure():
    assert outcome("InsufficientInstanceCapacity", asked=1, started=1).error() is None


def test_no_capacity_says_that_it_is_not_the_quota_and_what_did_start():
    error = outcome("InsufficientInstanceCapacity").error()
    assert isinstance(error, CapacityError)
    assert "no capacity now for c7i.xlarge in eu-west-1" in error.what
    assert "started 1 of 2 workers" in error.what
    assert error.why == "your quota is not the cause"


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("InsufficientFreeAddressesInSubnet", "the subnets have too few free addresses"),
        ("VolumeLimitExceeded", "the quota of volumes in eu-west-1 is used up"),
    ],
)
def test_full_subnets_and_volumes_are_neither_capacity_nor_the_quota_of_vcpus(code, what):
    error = outcome(code).error()
    assert isinstance(error, CapacityError)
    assert error.what.startswith(what)
    assert is_about_capacity(code)


@pytest.mark.parametrize("code", ["MaxSpotInstanceCountExceeded", "VcpuLimitExceeded"])
def test_a_used_up_quota_says_so_and_not_capacity(code):
    error = outcome(code).error()
    assert isinstance(error, CapacityError)
    assert "quota" in error.what
    assert "capacity" not in error.what


def test_a_quota_is_named_although_other_pools_lack_capacity():
    # Asking for more capacity types would not help; the quota is what to act on.
    assert "quota" in outcome("InsufficientInstanceCapacity", "VcpuLimitExceeded").error().what


def test_a_missing_permission_outranks_everything_else():
    error = outcome("VcpuLimitExceeded", "UnauthorizedOperation").error()
    assert isinstance(error, AccessError)
    assert error.exit_code == 4
    assert error.why == "message of UnauthorizedOperation"


def test_a_max_price_below_the_market_is_named():
    error = outcome("SpotMaxPriceTooLow", started=0).error()
    assert isinstance(error, CapacityError)
    assert "max price" in error.what


def test_throttling_is_a_service_error():
    assert isinstance(outcome("RequestLimitExceeded").error(), ServiceError)


def test_a_code_that_nobody_here_knows_is_shown_as_it_is():
    error = outcome("InvalidAMIID.NotFound").error()
    assert isinstance(error, UsageError)
    assert "InvalidAMIID.NotFound" in error.what


def test_missing_machines_without_any_error_are_missing_capacity():
    assert isinstance(outcome(started=0).error(), CapacityError)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("InsufficientInstanceCapacity", True),
        ("MaxSpotInstanceCountExceeded", True),
        ("UnauthorizedOperation", False),
        ("InvalidParameterValue", False),
        ("ExpiredToken", False),
    ],
)
def test_only_what_is_about_machines_counts_as_a_launch_that_gave_none(code, expected):
    assert is_about_capacity(code) is expected


def test_each_reason_is_reached_by_some_code():
    codes = (
        "UnauthorizedOperation", "InvalidAMIID.NotFound", "VcpuLimitExceeded",
        "SpotMaxPriceTooLow", "RequestLimitExceeded", "UnfulfillableCapacity",
        "InsufficientFreeAddressesInSubnet", "VolumeLimitExceeded",
    )  # fmt: skip
    assert {reason(code) for code in codes} == set(Reason)


@pytest.mark.parametrize(
    ("words", "kind", "what"),
    [
        ("There is no Spot capacity available that matches your request.", CapacityError,
         "AWS has no capacity now for these types in eu-west-1"),
        ("We currently do not have sufficient c7i.xlarge capacity in eu-west-1a.",
         CapacityError, "AWS has no capacity now"),
        ("Your requested instance type (c7i.xlarge) is not supported in your requested zone.",
         CapacityError, "AWS has no capacity now"),
        ("You have requested more vCPU capacity than your current vCPU limit of 5 allows",
         CapacityError, "the vCPU quota of eu-west-1 is used up"),
        ("Your Spot request price of 0.015 is lower than the minimum required price.",
         CapacityError, "the spot price is above your max price"),
        ("You are not authorized to perform this operation.", AccessError,
         "Auto Scaling may not start machines"),
        ("The security group sg-1 does not exist.", UsageError,
         "EC2 rejected the launch (Auto Scaling)"),
    ],
)  # fmt: skip
def test_words_of_auto_scaling_are_told_apart_as_codes_of_ec2_are(words, kind, what):
    error = explain_words("eu-west-1", f"{words} Launching EC2 instance failed.")
    assert isinstance(error, kind)
    assert error.what.startswith(what)
    assert error.fix
