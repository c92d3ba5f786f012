"""Where AWS is: refuses unknown regions and buckets in another region, tells of other endpoints."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from parallelize.console import escape
from parallelize_core.errors import UsageError
from parallelize_core.translated import translated

if TYPE_CHECKING:
    from parallelize_core.clients import Session

ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL"
"""For all services; with `_S3` and the like, for one service, which takes precedence."""

IGNORE_ENDPOINTS_VARIABLE = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"


def check_name(session: Session, source: str, environ: Mapping[str, str] = os.environ) -> None:
    """Raise UsageError if the session's region is not one of AWS's, as botocore knows them.

    AWS is not called. With a custom endpoint, a region may have any name.
    """
    name = session.region_name
    if name is None or any(
        environ.get(key) for key in environ if key.startswith(ENDPOINT_VARIABLE)
    ):
        return
    known = known_regions(session)
    if name not in known:
        import difflib  # noqa: PLC0415 - only a wrong name needs it

        # Swapped letters are the most likely slip: "esat" is "east", not "west".
        same_letters = [one for one in known if sorted(one) == sorted(name)]
        near = same_letters or difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean {near[0]}?" if near else None
        raise UsageError(
            f'region "{escape(name)}" is not an AWS region (from {source})',
            meant,
            "check the name; if the region is new: pip install --upgrade boto3",
        )


def is_known(name: str) -> bool:
    """Whether botocore knows a region, by its list: importing botocore takes far longer."""
    found = importlib.util.find_spec("botocore")
    for folder in (found and found.submodule_search_locations) or ():
        try:
            said = json.loads(Path(folder, "data", "partitions.json").read_bytes())
            return any(name in partition["regions"] for partition in said["partitions"])
        except (OSError, ValueError, LookupError, TypeError):
            return False
    return False


@translated("AWS")
def known_regions(session: Session) -> list[str]:
    """Return the regions of all of AWS's partitions."""
    partitions = session.get_available_partitions()
    return [name for one in partitions for name in session.get_available_regions("ec2", one)]


def check_bucket(bucket: str, there: str, here: str, source: str) -> None:
    """Raise UsageError if a bucket is not in the run's region.

    S3 would serve it anyway, and bill each byte that leaves its region.
    """
    if there and there != here:
        raise UsageError(
            f"bucket {bucket} is in {there}, but this run uses {here}",
            f"(region set in {source})",
            f"--region {there}, or a bucket in {here}",
        )


def custom_endpoint(environ: Mapping[str, str], service: str = "S3") -> str | None:
    """Return the endpoint that replaces AWS's for a service, if there is one.

    It is found as the SDKs find it
    (https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html), `service` being the
    suffix of a variable's name; only a profile's `endpoint_url` is ignored.
    """
    if _ignores_endpoints(environ):
        return None
    named = environ.get(f"{ENDPOINT_VARIABLE}_{service}") or environ.get(ENDPOINT_VARIABLE) or ""
    return None if _is_aws(named) else named


def endpoint_banner(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each variable whose endpoint replaces AWS's."""
    if _ignores_endpoints(environ):
        return []
    return [
        f"note: not AWS: {escape(f'{name}={environ[name]}')}"
        for name in sorted(environ)
        if re.fullmatch(f"{ENDPOINT_VARIABLE}(_.*)?", name) and not _is_aws(environ[name])
    ]


def _ignores_endpoints(environ: Mapping[str, str]) -> bool:
    return environ.get(IGNORE_ENDPOINTS_VARIABLE, "").lower() == "true"


def _is_aws(endpoint: str) -> bool:
    """Whether no endpoint is named, or one of AWS's own, such as a VPC's interface to S3."""
    host = urlsplit(endpoint).hostname or ""
    return not endpoint or host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))
