"""The instance metadata service, version 2 only.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from parallelize_core.errors import ServiceError

DEFAULT_ENDPOINT = "http://169.254.169.254"
ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
TOKEN_SECONDS = 6 * 60 * 60
TIMEOUT_SECONDS = 2


class _UnreadyError(ServiceError):
    """The service did not answer, or not yet: it does so for a while after boot."""


# No proxy: the address is this machine's own, whatever http_proxy says.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Metadata:
    """Reads from the metadata service; keeps a session token and renews it when refused."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._token: str | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Metadata:
        """Return the service that botocore would use too."""
        return cls(environ.get(ENDPOINT_VARIABLE) or DEFAULT_ENDPOINT)

    @retry(
        retry=retry_if_exception_type(_UnreadyError),
        stop=stop_after_attempt(8),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        reraise=True,
    )
    def get(self, path: str) -> str | None:
        """Return what is at `latest/<path>`, or None if there is nothing.

        Raises ServiceError if the service does not answer after about 20 s of trying.
        """
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
