"""Errors on the way to AWS, translated into our tree, in words for the person who has to act.

`parallelize_core.translated` uses it, and does not import botocore before something is raised.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from botocore import exceptions as aws

from parallelize_core.errors import (
    AccessError,
    ArchivedError,
    ChangedError,
    MissingError,
    ParallelizeError,
    RefusedError,
    ServiceError,
    ThrottledError,
    UnavailableError,
    UsageError,
    code_of,
)
from parallelize_core.translated import translated as translated  # noqa: PLC0414 - callers need both

_EXPIRED_CODES = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
_IDENTITY_CODES = {
    "AuthFailure", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSignatureException",
    "InvalidToken", "OptInRequired", "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip
_CLOCK_WORDS = ("Signature expired", "Signature not yet current")
"""What most services say of a request with a wrong time, with the code of a wrong signature.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
"""
_DENIED_CODES = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"}
_THROTTLED_CODES = {
    "Throttling", "ThrottlingException", "RequestThrottled", "RequestLimitExceeded", "SlowDown",
    "TooManyRequestsException",
}  # fmt: skip
_FAILING_CODES = {"503", "ServiceUnavailable", "InternalError", "InternalFailure"}
_PASSING_CODES = {
    # Another write to the key is under way; the request came too slowly, or not as it was sent.
    "ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "IncompleteBody",
    "BadDigest",
    # More messages in flight than SQS allows.
    "OverLimit",
}  # fmt: skip
MISSING_CODES = {"404", "NoSuchKey", "NotFound"}
CHANGED_CODES = {"412", "PreconditionFailed"}
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
_NEVER_SENT_ERRORS = (
    aws.EndpointConnectionError, aws.ConnectTimeoutError, aws.ProxyConnectionError,
)  # fmt: skip
_NONSENSE_ERRORS = (LookupError, ValueError, TypeError, AttributeError)
"""What reading a malformed answer raises."""


def translate(error: Exception, service: str, place: str = "") -> ParallelizeError:
    """Return the error of our tree for an error of a call to `service`; ours stay as they are."""
    if isinstance(error, ParallelizeError):
        return error
    if isinstance(error, aws.ClientError):
        return _of_place(error, place) or explain(error) or _unknown_refusal(error, place)
    return explain(error) or _unknown_failure(error, service)


def response_of(error: BaseException) -> Mapping[str, Any]:
    """Return the answer behind an error, as botocore has it; empty if there was none."""
    cause = error.__cause__ if isinstance(error, ParallelizeError) else error
    return cause.response if isinstance(cause, aws.ClientError) else {}


def is_broken_body(error: BaseException) -> bool:
    """Whether an answer broke off or came changed; botocore does not repeat such calls."""
    lost = (*_BROKEN_BODY_ERRORS, aws.ConnectionClosedError, aws.ReadTimeoutError)
    return isinstance(error.__cause__, lost)


def may_have_happened(error: ParallelizeError) -> bool:
    """Whether AWS may have done what it was asked although no answer came."""
    told = isinstance(error.__cause__, (aws.ClientError, *_NEVER_SENT_ERRORS))
    return isinstance(error, UnavailableError) and not told


def with_profile(error: ParallelizeError, profile: str | None) -> ParallelizeError:
    """Return an error about credentials with the name of the AWS profile; others unchanged."""
    if type(error) is AccessError and isinstance(error.__cause__, Exception):
        return explain(error.__cause__, profile) or error
    return error


def _of_place(error: aws.ClientError, place: str) -> ParallelizeError | None:
    """Return the error for what S3 or SQS says of one object, bucket or queue."""
    code, message = code_of(error), _message(error)
    if not place:
        return None
    if code in MISSING_CODES:
        return MissingError(f"{place} does not exist")
    if code in CHANGED_CODES:
        return ChangedError(f"{place} has changed since it was listed")
    if code == "InvalidObjectState":
        return ArchivedError(
            f"{place} is in an archive", message, "restore it: aws s3api restore-object"
        )
    if code in _DENIED_CODES:
        return _denied(error, f"{place}: {message or 'AWS gave no reason'}")
    return None


def _unknown_refusal(error: aws.ClientError, place: str) -> ParallelizeError:
    what, code = f"AWS refused {error.operation_name}", code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    # Without a body, as in HEAD's answer, the code is a number, and the reason is not known.
    if code in _PASSING_CODES or status >= 500 or not code or code.isdigit():
        return UnavailableError(what, str(error), "try again in a while")
    return RefusedError(what, f"{place}: {error}") if place else ServiceError(what, str(error))


def _unknown_failure(error: Exception, service: str) -> ParallelizeError:
    why = f"{type(error).__name__}: {error}"
    if isinstance(error, _NONSENSE_ERRORS) and not isinstance(error, OSError):
        return UnavailableError(
            f"{service}'s answer cannot be understood", why,
            "check AWS_ENDPOINT_URL, and proxies on the way",
        )  # fmt: skip
    return UnavailableError(
        f"a call of {service} failed", why, "check the network and AWS_ENDPOINT_URL, and try again"
    )


def _message(error: aws.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message", ""))


def explain(error: Exception, profile: str | None = None) -> ParallelizeError | None:
    """Return the error that one of botocore's means, or None if that is not known.

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
    if _is_unreadable(error):
        return UnavailableError(
            "the server that answers is not AWS", str(error).splitlines()[0],
            "check AWS_ENDPOINT_URL, and proxies on the way",
        )  # fmt: skip
    return _explain_setting(error) or _explain_network(error)


