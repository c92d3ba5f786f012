"""What botocore's errors mean, in words for the person who has to act."""

from __future__ import annotations

import shlex

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

from parallelize_core.errors import (
    AccessError,
    MissingError,
    ParallelizeError,
    ServiceError,
    UsageError,
)

_EXPIRED_CODES = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
_IDENTITY_CODES = {
    "AuthFailure", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSignatureException",
    "InvalidToken", "OptInRequired", "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip
_CLOCK_WORDS = ("Signature expired", "Signature not yet current")
"""What most services say of a request from another time, under the code of a wrong signature.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
"""
_DENIED_CODES = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"}
_THROTTLED_CODES = {
    "Throttling", "ThrottlingException", "RequestThrottled", "RequestLimitExceeded", "SlowDown",
    "TooManyRequestsException", "503", "ServiceUnavailable", "InternalError", "InternalFailure",
}  # fmt: skip
_REGION_CODES = {"AuthorizationHeaderMalformed", "IllegalLocationConstraint", "PermanentRedirect"}
_NO_QUEUE_CODES = {"NonExistentQueue", "QueueDoesNotExist"}
_EXPIRED_ERRORS = (
    aws.LoginRefreshRequired, aws.LoginTokenLoadError, aws.SSOTokenLoadError,
    aws.TokenRetrievalError, aws.UnauthorizedSSOTokenError,
)  # fmt: skip
_SETTING_ERRORS = (
    aws.ConfigNotFound, aws.ConfigParseError, aws.InvalidRegionError, aws.ParamValidationError,
    aws.UnknownRegionError,
)  # fmt: skip
_BROKEN_BODY_ERRORS = (
    aws.FlexibleChecksumError, aws.IncompleteReadError, aws.ResponseStreamingError,
)  # fmt: skip


def explain(error: Exception, profile: str | None = None) -> ParallelizeError | None:
    """Say what an error of botocore means, or answer None if that is not known.

    `profile` is the AWS profile in use, if it is known by name.
    """
    if (why := _expiry(error)) is not None:
        return _expired(why, profile)
    if isinstance(error, aws.ClientError):
        return _explain_code(error, profile)
    if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError):
        return AccessError(
            "no AWS credentials found",
            "looked in: environment, ~/.aws, SSO, container, EC2",
            "aws configure sso   then   export AWS_PROFILE=NAME\n"
            "  no AWS account? try: parallelize run --local",
        )
    if isinstance(error, aws.CredentialRetrievalError):
        return AccessError(
            "the AWS credentials could not be fetched", str(error), "check credential_process"
        )
    if isinstance(error, ResponseParserError):
        return ServiceError(
            "what answers is not AWS", str(error).splitlines()[0],
            "check AWS_ENDPOINT_URL, and proxies on the way",
        )  # fmt: skip
    return _explain_setting(error) or _explain_network(error)


def _explain_setting(error: Exception) -> ParallelizeError | None:
    if isinstance(error, aws.ProfileNotFound):
        return UsageError(str(error), fix="aws configure list-profiles   shows those there are")
    if isinstance(error, aws.NoRegionError):
        return UsageError(
            "no AWS region is set",
            "looked at --region, aws.region, the profile, and the variables\n"
            "  PARALLELIZE_REGION, AWS_REGION, AWS_DEFAULT_REGION",
            "--region eu-west-1, or aws.region in parallelize.toml",
        )
    if isinstance(error, _SETTING_ERRORS):
        return UsageError("AWS's own library refuses a setting", str(error))
    return None


def _explain_network(error: Exception) -> ParallelizeError | None:
    if isinstance(error, _BROKEN_BODY_ERRORS):
        return ServiceError(
            "what AWS sends keeps breaking off",
            str(error),
            "check the network and try again; what is done is not done again",
        )
    if isinstance(error, aws.HTTPClientError | aws.ConnectionError):
        return ServiceError(
            "AWS cannot be reached",
            str(error),
            "start the local cloud again: parallelize run --local"
            if "127.0.0.1" in str(error)
            else "check the network, the region's name and AWS_ENDPOINT_URL",
        )
    return None


def _explain_code(error: aws.ClientError, profile: str | None) -> ParallelizeError | None:
    code = error.response.get("Error", {}).get("Code", "")
    message = error.response.get("Error", {}).get("Message", "")
    if code == "RequestTimeTooSkewed" or message.startswith(_CLOCK_WORDS):
        return UsageError("this machine's clock is wrong", message, "set the clock, e.g. with NTP")
    if code == "RequestExpired":
        # Of EC2 and Auto Scaling; either may be the cause, and their words do not say which.
        # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
        return _expired(message, profile, "; or this machine's clock is wrong")
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
    return _explain_bucket(error, code, message) or _explain_queue(code, message)


def _explain_bucket(error: aws.ClientError, code: str, message: str) -> ParallelizeError | None:
    if code == "NoSuchBucket":
        name = error.response["Error"].get("BucketName", "")
        return UsageError(f"bucket {name} does not exist", None, "parallelize setup, or aws.bucket")
    if code in _REGION_CODES:
        return UsageError("the bucket is in another region", message, "give its region: --region")
    if code == "BucketAlreadyExists":
        return UsageError(
            "that bucket belongs to another AWS account (names are global)",
            None,
            'aws.bucket = "auto" gives one that is yours alone',
        )
    return None


def _explain_queue(code: str, message: str) -> ParallelizeError | None:
    # SQS's older protocol puts "AWS.SimpleQueueService." before its codes.
    name = code.rpartition(".")[2]
    if name in _NO_QUEUE_CODES:
        return MissingError("the run's queue does not exist", message, "parallelize enqueue")
    if name == "QueueDeletedRecently":
        return ServiceError(
            "the run's queue was deleted less than 60 s ago", message, "try again in a minute"
        )
    return None


def _expiry(error: Exception) -> str | None:
    """Return AWS's words if the error says that credentials have expired."""
    if isinstance(error, _EXPIRED_ERRORS):
        return str(error)
    if isinstance(error, aws.ClientError):
        said = error.response.get("Error", {})
        return said.get("Message", "") if said.get("Code") in _EXPIRED_CODES else None
    return None


def _expired(why: str, profile: str | None, or_else: str = "") -> AccessError:
    whose = f' of profile "{profile}"' if profile else ""
    return AccessError(
        f"the AWS session{whose} has expired{or_else}",
        f"{why}\n  your workers use their own role and go on",
        f"aws sso login --profile {shlex.quote(profile) if profile else 'NAME'}",
    )
