"""What botocore's errors become for the person who has to act."""

from __future__ import annotations

import pytest
from botocore import exceptions as aws

from parallelize_core.aws_errors import explain
from parallelize_core.errors import (
    AccessError,
    MissingError,
    ParallelizeError,
    RefusedError,
    ThrottledError,
    UnavailableError,
    UsageError,
)

WIDTH = 80


def refused(code: str, message: str = "because", operation: str = "Operation") -> aws.ClientError:
    return aws.ClientError({"Error": {"Code": code, "Message": message}}, operation)


def told(error: Exception) -> ParallelizeError:
    explained = explain(error)
    assert explained is not None
    return explained


CODES = [
    ("ExpiredToken", AccessError, 4),
    ("RequestExpired", AccessError, 4),
    ("InvalidAccessKeyId", AccessError, 4),
    ("InvalidToken", AccessError, 4),
    ("AccessDenied", RefusedError, 4),
    ("UnauthorizedOperation", RefusedError, 4),
    ("403", RefusedError, 4),
    ("RequestTimeTooSkewed", UsageError, 2),
    ("NoSuchBucket", UsageError, 2),
    ("PermanentRedirect", UsageError, 2),
    ("AuthorizationHeaderMalformed", UsageError, 2),
    ("BucketAlreadyExists", UsageError, 2),
    ("SlowDown", ThrottledError, 6),
    ("RequestThrottled", ThrottledError, 6),
    ("AWS.SimpleQueueService.QueueDeletedRecently", UnavailableError, 6),
    ("QueueDeletedRecently", UnavailableError, 6),
    ("ServiceUnavailable", UnavailableError, 6),
    ("AWS.SimpleQueueService.NonExistentQueue", MissingError, 6),
    ("QueueDoesNotExist", MissingError, 6),
]


@pytest.mark.parametrize(("code", "kind", "exit_code"), CODES)
def test_a_code_of_aws_becomes_an_error_of_its_kind(
    code: str, kind: type[ParallelizeError], exit_code: int
) -> None:
    error = told(refused(code))
    assert type(error) is kind
    assert error.exit_code == exit_code


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (aws.NoCredentialsError(), AccessError),
        (aws.PartialCredentialsError(provider="env", cred_var="secret"), AccessError),
        (aws.SSOTokenLoadError(error_msg="no token"), AccessError),
        (aws.UnauthorizedSSOTokenError(), AccessError),
        (aws.TokenRetrievalError(provider="sso", error_msg="expired"), AccessError),
        (aws.LoginRefreshRequired(), AccessError),
        (aws.CredentialRetrievalError(provider="custom", error_msg="exit 1"), AccessError),
        (aws.ProfileNotFound(profile="lab"), UsageError),
        (aws.NoRegionError(), UsageError),
        (aws.InvalidRegionError(region_name="eu west"), UsageError),
        (aws.ConfigParseError(path="~/.aws/config"), UsageError),
        (aws.ParamValidationError(report='Invalid bucket name "a b"'), UsageError),
        (aws.EndpointConnectionError(endpoint_url="http://x"), UnavailableError),
        (aws.ConnectTimeoutError(endpoint_url="http://x"), UnavailableError),
        (aws.ReadTimeoutError(endpoint_url="http://x"), UnavailableError),
        (aws.ConnectionClosedError(endpoint_url="http://x"), UnavailableError),
        (aws.ProxyConnectionError(proxy_url="http://x"), UnavailableError),
        (aws.SSLError(endpoint_url="http://x", error="bad"), UnavailableError),
        (aws.ResponseStreamingError(error="reset"), UnavailableError),
        (aws.IncompleteReadError(actual_bytes=1, expected_bytes=2), UnavailableError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_an_error_of_the_library_becomes_one_of_its_kind(
    error: Exception, kind: type[ParallelizeError]
) -> None:
    assert type(told(error)) is kind


@pytest.mark.parametrize("code", [code for code, *_ in CODES])
def test_an_explanation_says_why_or_what_to_do_in_lines_that_fit(code: str) -> None:
    error = told(refused(code))
    assert error.why or error.fix
    assert max(map(len, str(error).splitlines())) <= WIDTH


def test_what_is_not_allowed_is_named() -> None:
    assert "PutObject" in told(refused("AccessDenied", operation="PutObject")).what


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "InvalidSignatureException"])
@pytest.mark.parametrize(
    "message",
    [
        "Signature expired: 20261120T100000Z is now earlier than 20261120T110000Z",
        "Signature not yet current: 20261120T120000Z is still later than 20261120T110500Z",
    ],
)
def test_a_signature_from_another_time_is_a_wrong_clock_and_no_wrong_credentials(
    code: str, message: str
) -> None:
    error = told(refused(code, message))
    assert type(error) is UsageError
    assert "clock" in error.what


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "InvalidSignatureException"])
def test_a_signature_with_another_key_is_wrong_credentials(code: str) -> None:
    words = "The request signature we calculated does not match the signature you provided."
    assert "credentials" in told(refused(code, words)).what


def test_an_expired_request_may_be_an_expired_session_or_a_wrong_clock() -> None:
    error = told(refused("RequestExpired", "Request has expired."))
    assert "session has expired" in error.what
    assert "clock" in error.what


def test_an_expired_session_says_that_the_workers_go_on() -> None:
    assert "workers" in str(told(refused("ExpiredToken")))


@pytest.mark.parametrize(
    "error", [refused("NobodyKnows"), RuntimeError("a bug of ours"), OSError()]
)
def test_what_is_not_known_is_not_explained_away(error: Exception) -> None:
    assert explain(error) is None