def _is_unreadable(error: Exception) -> bool:
    from botocore.parsers import ResponseParserError  # noqa: PLC0415 - four times all else here

    return isinstance(error, ResponseParserError)


def _explain_setting(error: Exception) -> ParallelizeError | None:
    if isinstance(error, aws.ProfileNotFound):
        return UsageError(str(error), fix="aws configure list-profiles   lists your profiles")
    if isinstance(error, aws.NoRegionError):
        return UsageError(
            "no AWS region is set",
            "looked at --region, aws.region, the profile, and the variables\n"
            "  PARALLELIZE_REGION, AWS_REGION, AWS_DEFAULT_REGION",
            "--region eu-west-1, or aws.region in parallelize.toml",
        )
    if isinstance(error, _SETTING_ERRORS):
        return UsageError("the AWS library (boto3) rejects a setting", str(error))
    return None


def _explain_network(error: Exception) -> ParallelizeError | None:
    if isinstance(error, _BROKEN_BODY_ERRORS):
        return UnavailableError(
            "AWS's answers keep arriving incomplete",
            str(error),
            "check the network and try again; finished work is not repeated",
        )
    if isinstance(error, aws.HTTPClientError | aws.ConnectionError):
        return UnavailableError(
            "AWS cannot be reached",
            str(error),
            "start the local cloud again: parallelize run --local"
            if "127.0.0.1" in str(error)
            else "check the network, the region's name and AWS_ENDPOINT_URL",
        )
    return None


def _explain_code(error: aws.ClientError, profile: str | None) -> ParallelizeError | None:
    code, message = code_of(error), _message(error)
    if code == "RequestTimeTooSkewed" or message.startswith(_CLOCK_WORDS):
        return UsageError("this machine's clock is wrong", message, "set the clock, e.g. with NTP")
    if code == "RequestExpired":
        # Of EC2 and Auto Scaling; either may be the cause, and their words do not say which.
        # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
        return _expired(message, profile, "; or this machine's clock is wrong")
    if code in _IDENTITY_CODES:
        return AccessError("AWS does not accept these credentials", message, "check AWS_PROFILE")
    if code in _DENIED_CODES:
        return _denied(error, message or "AWS gave no reason")
    return _explain_service(error, code, message)


def _denied(error: aws.ClientError, why: str) -> RefusedError:
    return RefusedError(
        f"not allowed: {error.operation_name}",
        why,
        "ask for the permission, or use another profile (AWS_PROFILE)",
    )


def _explain_service(error: aws.ClientError, code: str, message: str) -> ParallelizeError | None:
    if code in _THROTTLED_CODES | _FAILING_CODES:
        kind = ThrottledError if code in _THROTTLED_CODES else UnavailableError
        return kind(
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
        return UnavailableError(
            "the run's queue was deleted less than 60 s ago", message, "try again in a minute"
        )
    return None


def _expiry(error: Exception) -> str | None:
    """Return AWS's own words if the error says that credentials have expired."""
    if isinstance(error, _EXPIRED_ERRORS):
        return str(error)
    if isinstance(error, aws.ClientError):
        return _message(error) if code_of(error) in _EXPIRED_CODES else None
    return None


def _expired(why: str, profile: str | None, or_else: str = "") -> AccessError:
    whose = f' of profile "{profile}"' if profile else ""
    return AccessError(
        f"the AWS session{whose} has expired{or_else}",
        f"{why}\n  your workers use their own role and go on",
        f"aws sso login --profile {shlex.quote(profile) if profile else 'NAME'}",
    )
