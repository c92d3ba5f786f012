"""What AWS says when a launch fails, in words and exit codes, from the shapes that botocore has."""

import time

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import ANY, Stubber
from tests.functional.fleet.conftest import REGION
from tests.strict_aws.clock import Clock
from tests.unit.fleet.examples import SPOT_STANDARD, facts, request

from parallelize.explain import explain
from parallelize.fleet import early_end
from parallelize.fleet.clients import ComputeClients
from parallelize.fleet.execute import execute
from parallelize.fleet.facts import Quota, Work
from parallelize.fleet.plan import plan_launch
from parallelize.fleet.template import fingerprint
from parallelize_core.errors import (
    AccessError,
    CapacityError,
    ParallelizeError,
    ServiceError,
    UsageError,
)

POOL = {"Overrides": {"InstanceType": "c7i.xlarge", "AvailabilityZone": "eu-west-1a"}}


class Account:
    """A stubbed EC2 in which the run's launch template is made again."""

    def __init__(self, stub, clients):
        self.stub, self.clients = stub, clients

    def no_template_yet(self):
        self.stub.add_client_error(
            "describe_launch_template_versions",
            "InvalidLaunchTemplateName.NotFoundException",
            "The specified launch template, with template name parallelize-scans, does not exist.",
            400,
        )
        template = {"LaunchTemplateId": "lt-1", "LaunchTemplateName": "parallelize-scans"}
        self.stub.add_response("create_launch_template", {"LaunchTemplate": template})

    def template(self, plan):
        version = {
            "LaunchTemplateId": "lt-1",
            "VersionNumber": 7,
            "VersionDescription": fingerprint(plan.fleets[0].templates[0]),
        }
        self.stub.add_response(
            "describe_launch_template_versions", {"LaunchTemplateVersions": [version]}
        )

    def fleet_gives(self, *ids, market="spot", errors=()):
        instances = [
            {"InstanceIds": [id_], "InstanceType": "c7i.xlarge", "Lifecycle": market} for id_ in ids
        ]
        described = [
            {"ErrorCode": code, "ErrorMessage": message, "LaunchTemplateAndOverrides": POOL}
            for code, message in errors
        ]
        self.stub.add_response("create_fleet", {"Instances": instances, "Errors": described})

    def fleet_fails(self, code, message=""):
        self.stub.add_client_error("create_fleet", code, message, 400)


@pytest.fixture
def quick(monkeypatch):
    """Let sleeping take no time."""
    clock = Clock(lambda: 0.0)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    monkeypatch.setattr(time, "monotonic", clock.now)
    return clock


@pytest.fixture
def account(quick):
    session = boto3.Session("a", "b", region_name=REGION)
    clients = ComputeClients.make(session)
    with Stubber(clients.ec2) as stub:
        yield Account(stub, clients)
        stub.assert_no_pending_responses()


def launch(account, **changes):
    """Start two workers with a template that is there already."""
    plan = plan_launch(facts(), request(**changes))
    account.template(plan)
    return plan


def test_a_partial_launch_counts_machines_and_names_what_is_missing(account):
    plan = launch(account)
    no_capacity = ("InsufficientInstanceCapacity", "We do not have sufficient capacity.")
    account.fleet_gives("i-1", errors=[no_capacity, no_capacity])
    outcome = execute(plan, account.clients)
    assert [machine.id for machine in outcome.started] == ["i-1"]
    error = outcome.error()
    assert isinstance(error, CapacityError)
    assert error.exit_code == 5
    assert "started 1 of 2 workers" in error.what
    assert "quota is not the cause" in error.why


def test_errors_of_pools_do_not_matter_when_all_machines_started(account):
    plan = launch(account)
    account.fleet_gives("i-1", "i-2", errors=[("InsufficientInstanceCapacity", "none here")])
    assert execute(plan, account.clients).error() is None


def test_a_quota_that_was_not_foreseen_is_named_as_such(account):
    plan = launch(account)
    account.fleet_gives(errors=[("MaxSpotInstanceCountExceeded", "Max spot instance count")])
    error = execute(plan, account.clients).error()
    assert error.exit_code == 5
    assert "vCPU quota of eu-west-1 is used up; started 0 of 2" in error.what
    assert "--request-quota" in error.fix


