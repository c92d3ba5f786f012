"""Endpoints and credentials without botocore, where no setting needs it.

A worker's machine has a region and a role; the local cloud gives an address and keys; many people
have a profile with a region and keys. It is known what botocore makes of these, so this module does
the same without it: loading botocore takes longer than everything else that a worker needs to
start. Any other variable, setting, file or odd name is left to botocore.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from parallelize_core.transport.endpoints import Endpoint
from parallelize_core.transport.pool import Origin
from parallelize_core.transport.profile import read_profile
from parallelize_core.transport.role_keys import Found, ReadMetadata, RoleKeys

_KNOWN = {
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL",
    "AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE",
}  # fmt: skip
"""The variables that this module understands."""

IGNORED = {
    "AWS_CLI_AUTO_PROMPT", "AWS_DEFAULT_OUTPUT", "AWS_PAGER", "AWS_SDK_LOAD_CONFIG", "AWS_VAULT",
}  # fmt: skip
"""Variables for AWS's command line and other programs: botocore reads none of them."""

_SETTINGS = ("~/.aws/models", "~/.boto", "/etc/boto.cfg")
"""Files that botocore would read, whatever the variables say."""

_REGION = re.compile(r"(af|ap|ca|eu|il|me|mx|sa|us)-[a-z]+-\d")
"""A region of the partition `aws`; other partitions have different names for everything."""

_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?!-)){2,62}(?<!-)(?<!-s3alias)")
"""A name that is also a valid host name, and not an alias.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
"""

_RESERVED = ("xn--", "sthree-", "amzn-s3-demo-")

_LOCAL = re.compile(r"http://(127\.0\.0\.1|localhost):\d+/?")


class Plain(NamedTuple):
    """A region, the address of a local cloud if any, and a way to find keys if known.

    `find_keys` looks again at each call; it returns the equivalent of botocore's credentials.
    """

    region: str
    local: str = ""
    find_keys: Callable[[], Found | RoleKeys] | None = None

    @classmethod
    def of(
        cls,
        environ: Mapping[str, str],
        region: str = "",
        metadata: ReadMetadata | None = None,
        profile: str = "",
    ) -> Plain | None:
        """Return what can be known without botocore, or None if only botocore knows.

        The region is that of the profile if it is not given. `metadata` reads from this machine's
        metadata service, if it has one. The keys of a `profile` win over those of the environment.
        """
        local = environ.get("AWS_ENDPOINT_URL", "")
        name = profile or environ.get("AWS_PROFILE", "")
        said = read_profile(environ, name)
        if said is None:
            return None
        region = region or said.region
        odd = (
            not _REGION.fullmatch(region),
            local and not _LOCAL.fullmatch(local),
            any(_is_unknown(name) for name, value in environ.items() if value),
            any(map(_says_something, _SETTINGS)),
        )
        if any(odd):
            return None
        if said.keys.access_key and (profile or not _has_keys(environ)):
            return cls(region, local, lambda: (read_profile(environ, name) or said).keys)
        return cls(region, local, None if profile else _keys(environ, metadata))

    def of_bucket(self, bucket: str) -> Endpoint | None:
        """Return where a bucket is; None for a name that only botocore can resolve."""
        if not _BUCKET.fullmatch(bucket) or bucket.startswith(_RESERVED):
            return None
        # The address without a region belongs to us-east-1; botocore uses it there.
        part = "" if self.region == "us-east-1" else f".{self.region}"
        return self._endpoint("s3", f"{bucket}.s3{part}.amazonaws.com", f"/{bucket}/")

    def of_queues(self) -> Endpoint:
        """Return where requests for queues go."""
        return self._endpoint("sqs", f"sqs.{self.region}.amazonaws.com", "/")

    def of_identity(self) -> Endpoint:
        """Return where requests for the caller's identity go."""
        return self._endpoint("sts", f"sts.{self.region}.amazonaws.com", "/")

    def _endpoint(self, service: str, host: str, local_path: str) -> Endpoint:
        url = urlsplit(self.local or f"https://{host}")
        tls = not self.local
        origin = Origin(url.hostname or "", url.port or 443, tls=tls)
        sums = service == "s3"
        path = local_path if self.local else "/"
        return Endpoint(origin, url.netloc, path, self.region, service, sums, sums)


def _is_unknown(name: str) -> bool:
    if name.startswith("AWS_"):
        return name not in _KNOWN | IGNORED
    # Without a proxy, it does not matter who is to be reached without one.
    lower = name.lower()
    return (lower.endswith("_proxy") and lower != "no_proxy") or name == "BOTO_CONFIG"


def _says_something(name: str) -> bool:
    """Whether a path is a file that is not empty, or something else that may matter."""
    path = Path(name).expanduser()
    try:
        return path.is_dir() or path.stat().st_size > 0
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _has_keys(environ: Mapping[str, str]) -> bool:
    return any(environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))


def _keys(
    environ: Mapping[str, str], metadata: ReadMetadata | None
) -> Callable[[], Found | RoleKeys] | None:
    access, secret = (environ.get(f"AWS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
    if access and secret:
        given = Found(access, secret, environ.get("AWS_SESSION_TOKEN") or None)
        return lambda: given
    if access or secret or metadata is None or environ.get("AWS_EC2_METADATA_DISABLED"):
        return None
    read = metadata
    return lambda: RoleKeys(read)
