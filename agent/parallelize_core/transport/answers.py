"""What S3's and SQS's error responses mean.

S3: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
SQS: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from parallelize_core.errors import (
    AccessError,
    ArchivedError,
    ChangedError,
    MissingError,
    ParallelizeError,
    RefusedError,
    ThrottledError,
    UnavailableError,
    UsageError,
)
from parallelize_core.transport.retries import Reason
from parallelize_core.transport.signing import Keys

CLOCK_WORDS = ("Signature expired", "Signature not yet current")
"""What SQS says about a request with a wrong time, under the code for a wrong signature.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
"""

_CONFLICTS = {"ConditionalRequestConflict", "OperationAborted"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
_IDENTITY = {
    "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSecurity", "InvalidSignature",
    "InvalidToken", "NotSignedUp", "OptInRequired", "SignatureDoesNotMatch", "UnrecognizedClient",
}  # fmt: skip
_THROTTLED = {
    "BandwidthLimitExceeded", "KmsThrottled", "LimitExceeded", "OverLimit", "RequestLimitExceeded",
    "RequestThrottled", "SlowDown", "Throttled", "Throttling", "TooManyRequests",
}  # fmt: skip
_PASSING = {
    "BadDigest", "IncompleteBody", "InternalError", "InternalFailure", "NoSuchUpload",
    "PriorRequestNotComplete", "RequestTimeout", "ServiceUnavailable", "XAmzContentSHA256Mismatch",
}  # fmt: skip
"""A service failed, or a body changed or broke off in transit.

An upload that does not exist was completed or aborted by a call whose response was lost.
"""
_NO_QUEUE = {"NonExistentQueue", "QueueDoesNotExist"}
_OTHER_REGION = {
    "AuthorizationHeaderMalformed", "IllegalLocationConstraint", "PermanentRedirect",
    "TemporaryRedirect",
}  # fmt: skip
_PASSING_STATUS = {408, 500, 502, 503, 504}


class ConflictError(UnavailableError):
    """Another write to the same object is under way, so the outcome is not known yet."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete response; header names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


_PASSING_ERRORS = {
    Reason.CONFLICT: (ConflictError, "is being written by others"),
    Reason.THROTTLED: (ThrottledError, "is asked for too often"),
    Reason.TRANSIENT: (UnavailableError, "is not available"),
}


class ReplyError(Exception):
    """An error response; `code` has no prefix or suffix."""

    def __init__(self, reply: Reply) -> None:
        code, self.message = _words(reply)
        self.code = short_code(code)
        self.reply = reply
        self.status = reply.status
        self.keys: Keys | None = None
        """What the request was signed with."""
        self.asked_region = ""
        self.response = {"Error": {"Code": self.code, "Message": self.message}}
        """The same as botocore's errors have it; see `errors.code_of`."""
        super().__init__(f"{reply.status} {self.code}: {self.message}")

    @property
    def reason(self) -> Reason | None:
        """Return why the call may be retried, or None if it may not."""
        if self.code in _CONFLICTS:
            return Reason.CONFLICT
        if self.code in _THROTTLED or self.status == 429:
            return Reason.THROTTLED
        if self.code in _PASSING or self.status in _PASSING_STATUS:
            return Reason.TRANSIENT
        return None

    @property
    def expired(self) -> bool:
        """Whether the credentials have expired."""
        return self.code in _EXPIRED

    @property
    def skewed(self) -> bool:
        """Whether this machine's clock is wrong."""
        return self.code == "RequestTimeTooSkewed" or self.message.startswith(CLOCK_WORDS)

    @property
    def elsewhere(self) -> bool:
        """Whether the bucket is in another region."""
        return self.status in {301, 307} or self.code in _OTHER_REGION

    @property
    def region(self) -> str:
        """Return the region that the response names, or an empty string."""
        named = self.reply.headers.get("x-amz-bucket-region") or field_of(self.reply.body, "Region")
        return named if re.fullmatch(r"[a-z0-9-]+", named) else ""

    @property
    def retry_after(self) -> float | None:
        """Return the seconds that the server asks to wait."""
        headers = self.reply.headers
        milliseconds = headers.get("x-amz-retry-after", "")
        if milliseconds.isdecimal():
            return int(milliseconds) / 1000
        seconds = headers.get("retry-after", "")
        return float(seconds) if seconds.isdecimal() else None


