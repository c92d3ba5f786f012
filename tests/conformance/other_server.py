"""The server in CONFORMANCE_ENDPOINT, which takes the place of the local cloud's S3 and SQS."""

from __future__ import annotations

import os

SERVICES = ("S3", "SQS", "STS")
"""What it is asked for; machines stay with the local cloud."""


def other_server() -> str | None:
    """Return its URL, if there is one."""
    return os.environ.get("CONFORMANCE_ENDPOINT")


def endpoints() -> dict[str, str]:
    """Return the variables that lead those services there; none if there is no such server."""
    given = other_server()
    return {f"AWS_ENDPOINT_URL_{service}": given for service in SERVICES} if given else {}
