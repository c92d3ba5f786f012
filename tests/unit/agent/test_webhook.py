"""Where a webhook may lead, and that nothing else is asked."""

from __future__ import annotations

import pytest

from parallelize_agent.notify.webhook import check_address, post
from parallelize_core.errors import ServiceError, UnavailableError


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.170.2",
        "fd00:ec2::254",
        "fe80::1%eth0",
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "0.0.0.0",
        "::",
        "::ffff:169.254.169.254",
        "::ffff:127.0.0.1",
        "224.0.0.1",
    ],
)
def test_a_webhook_may_not_lead_to_what_only_this_machine_can_reach(address: str) -> None:
    with pytest.raises(ServiceError, match="points to this machine itself"):
        check_address(address, on_loopback=False)


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "fe80::1"])
def test_beside_a_local_cloud_only_loopback_is_free(address: str) -> None:
    check_address("127.0.0.1", on_loopback=True)
    with pytest.raises(ServiceError):
        check_address(address, on_loopback=True)


@pytest.mark.parametrize("address", ["3.5.140.2", "10.0.0.7", "2600:1f18::1", "fd12:3456::1"])
def test_a_webhook_may_lead_to_the_internet_and_to_a_private_network(address: str) -> None:
    check_address(address, on_loopback=False)


@pytest.mark.parametrize(
    ("url", "on_loopback"),
    [("http://127.0.0.1:1/x", False), ("ftp://127.0.0.1/x", True), ("file:///etc/passwd", True)],
)
def test_only_https_is_spoken(url: str, on_loopback: bool) -> None:
    with pytest.raises(ServiceError, match="not an https:// address"):
        post(url, {}, on_loopback=on_loopback)


def test_an_error_of_the_connection_does_not_repeat_the_url() -> None:
    with pytest.raises(UnavailableError) as caught:
        post("https://127.0.0.1:1/secret", {}, on_loopback=True)
    assert str(caught.value) == "the webhook cannot be reached\nConnectionRefusedError"
