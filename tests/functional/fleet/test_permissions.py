"""`doctor` asks IAM's policy simulator, by Stubber: moto has none."""

import boto3
import pytest
from botocore.stub import Stubber
from tests.functional.fleet.conftest import REGION

from parallelize.fleet.dry_runs import Answers
from parallelize.fleet.permissions import Ask, principal, refused
from parallelize.operations.findings import Verdict, judge_permissions

USER = "arn:aws:iam::123456789012:user/ana"
ROLE = "arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_dev_1"
SESSION = "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_dev_1/ana"


@pytest.fixture
def stubbed():
    iam = boto3.client("iam", region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(iam) as stub:
        yield iam, stub
        stub.assert_no_pending_responses()


def result(action, decision):
    return {"EvalActionName": action, "EvalDecision": decision}


def test_what_the_simulator_does_not_allow_is_named(stubbed):
    iam, stub = stubbed
    ask = Ask(("iam:PassRole",), "arn:role", {"iam:PassedToService": "ec2.amazonaws.com"})
    stub.add_response(
        "simulate_principal_policy",
        {"EvaluationResults": [
            result("s3:GetObject", "allowed"), result("s3:PutObject", "explicitDeny"),
        ]},
        {"PolicySourceArn": USER, "ActionNames": ["s3:GetObject", "s3:PutObject"],
         "ResourceArns": ["arn:object"], "ContextEntries": []},
    )  # fmt: skip
    stub.add_response(
        "simulate_principal_policy",
        {"EvaluationResults": [result("iam:PassRole", "implicitDeny")]},
        {"PolicySourceArn": USER, "ActionNames": ["iam:PassRole"], "ResourceArns": ["arn:role"],
         "ContextEntries": [{"ContextKeyName": "iam:PassedToService", "ContextKeyType": "string",
                             "ContextKeyValues": ["ec2.amazonaws.com"]}]},
    )  # fmt: skip
    objects = Ask(("s3:GetObject", "s3:PutObject"), "arn:object")
    assert refused(iam, USER, [objects, ask]) == ["s3:PutObject", "iam:PassRole"]


def test_the_role_behind_a_session_is_asked_for_with_its_path(stubbed):
    iam, stub = stubbed
    role = {"Path": "/aws-reserved/sso.amazonaws.com/", "RoleName": "AWSReservedSSO_dev_1",
            "RoleId": "A" * 16, "Arn": ROLE, "CreateDate": "2026-11-20T00:00:00Z"}  # fmt: skip
    stub.add_response("get_role", {"Role": role}, {"RoleName": "AWSReservedSSO_dev_1"})
    assert principal(iam, SESSION) == ROLE


def test_a_role_that_cannot_be_looked_up_is_taken_to_have_no_path(stubbed):
    iam, stub = stubbed
    stub.add_client_error("get_role", "AccessDenied", "no", 403)
    assert principal(iam, SESSION) == "arn:aws:iam::123456789012:role/AWSReservedSSO_dev_1"


@pytest.mark.parametrize(
    ("caller", "source"),
    [
        (USER, USER),
        ("arn:aws:iam::123456789012:root", None),
        ("arn:aws:sts::123456789012:federated-user/bob", None),
    ],
)
def test_only_users_and_roles_have_policies_to_simulate(stubbed, caller, source):
    assert principal(stubbed[0], caller) == source


def test_a_start_that_was_not_tried_is_not_said_to_be_allowed():
    finding = judge_permissions(Answers(untried=("ec2:RunInstances",)), [], "")
    assert finding.verdict is Verdict.LOOK
    assert "ec2:RunInstances could not be tried" in finding.text
    assert "dry runs pass" not in finding.text


def test_what_dry_run_and_simulator_both_refuse_is_named_once():
    answers = Answers(refused=("ec2:RunInstances",))
    finding = judge_permissions(answers, ["ec2:RunInstances", "iam:PassRole"], "")
    assert finding.text == "not allowed: ec2:RunInstances, iam:PassRole"


@pytest.mark.parametrize(
    ("missing", "note", "verdict"),
    [
        ([], "", Verdict.GOOD),
        # Not being allowed to ask is worth a word, and no error.
        ([], "IAM refused the simulation (AccessDenied)", Verdict.LOOK),
        (["iam:PassRole"], "", Verdict.BAD),
    ],
)
def test_permissions_are_judged_by_what_is_known(missing, note, verdict):
    finding = judge_permissions(Answers(refused=tuple(missing)), [], note)
    assert finding.verdict is verdict
    assert note in finding.text
    assert all(action in finding.text for action in missing)