@pytest.mark.parametrize(
    "code", ["MaxSpotInstanceCountExceeded", "InsufficientInstanceCapacity", "SpotMaxPriceTooLow"]
)
def test_a_call_that_fails_for_lack_of_machines_is_an_outcome_like_any_other(account, code):
    plan = launch(account)
    account.fleet_fails(code)
    outcome = execute(plan, account.clients)
    assert outcome.started == ()
    assert isinstance(outcome.error(), CapacityError)


def test_a_missing_permission_has_exit_code_4(account):
    plan = launch(account)
    account.fleet_gives(errors=[("UnauthorizedOperation", "You are not authorized")])
    error = execute(plan, account.clients).error()
    assert isinstance(error, AccessError)
    assert error.exit_code == 4
    assert "launcher policy" in error.fix


@pytest.mark.parametrize(
    ("code", "expected", "words"),
    [
        ("UnauthorizedOperation", AccessError, "not allowed: CreateFleet"),
        ("ExpiredToken", AccessError, "the AWS session has expired"),
        ("RequestExpired", AccessError, "the AWS session has expired"),
        ("AuthFailure", AccessError, "does not accept these credentials"),
        ("InvalidParameterValue", ServiceError, "AWS refused CreateFleet"),
    ],
)
def test_a_call_that_fails_for_another_reason_is_explained(account, code, expected, words):
    plan = launch(account)
    account.fleet_fails(code, "AWS's own words")
    with pytest.raises(ParallelizeError) as failed:
        execute(plan, account.clients)
    told = explain(failed.value)
    assert isinstance(told, expected)
    assert words in told.what


def test_throttling_has_exit_code_6_after_botocores_own_retries(account):
    plan = launch(account)
    account.fleet_fails("RequestLimitExceeded")
    with pytest.raises(ParallelizeError) as failed:
        execute(plan, account.clients)
    assert explain(failed.value).exit_code == 6


def test_an_expired_token_says_that_workers_go_on(account):
    plan = launch(account)
    account.fleet_fails("ExpiredToken")
    with pytest.raises(ParallelizeError) as failed:
        execute(plan, account.clients)
    assert "your workers use their own role and go on" in explain(failed.value).why


@pytest.mark.parametrize("code", ["SpotMaxPriceTooLow", "UnauthorizedOperation"])
def test_nothing_is_launched_on_demand_for_a_price_limit_or_a_missing_permission(account, code):
    plan = launch(account, fallback=True)
    account.fleet_gives(errors=[(code, "no")])
    assert execute(plan, account.clients).started == ()


def test_a_template_that_ec2_does_not_know_yet_is_waited_for(account):
    plan = launch(account)
    missing = "InvalidLaunchTemplateId.NotFound"
    account.fleet_fails(missing, "The specified launch template does not exist.")
    account.fleet_gives(errors=[(missing, "It does not exist.")])
    account.fleet_gives("i-1", "i-2")
    outcome = execute(plan, account.clients)
    assert [machine.id for machine in outcome.started] == ["i-1", "i-2"]


def test_a_template_that_stays_unknown_is_an_error_after_some_tries(account):
    plan = launch(account)
    # From at once to half a minute later, with pauses that grow to 5 s.
    for _ in range(11):
        account.fleet_gives(errors=[("InvalidLaunchTemplateId.NotFound", "It does not exist.")])
    outcome = execute(plan, account.clients)
    assert outcome.started == ()
    assert isinstance(outcome.error(), UsageError)


def test_an_instance_profile_that_stays_unknown_leads_to_setup(account):
    plan = launch(account)
    message = "Value (parallelize-agent) for parameter iamInstanceProfile.name is invalid"
    for _ in range(11):
        account.fleet_gives(errors=[("InvalidParameterValue", message)])
    error = execute(plan, account.clients).error()
    assert isinstance(error, UsageError)
    assert "parallelize setup" in error.fix


