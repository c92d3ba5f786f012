"""A stack's change sets and states, by Stubber: moto's are never under way, and never fail."""

import boto3
import pytest
from botocore.model import StringShape
from botocore.stub import ANY, Stubber
from tests.functional.fleet.conftest import REGION

from parallelize.stack.deploy import Stack
from parallelize.stack.state import Standing, standing
from parallelize_core.errors import ServiceError

TEMPLATE = "Resources: {}"
DOES_NOT_EXIST = ("ValidationError", "Stack with id parallelize does not exist", 400)
CREATED = "2026-11-20T00:00:00Z"


class Script:
    """The calls that a stack is expected to make, in order, and AWS's answers."""

    def __init__(self, stub):
        self.stub = stub

    def is_in(self, *states, parameters=()):
        for state in states:
            stack = {"StackName": "parallelize", "CreationTime": CREATED, "StackStatus": state}
            stack["Parameters"] = [
                {"ParameterKey": key, "ParameterValue": ""} for key in parameters
            ]
            self.stub.add_response("describe_stacks", {"Stacks": [stack]})
        return self

    def is_gone(self):
        self.stub.add_client_error("describe_stacks", *DOES_NOT_EXIST)
        return self

    def plans(self, kind, values=()):
        names = [value["ParameterKey"] for value in values]
        self.stub.add_response(
            "get_template_summary", {"Parameters": [{"ParameterKey": name} for name in names]}
        )
        self.stub.add_response(
            "create_change_set", {},
            {"StackName": "parallelize", "ChangeSetName": ANY, "ChangeSetType": kind,
             "TemplateBody": TEMPLATE, "Parameters": list(values), "Capabilities": ANY,
             "Tags": []},
        )  # fmt: skip
        return self

    def has_planned(self, *names, more=None):
        changes = [
            {"Type": "Resource", "ResourceChange": {
                "Action": "Add", "LogicalResourceId": name, "ResourceType": "AWS::SNS::Topic"}}
            for name in names
        ]  # fmt: skip
        answer = {"Status": "CREATE_COMPLETE", "Changes": changes}
        self.stub.add_response(
            "describe_change_set", answer | ({"NextToken": more} if more else {})
        )
        return self

    def execution_is(self, status):
        self.stub.add_response("describe_change_set", {"ExecutionStatus": status})
        return self

    def calls(self, name, **params):
        self.stub.add_response(name, {}, {"StackName": "parallelize", **params})
        return self

    def executes(self):
        return self.calls("execute_change_set", ChangeSetName=ANY, ClientRequestToken=ANY)

    def deletes(self):
        return self.calls("delete_stack", ClientRequestToken=ANY)


@pytest.fixture
def stack():
    cloudformation = boto3.client(
        "cloudformation", region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b"
    )
    with Stubber(cloudformation) as stub:
        yield Stack(cloudformation, "parallelize", poll_seconds=0), Script(stub)
        stub.assert_no_pending_responses()


def deploy(stack):
    told = []
    with stack.change_set(TEMPLATE, {}, {}) as changes:
        changes.execute(told.append)
    return told


def test_a_state_from_before_the_update_is_not_taken_for_its_end(stack):
    stack, aws = stack
    aws.is_in("UPDATE_COMPLETE").plans("UPDATE").has_planned("Topic")
    aws.is_in("UPDATE_COMPLETE").executes()
    aws.is_in("UPDATE_COMPLETE").execution_is("AVAILABLE")
    aws.is_in("UPDATE_COMPLETE").execution_is("EXECUTE_IN_PROGRESS")
    aws.is_in("UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_COMPLETE")
    assert deploy(stack) == [
        "UPDATE_COMPLETE", "UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
        "UPDATE_COMPLETE",
    ]  # fmt: skip


def test_an_update_too_quick_to_be_seen_is_seen_by_its_change_set(stack):
    stack, aws = stack
    aws.is_in("UPDATE_COMPLETE").plans("UPDATE").has_planned("Topic")
    aws.is_in("UPDATE_COMPLETE").executes()
    aws.is_in("UPDATE_COMPLETE").execution_is("EXECUTE_COMPLETE")
    assert deploy(stack) == ["UPDATE_COMPLETE"]


