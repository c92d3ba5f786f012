"""What botocore's errors mean, in words for the person who has to act."""

from __future__ import annotations

from botocore import exceptions as aws

from parallelize_core.errors import AccessError, ParallelizeError, ServiceError, UsageError

_EXPIRED_CODES = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_IDENTITY_CODES = {
    "AuthFailure", "InvalidAccessKeyId", "InvalidClientTokenId", "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}  # fmt: skip
_DENIED_CODES = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"}
_THROTTLED_CODES = {
    "Throttling", "ThrottlingException", "RequestThrottled", "RequestLimitExceeded", "SlowDown",
    "TooManyRequestsException", "503", "ServiceUnavailable", "InternalError", "InternalFailure",
}  # fmt: skip
_EXPIRED_ERRORS = (
    aws.SSOTokenLoadError, aws.UnauthorizedSSOTokenError, aws.TokenRetrievalError,
)  # fmt: skip


def explain(error: Exception) -> ParallelizeError | None:
    """Say what an error of botocore means, or answer None if that is not known."""
    if isinstance(error, aws.ClientError):
        return _explain_code(error)
    if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError):
        return AccessError(
            "no AWS credentials found",
            "looked in: environment, ~/.aws, SSO, container, EC2",
            "aws configure sso   then   export AWS_PROFILE=NAME\n"
            "  no AWS account? try: parallelize run --local",
        )
    if isinstance(error, _EXPIRED_ERRORS):
        return _expired(str(error))
    return _explain_setting(error)


def _explain_setting(error: Exception) -> ParallelizeError | None:
    if isinstance(error, aws.ProfileNotFound):
        return UsageError(str(error), fix="aws configure list-profiles   shows those there are")
    if isinstance(error, aws.NoRegionError):
        return UsageError(
            "no AWS region is set",
            "looked at --region, PARALLELIZE_REGION, AWS_REGION, AWS_DEFAULT_REGION, aws.region",
            "--region eu-west-1, or aws.region in parallelize.toml",
        )
    unreachable = (
        aws.EndpointConnectionError, aws.ConnectTimeoutError, aws.ReadTimeoutError,
        aws.ConnectionClosedError, aws.ProxyConnectionError, aws.SSLError,
    )  # fmt: skip
    if isinstance(error, unreachable):
        return ServiceError(
            "AWS cannot be reached",
            str(error),
            "check the network, the region's name and AWS_ENDPOINT_URL",
        )
    return None


def _explain_code(error: aws.ClientError) -> ParallelizeError | None:
    code = error.response.get("Error", {}).get("Code", "")
    message = error.response.get("Error", {}).get("Message", "")
    if code in _EXPIRED_CODES:
        return _expired(message)
    if code == "RequestTimeTooSkewed":
        return UsageError("this machine's clock is wrong", message, "set the clock, e.g. with NTP")
    if code in _IDENTITY_CODES:
        return AccessError("AWS does not accept these credentials", message, "check AWS_PROFILE")
    if code in _DENIED_CODES:
        return AccessError(
            f"not allowed: {error.operation_name}",
            message or "AWS gave no reason",
            "ask for the permission, or use another profile (AWS_PROFILE)",
        )
    return _explain_service(error, code, message)


def _explain_service(error: aws.ClientError, code: str, message: str) -> ParallelizeError | None:
    if code in _THROTTLED_CODES:
        return ServiceError(
            f"AWS keeps refusing {error.operation_name} ({code})", message, "try again in a while"
        )
    if code == "NoSuchBucket":
        name = error.response["Error"].get("BucketName", "")
        return UsageError(f"bucket {name} does not exist", None, "parallelize setup, or aws.bucket")
    if code in {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"}:
        return UsageError("the bucket is in another region", message, "give its region: --region")
    if code == "BucketAlreadyExists":
        return UsageError(
            "that bucket belongs to another AWS account (names are global)",
            None,
            'aws.bucket = "auto" gives one that is yours alone',
        )
    if code.rpartition(".")[2] == "QueueDeletedRecently":
        return ServiceError(
            "the run's queue was deleted less than 60 s ago", message, "try again in a minute"
        )
    return None


def _expired(why: str) -> AccessError:
    return AccessError(
        "the AWS session has expired",
        f"{why}\n  your workers use their own role and go on",
        "aws sso login --profile NAME",
    )