def short_code(code: str) -> str:
    """Return a code without SQS's protocol prefixes and the suffixes that some servers add."""
    return code.rpartition("#")[2].rpartition(".")[2].removesuffix("Exception")


def hidden_error(reply: Reply) -> ReplyError | None:
    """Return the error in a response that began as a success, as S3's do when S3 takes long."""
    if reply.body[:300].find(b"<Error>") < 0:
        return None
    return ReplyError(Reply(500, reply.headers, reply.body))


def field_of(body: bytes, name: str) -> str:
    """Return the text of the first element `name` of an XML response, or an empty string."""
    found = re.search(rb"<%b>([^<]*)</%b>" % (name.encode(), name.encode()), body)
    return unescape(found[1].decode(errors="replace")) if found else ""


def unescape(text: str) -> str:
    """Return a text of an XML response with its entities replaced."""
    if "&" not in text:
        return text
    from html import unescape as replaced  # noqa: PLC0415 - a table of 2,000 names, seldom needed

    return replaced(text)


def _words(reply: Reply) -> tuple[str, str]:
    """Return the code and the message of an XML or JSON response."""
    if reply.body.lstrip()[:1] == b"{":
        try:
            said = json.loads(reply.body)
        except ValueError:
            said = {}
        older = reply.headers.get("x-amzn-query-error", "").partition(";")[0]
        message = said.get("message") or said.get("Message") or ""
        return older or str(said.get("__type", "")), str(message)
    return field_of(reply.body, "Code"), field_of(reply.body, "Message")


def translated(error: ReplyError, where: str) -> ParallelizeError:
    """Return the error of the tree for a response; `where` names the object or the queue."""
    why = f"{error.code or error.status}: {error.message or 'no reason given'}"
    if error.code in _NO_QUEUE | {"NoSuchKey"} or (error.status == 404 and not error.code):
        return MissingError(f"{where} does not exist", error.message or None)
    if error.status == 412 or error.code == "PreconditionFailed":
        return ChangedError(f"{where} has changed since it was listed", error.message or None)
    if error.reason is not None:
        kind, what = _PASSING_ERRORS[error.reason]
        return kind(f"{where} {what}", why, "try again in a while")
    return _refused(error, where, why)


def _refused(error: ReplyError, where: str, why: str) -> ParallelizeError:
    if error.code == "InvalidObjectState":
        fix = "restore it: aws s3api restore-object"
        return ArchivedError(f"{where} is in an archive", why, fix)
    if error.expired:
        # Renewing did not help: on EC2, new credentials will come; people have to sign in again.
        return UnavailableError("the AWS credentials have expired", why, "aws sso login")
    if error.skewed:
        return UnavailableError(
            "this machine's clock is wrong", why, "set the clock, e.g. with NTP"
        )
    return _of_setting(error, where, why) or RefusedError(
        f"access to {where} is refused", why, "check the permissions of this role or profile"
    )


def _of_setting(error: ReplyError, where: str, why: str) -> ParallelizeError | None:
    """Say what is wrong with the caller or the whole bucket; no single file is to blame."""
    if error.code == "QueueDeletedRecently":
        what = f"{where} was deleted less than 60 s ago"
        return UnavailableError(what, why, "try again in a minute")
    if error.code in _IDENTITY:
        return AccessError("AWS does not accept these credentials", why, "check AWS_PROFILE")
    if error.code == "NoSuchBucket":
        fix = "parallelize setup, or aws.bucket"
        return UsageError(f"{where}: the bucket does not exist", why, fix)
    if error.elsewhere:
        return UsageError(f"{where} is in another region", why, "give its region: --region")
    return None