def test_a_plan_that_was_carried_out_is_not_deleted(stack):
    """CloudFormation answers InvalidChangeSetStatus, and a success would look like an error."""
    stack, aws = stack
    aws.is_gone().plans("CREATE").has_planned("Topic")
    aws.is_in("REVIEW_IN_PROGRESS").executes()
    aws.is_in("CREATE_IN_PROGRESS", "CREATE_COMPLETE")
    assert deploy(stack)[-1] == "CREATE_COMPLETE"


def test_a_plan_for_a_new_stack_takes_the_empty_stack_along_and_sees_it_go(stack):
    stack, aws = stack
    aws.is_gone().plans("CREATE").has_planned("Topic")
    aws.is_in("REVIEW_IN_PROGRESS", "REVIEW_IN_PROGRESS").deletes()
    aws.is_in("REVIEW_IN_PROGRESS", "DELETE_IN_PROGRESS").is_gone()
    with stack.change_set(TEMPLATE, {}, {}) as changes:
        assert changes.lines == ("would add Topic (AWS::SNS::Topic)",)


def test_a_stack_that_somebody_else_makes_while_we_plan_is_not_taken_along(stack):
    stack, aws = stack
    aws.is_gone().plans("CREATE").has_planned("Topic")
    aws.is_in("CREATE_IN_PROGRESS").calls("delete_change_set", ChangeSetName=ANY)
    with stack.change_set(TEMPLATE, {}, {}):
        pass


def test_somebody_elses_plans_for_a_new_stack_stay(stack):
    stack, aws = stack
    aws.is_in("REVIEW_IN_PROGRESS").plans("CREATE").has_planned("Topic")
    aws.calls("delete_change_set", ChangeSetName=ANY)
    with stack.change_set(TEMPLATE, {}, {}):
        pass


def test_a_plan_that_is_still_being_made_does_not_hide_why_it_was_given_up(stack):
    stack, aws = stack
    aws.is_in("UPDATE_COMPLETE").plans("UPDATE").has_planned("Topic")
    aws.stub.add_client_error("delete_change_set", "InvalidChangeSetStatus", "being made", 400)
    with pytest.raises(KeyboardInterrupt), stack.change_set(TEMPLATE, {}, {}):
        raise KeyboardInterrupt


def test_a_plan_of_many_changes_is_read_to_its_end(stack):
    stack, aws = stack
    aws.is_in("UPDATE_COMPLETE").plans("UPDATE").has_planned("One", more="2").has_planned("Two")
    aws.calls("delete_change_set", ChangeSetName=ANY)
    with stack.change_set(TEMPLATE, {}, {}) as changes:
        assert len(changes.lines) == 2


def test_parameters_of_the_stack_that_the_template_still_has_are_kept(stack):
    stack, aws = stack
    values = [
        {"ParameterKey": "Prefix", "ParameterValue": "lab/"},
        {"ParameterKey": "Email", "UsePreviousValue": True},
    ]
    aws.is_in("UPDATE_COMPLETE", parameters=("Email", "Prefix", "Gone")).plans("UPDATE", values)
    aws.has_planned("Topic").calls("delete_change_set", ChangeSetName=ANY)
    with stack.change_set(TEMPLATE, {"Prefix": "lab/"}, {}):
        pass


def event(resource, status, reason, token):
    return {
        "StackId": "arn", "EventId": reason, "StackName": "parallelize", "Timestamp": CREATED,
        "LogicalResourceId": resource, "ResourceStatus": status,
        "ResourceStatusReason": reason, "ClientRequestToken": token,
    }  # fmt: skip


def test_the_reason_of_a_failure_is_not_that_of_an_earlier_one(stack):
    stack, aws = stack
    events = [  # the newest first, as AWS has them
        event("Topic", "CREATE_FAILED", "cancelled", "now"),
        event("LogGroup", "CREATE_FAILED", "it exists", "now"),
        event("Bucket", "UPDATE_FAILED", "last year's", "before"),
    ]
    for _ in range(2):
        aws.stub.add_response("describe_stack_events", {"StackEvents": events})
    assert stack.reason("now") == "LogGroup: it exists"
    assert stack.reason("another") is None


