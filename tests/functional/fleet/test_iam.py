"""The tests' own policy evaluator, held to the examples of AWS's documentation."""

import pytest
from tests.functional.fleet.iam import allows

OBJECTS = "arn:aws:s3:::bucket/*"


def policy(effect="Allow", action="s3:GetObject", resource=OBJECTS, **more):
    return {"Statement": [{"Effect": effect, "Action": action, "Resource": resource, **more}]}


def test_what_no_statement_allows_is_refused():
    assert not allows([], "s3:GetObject", "arn:aws:s3:::bucket/a")
    assert not allows([policy()], "s3:PutObject", "arn:aws:s3:::bucket/a")
    assert not allows([policy()], "s3:GetObject", "arn:aws:s3:::other/a")


def test_an_explicit_deny_wins_over_any_allow():
    both = [policy(), policy("Deny", resource="arn:aws:s3:::bucket/secret/*")]
    assert allows(both, "s3:GetObject", "arn:aws:s3:::bucket/a")
    assert not allows(both, "s3:GetObject", "arn:aws:s3:::bucket/secret/a")


def test_actions_ignore_case_and_resources_do_not():
    assert allows([policy()], "S3:getobject", "arn:aws:s3:::bucket/a")
    assert not allows([policy()], "s3:GetObject", "arn:aws:s3:::Bucket/a")


@pytest.mark.parametrize(
    ("action", "expected"), [("s3:GetObject", True), ("s3:GetObjectTagging", False)]
)
def test_a_question_mark_stands_for_one_character(action, expected):
    assert allows([policy(action="s3:Get?bject")], action, "arn:aws:s3:::bucket/a") is expected


def test_one_value_of_a_key_is_enough_and_every_key_is_needed():
    condition = {"StringEquals": {"a": ["1", "2"], "b": "3"}}
    one = [policy(Condition=condition)]
    assert allows(one, "s3:GetObject", "arn:aws:s3:::bucket/k", {"a": "2", "b": "3"})
    assert not allows(one, "s3:GetObject", "arn:aws:s3:::bucket/k", {"a": "2"})


def test_a_missing_key_passes_only_with_if_exists():
    key = "arn:aws:s3:::bucket/k"
    assert not allows([policy(Condition={"StringLike": {"p": "x*"}})], "s3:GetObject", key)
    lenient = [policy(Condition={"StringLikeIfExists": {"p": "x*"}})]
    assert allows(lenient, "s3:GetObject", key)
    assert not allows(lenient, "s3:GetObject", key, {"p": "y"})


def test_an_unknown_operator_or_element_is_an_error_and_not_a_guess():
    with pytest.raises(KeyError):
        allows(
            [policy(Condition={"DateLessThan": {"a": "1"}})],
            "s3:GetObject",
            "arn:aws:s3:::bucket/a",
            {"a": "1"},
        )
    with pytest.raises(AssertionError):
        allows([policy(NotAction="s3:*")], "s3:GetObject", "arn:aws:s3:::bucket/a")


@pytest.mark.parametrize(
    ("context", "allowed"),
    [({"aws:username": "ana"}, True), ({"aws:username": "bob"}, False), ({}, False)],
)
def test_a_variable_in_a_resource_is_what_the_request_says(context, allowed):
    own = policy(resource="arn:aws:iam::1:user/${aws:username}")
    assert allows([own], "s3:GetObject", "arn:aws:iam::1:user/ana", context) is allowed