def test_what_the_spot_market_lacks_is_launched_on_demand_if_asked_for(account):
    plan = launch(account, count=3, fallback=True)
    account.fleet_gives("i-1", errors=[("InsufficientInstanceCapacity", "none")])
    # The on-demand template differs (it tags no spot request), so it becomes a version of its own.
    account.template(plan)
    version = {"LaunchTemplateId": "lt-1", "VersionNumber": 8}
    account.stub.add_response("create_launch_template_version", {"LaunchTemplateVersion": version})
    capacity = {"TotalTargetCapacity": 2, "DefaultTargetCapacityType": "on-demand"}
    account.stub.add_response(
        "create_fleet",
        {
            "Instances": [
                {"InstanceIds": ["i-2", "i-3"], "Lifecycle": "on-demand",
                 "InstanceType": "c7i.xlarge"}
            ]
        },
        {
            "Type": "instant", "ClientToken": "token-fallback", "OnDemandOptions": ANY,
            "TagSpecifications": ANY, "LaunchTemplateConfigs": ANY,
            "TargetCapacitySpecification": capacity,
        },
    )  # fmt: skip
    outcome = execute(plan, account.clients)
    assert outcome.error() is None
    assert [machine.market for machine in outcome.started] == ["spot", "on-demand", "on-demand"]


def test_the_first_launch_of_a_run_makes_its_template(account):
    account.no_template_yet()
    account.fleet_gives("i-1", "i-2")
    plan = plan_launch(facts(), request())
    assert execute(plan, account.clients).missing == 0


def test_the_request_names_the_version_of_the_template(account):
    plan = launch(account)
    sent = {}

    def note(params, **_):
        sent.update(params)

    account.clients.ec2.meta.events.register("provide-client-params.ec2.CreateFleet", note)
    account.fleet_gives("i-1", "i-2")
    execute(plan, account.clients)
    (config,) = sent["LaunchTemplateConfigs"]
    assert config["LaunchTemplateSpecification"] == {"LaunchTemplateId": "lt-1", "Version": "7"}
    assert "LaunchTemplateSpecification" not in plan.fleets[0].body["LaunchTemplateConfigs"][0]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("UnauthorizedOperation", AccessError),
        ("InvalidParameterValue", ServiceError),
    ],
)
def test_workers_that_started_are_told_although_the_next_fleet_fails(account, code, kind):
    # They cost money, and a user who is not told of them launches them once more.
    plan = launch(account, count=3, on_demand=1)
    account.fleet_gives("i-1", "i-2")
    account.template(plan)
    version = {"LaunchTemplateId": "lt-1", "VersionNumber": 8}
    account.stub.add_response("create_launch_template_version", {"LaunchTemplateVersion": version})
    account.fleet_fails(code, "AWS's own words")
    outcome = execute(plan, account.clients)
    assert [machine.id for machine in outcome.started] == ["i-1", "i-2"]
    error = outcome.error()
    assert isinstance(error, kind)
    assert "CreateFleet" in error.what
    assert "started 2 of 3 workers" in error.what


def test_workers_that_started_are_told_although_the_next_template_cannot_be_made(account):
    plan = launch(account, count=3, fallback=True)
    account.fleet_gives("i-1", errors=[("InsufficientInstanceCapacity", "none")])
    account.stub.add_client_error("describe_launch_template_versions", "RequestLimitExceeded")
    outcome = execute(plan, account.clients)
    assert [machine.id for machine in outcome.started] == ["i-1"]
    assert outcome.error().exit_code == 6


def test_a_fleet_whose_answer_is_lost_may_have_started_and_the_error_says_so(account):
    plan = launch(account)

    def lose(**_):
        raise ReadTimeoutError(endpoint_url="https://ec2.eu-west-1.amazonaws.com/")

    account.clients.ec2.meta.events.register("provide-client-params.ec2.CreateFleet", lose)
    with pytest.raises(ServiceError, match="workers may have started") as lost:
        execute(plan, account.clients)
    assert "parallelize scale" in lost.value.fix


