"""Posting JSON to an address that a user has named, from a machine with credentials nearby.

A webhook must not make the worker contact something that only it can reach, such as the machine's
metadata service. So only HTTPS is used, no redirect is followed, and the address of the
connection is checked before anything is sent. No error names the URL, which is a secret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from parallelize_core.errors import ServiceError, UnavailableError
from parallelize_core.version import VERSION

TIMEOUT_SECONDS = 10.0
"""For each step: to connect, to shake hands, to send, and to wait for an answer."""

EC2_OWN = IPv6Network("fd00:ec2::/32")
"""EC2's IPv6 addresses for metadata, time and names: private, but never a webhook's.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
"""

TRY_LATER = {408, 425, 429}


def post(url: str, body: Mapping[str, Any], *, on_loopback: bool = False) -> None:
    """Post `body` as JSON; `on_loopback` allows this machine itself, and plain HTTP.

    Raises UnavailableError if a retry may help, ServiceError if not.
    """
    parts = urlsplit(url)
    connection = _connection(parts, on_loopback=on_loopback)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    try:
        connection.connect()
        check_address(connection.sock.getpeername()[0], on_loopback=on_loopback)
        headers = {"Content-Type": "application/json", "User-Agent": f"parallelize/{VERSION}"}
        connection.request("POST", path, json.dumps(body).encode(), headers)
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        raise UnavailableError("the webhook cannot be reached", type(error).__name__) from None
    finally:
        connection.close()
    _check_status(status)


def check_address(address: str, *, on_loopback: bool) -> None:
    """Raise ServiceError for an address that no webhook has."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    if found.is_loopback and on_loopback:
        return
    if _is_own(found):
        raise ServiceError(
            "the webhook points to this machine itself, or to its own services", address,
            "set run.notify to the address of another machine",
        )  # fmt: skip


def _is_own(address: IPv4Address | IPv6Address) -> bool:
    odd = address.is_loopback or address.is_link_local or address.is_unspecified
    return odd or address.is_multicast or (address.version == 6 and address in EC2_OWN)


def _connection(parts: SplitResult, *, on_loopback: bool) -> HTTPConnection:
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "https":
        return HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS)
    if parts.scheme == "http" and on_loopback:
        return HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    raise ServiceError("the webhook is not an https:// address", None, "fix run.notify")


def _check_status(status: int) -> None:
    if 200 <= status < 300:
        return
    said = f"the webhook answered {status}"
    if status >= 500 or status in TRY_LATER:
        raise UnavailableError(said)
    redirect = (
        "redirects are not followed: set run.notify to the final address" if status < 400 else None
    )
    raise ServiceError(said, redirect)