def test_an_update_that_is_taken_back_is_an_error(stack):
    stack, aws = stack
    aws.is_in("UPDATE_COMPLETE").plans("UPDATE").has_planned("Topic")
    aws.is_in("UPDATE_COMPLETE").executes()
    aws.is_in("UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE")
    aws.stub.add_response("describe_stack_events", {"StackEvents": []})
    with pytest.raises(ServiceError, match="ended as UPDATE_ROLLBACK_COMPLETE"):
        deploy(stack)


def test_a_deletion_is_not_over_while_the_stack_is_as_it_was(stack):
    stack, aws = stack
    aws.is_in("CREATE_COMPLETE").deletes()
    aws.is_in("CREATE_COMPLETE", "DELETE_IN_PROGRESS").is_gone()
    told = []
    stack.delete(told.append)
    assert told == ["CREATE_COMPLETE", "DELETE_IN_PROGRESS", "DELETE_COMPLETE"]


def test_a_stack_that_is_gone_before_it_is_deleted_is_not_waited_for(stack):
    stack, aws = stack
    aws.is_gone().deletes().is_gone()
    told = []
    stack.delete(told.append)
    assert told == ["DELETE_COMPLETE"]


def test_a_deletion_that_fails_says_why(stack):
    stack, aws = stack
    aws.is_in("CREATE_COMPLETE").deletes()
    aws.is_in("DELETE_IN_PROGRESS", "DELETE_FAILED")
    aws.stub.add_response("describe_stack_events", {"StackEvents": []})
    with pytest.raises(ServiceError, match="ended as DELETE_FAILED"):
        stack.delete(lambda _: None)


def test_every_state_that_cloudformation_knows_has_a_standing():
    model = boto3.client("cloudformation", region_name=REGION).meta.service_model
    status = model.shape_for("StackStatus")
    assert isinstance(status, StringShape)
    states = {state: standing(state) for state in status.enum}
    assert {state for state, stands in states.items() if stands is Standing.STUCK} == {
        "UPDATE_ROLLBACK_FAILED", "IMPORT_ROLLBACK_FAILED",
    }  # fmt: skip
    assert standing(None) is Standing.ABSENT


NOTHING_NEW = [
    "The submitted information didn't contain changes. Submit different information.",
    "No updates are to be performed.",
]


@pytest.mark.parametrize("reason", NOTHING_NEW)
def test_a_change_set_that_fails_for_want_of_changes_has_none_and_is_deleted(stack, reason):
    stack, aws = stack
    aws.is_in("UPDATE_COMPLETE").plans("UPDATE")
    answer = {"Status": "FAILED", "StatusReason": reason, "ExecutionStatus": "UNAVAILABLE"}
    aws.stub.add_response("describe_change_set", answer)
    aws.calls("delete_change_set", ChangeSetName=ANY)
    with stack.change_set(TEMPLATE, {}, {}) as changes:
        assert changes.lines == ()


@pytest.mark.parametrize("reason", NOTHING_NEW)
def test_a_change_set_that_is_refused_for_want_of_changes_has_none(stack, reason):
    stack, aws = stack
    aws.is_in("UPDATE_COMPLETE")
    aws.stub.add_response("get_template_summary", {"Parameters": []})
    aws.stub.add_client_error("create_change_set", "ValidationError", reason, 400)
    with stack.change_set(TEMPLATE, {}, {}) as changes:
        assert changes.lines == ()


def test_a_change_set_that_is_refused_for_another_reason_is_an_error(stack):
    stack, aws = stack
    aws.is_in("UPDATE_COMPLETE")
    aws.stub.add_response("get_template_summary", {"Parameters": []})
    aws.stub.add_client_error("create_change_set", "ValidationError", "Template error", 400)
    with pytest.raises(ServiceError), stack.change_set(TEMPLATE, {}, {}):
        pass