@pytest.fixture
def asked(account):
    """How many machines each call of CreateFleet has asked for, and with which token."""
    found = []

    def note(params, **_):
        target = params["TargetCapacitySpecification"]["TotalTargetCapacity"]
        found.append((target, params["ClientToken"]))

    account.clients.ec2.meta.events.register("provide-client-params.ec2.CreateFleet", note)
    return found


def many(account, count):
    quotas = (Quota(SPOT_STANDARD, 100_000, 0),)
    plan = plan_launch(facts(quotas=quotas, work=Work(count)), request(count=count))
    account.template(plan)
    return plan


def ids(count):
    return [f"i-{number}" for number in range(count)]


TOO_MANY = ("RequestLimitExceeded", "Request limit exceeded.")


def test_a_launch_of_many_asks_for_a_thousand_at_a_time_each_with_a_token_of_its_own(
    account, asked
):
    plan = many(account, 2500)
    for count in (1000, 1000, 500):
        account.fleet_gives(*ids(count))
    outcome = execute(plan, account.clients)
    assert outcome.error() is None
    assert [count for count, _ in asked] == [1000, 1000, 500]
    assert len({token for _, token in asked}) == 3
    assert all(len(token) <= 64 for _, token in asked)


def test_what_ec2_refuses_in_the_middle_is_asked_for_when_there_are_tokens(account, asked, quick):
    plan = many(account, 1100)
    account.fleet_gives(*ids(1000))
    account.fleet_fails(*TOO_MANY)
    account.fleet_gives(*ids(50))
    account.fleet_gives(*ids(50))
    outcome = execute(plan, account.clients)
    assert outcome.error() is None
    assert [count for count, _ in asked] == [1000, 100, 50, 50]
    # Two machines a second.
    assert quick.slept >= 50


def test_a_refusal_within_an_answer_asks_for_what_has_not_started_and_no_more(account, asked):
    plan = many(account, 10)
    account.fleet_gives(*ids(7), errors=[TOO_MANY])
    account.fleet_gives(*ids(3))
    outcome = execute(plan, account.clients)
    assert outcome.error() is None
    assert [count for count, _ in asked] == [10, 3]


def test_a_market_without_machines_is_not_asked_for_the_next_thousand(account, asked):
    plan = many(account, 2500)
    account.fleet_gives(*ids(400), errors=[("InsufficientInstanceCapacity", "none")])
    error = execute(plan, account.clients).error()
    assert [count for count, _ in asked] == [1000]
    assert "AWS has no capacity now" in error.what
    assert "started 400 of 2500 workers" in error.what


def test_lack_of_machines_after_refused_calls_is_told_as_that(account):
    plan = many(account, 1100)
    account.fleet_gives(*ids(1000), errors=[TOO_MANY])
    account.fleet_fails(*TOO_MANY)
    account.fleet_gives(*ids(10), errors=[("InsufficientInstanceCapacity", "none")])
    error = execute(plan, account.clients).error()
    assert "AWS has no capacity now" in error.what


def test_a_launch_gives_up_when_ec2_goes_on_to_refuse_and_says_how_many_have_started(
    account, quick, capsys
):
    plan = many(account, 1100)
    account.fleet_gives(*ids(1000))
    for _ in range(60):
        account.fleet_fails(*TOO_MANY)
    error = execute(plan, account.clients).error()
    account.stub._queue.clear()
    assert isinstance(error, ServiceError)
    assert "EC2 is refusing calls; started 1000 of 1100 workers" in error.what
    assert "parallelize scale" in error.fix
    # 100 machines are 50 s, and two minutes of patience.
    assert quick.slept <= 170 + early_end.PATIENCE_SECONDS + 5
    assert "EC2 is throttling calls; starting the rest in steps of 50, for up to 3 minutes" in (
        " ".join(capsys.readouterr().err.split())
    )


def test_workers_of_the_first_thousand_are_told_although_the_next_request_fails(account):
    plan = many(account, 2000)
    account.fleet_gives(*ids(1000))
    account.fleet_fails("UnauthorizedOperation", "AWS's own words")
    outcome = execute(plan, account.clients)
    assert len(outcome.started) == 1000
    assert isinstance(outcome.error(), AccessError)
    assert "started 1000 of 2000 workers" in outcome.error().what
