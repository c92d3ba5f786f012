"""The instance metadata service, version 2 only.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html

It says what this machine is; the heartbeat reports that.
"""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException

from parallelize_agent.machine import host
from parallelize_agent.machine.group import STATE_PATH
from parallelize_core.config import AgentConfig
from parallelize_core.cost import hourly_usd
from parallelize_core.errors import ServiceError
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.version import VERSION

DEFAULT_ENDPOINT = "http://169.254.169.254"
ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
TOKEN_SECONDS = 6 * 60 * 60
TIMEOUT_SECONDS = 2


class _UnreadyError(ServiceError):
    """The service did not answer, or does not yet: that is normal for a while after boot."""


# No proxy: the address is this machine's own, whatever http_proxy says.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Metadata:
    """Reads from the metadata service; keeps a session token and renews it when refused.

    Between two tries it waits for at most `max_pause_seconds`.
    """

    def __init__(self, endpoint: str, max_pause_seconds: float = 5) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._max_pause_seconds = max_pause_seconds
        self._token: str | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Metadata:
        """Return the service that botocore would use."""
        return cls(environ.get(ENDPOINT_VARIABLE) or DEFAULT_ENDPOINT)

    def get(self, path: str) -> str | None:
        """Return what is at `latest/<path>`, or None if there is nothing.

        Raises ServiceError if the service does not answer after about 20 s of trying.
        """
        # It takes some milliseconds to load, and only a worker in EC2 asks.
        from tenacity import (  # noqa: PLC0415
            Retrying,
            retry_if_exception_type,
            stop_after_attempt,
            wait_random_exponential,
        )

        patiently = Retrying(
            retry=retry_if_exception_type(_UnreadyError),
            stop=stop_after_attempt(8),
            wait=wait_random_exponential(multiplier=0.2, max=self._max_pause_seconds),
            reraise=True,
        )
        return patiently(self._get, path)

    def _get(self, path: str) -> str | None:
        if self._token is None:
            self._token = self._new_token()
        try:
            return self._request("GET", path, {"X-aws-ec2-metadata-token": self._token})
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            # 401: the token has expired, or the service was restarted.
            self._token = None
            raise self._unready(f"it answered {error.code}") from None

    def _new_token(self) -> str:
        try:
            return self._request(
                "PUT", "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
            )
        except urllib.error.HTTPError as error:
            raise self._unready(f"it gave no token and answered {error.code}") from None

    def _request(self, method: str, path: str, headers: Mapping[str, str]) -> str:
        request = urllib.request.Request(  # noqa: S310 - the endpoint is http by nature
            f"{self._endpoint}/latest/{path}", method=method, headers=dict(headers)
        )
        try:
            with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as answer:
                return str(answer.read().decode("utf-8"))
        except urllib.error.HTTPError:
            raise
        except (OSError, HTTPException, UnicodeDecodeError) as error:
            raise self._unready(str(error) or repr(error)) from None

    def _unready(self, why: str) -> _UnreadyError:
        return _UnreadyError(
            f"the metadata service at {self._endpoint} cannot be read",
            why,
            "outside EC2, give the configuration with --config FILE",
        )


@dataclass(frozen=True)
class Instance:
    """What the metadata service says about the machine; empty without one.

    `market` is "spot" or "on-demand"; `group_state` is empty outside an Auto Scaling group.
    `has_address` says whether it has a public IPv4 address, which is charged.
    """

    worker: str
    type: str = ""
    zone: str = ""
    market: str = ""
    group_state: str = ""
    region: str | None = None
    has_address: bool = False
    user_data: str = ""


def no_instance() -> Instance:
    """Return the facts of a machine outside EC2."""
    return Instance(host.machine_name())


def read_instance(metadata: Metadata) -> Instance:
    """Ask the metadata service; raises ServiceError if it does not answer."""
    return Instance(
        worker=metadata.get("meta-data/instance-id") or host.machine_name(),
        type=metadata.get("meta-data/instance-type") or "",
        zone=metadata.get("meta-data/placement/availability-zone") or "",
        market=metadata.get("meta-data/instance-life-cycle") or "",
        group_state=metadata.get(STATE_PATH) or "",
        region=metadata.get("meta-data/placement/region"),
        has_address=bool(metadata.get("meta-data/public-ipv4")),
        user_data=metadata.get("user-data") or "",
    )


def identify(config: AgentConfig, instance: Instance, slots: int = 0) -> Heartbeat:
    """Return the part of a worker's heartbeat that never changes."""
    prices = config.hourly_usd
    return Heartbeat(
        worker=instance.worker,
        state=WorkerState.STARTING,
        started=time.time(),
        seen=time.time(),
        interval_seconds=config.heartbeat_seconds,
        slots=slots,
        type=instance.type,
        zone=instance.zone,
        market=instance.market,
        agent_version=VERSION,
        hourly_usd=hourly_usd(prices, instance.market, instance.type, instance.zone),
        max_cost_usd=config.max_cost_usd,
        lane=config.lane,
    )
