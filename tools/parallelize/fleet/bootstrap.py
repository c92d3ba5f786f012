#!/usr/bin/env python3
# What a plain machine runs at its first boot, as user data, when there is no image yet.
# It has only the standard library, on Amazon Linux that of Python 3.9. `stock.user_data` fills
# in SETTINGS.
#
# Whatever happens, the machine powers off in the end: a worker that cannot work must cost nothing.
# ruff: noqa: S310, UP017, UP035 - the addresses are AWS's, the programs a bare
# machine's, and the names those of Python 3.9
"""Fetch the agent from the run's bucket with the machine's role, and make the machine a worker."""

import contextlib
import datetime
import hashlib
import hmac
import io
import json
import os
import pathlib
import subprocess
import time
import urllib.parse
import urllib.request
import zipfile
from typing import Any, Callable

SETTINGS: dict[str, Any] = json.loads(r"""{}""")

METADATA = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254")
HOME = pathlib.Path("/var/lib/parallelize-bootstrap")
DEADLINE = "parallelize-bootstrap"
PATIENCE_SECONDS = (1, 2, 5, 10, 20)
BOOT_MINUTES = 15
"""A machine that is not a worker by then powers off; a worker's own units end it."""


def main() -> None:
    """Make this machine a worker. From then on its units handle everything, even the power-off."""
    shutdown = SETTINGS["config"].get("shutdown", True)
    try:
        if shutdown:
            run("systemd-run", "--quiet", f"--on-active={BOOT_MINUTES}min", "--unit=" + DEADLINE,
                "systemctl", "poweroff")  # fmt: skip
        install(patiently(fetch), HOME)
        run("sh", str(HOME / "provision" / "stock.sh"), str(HOME / "config.json"))
        if shutdown:
            run("systemctl", "stop", DEADLINE + ".timer")
    except BaseException as error:
        tell(f"this machine could not be made a worker: {error}")
        if shutdown:
            run("systemctl", "--no-block", "poweroff")
        raise


def tell(text: str) -> None:
    """Print a line on the console, where it can be read even after the machine is gone."""
    with contextlib.suppress(OSError):
        pathlib.Path("/dev/console").write_text(f"parallelize: {text}\n", encoding="utf-8")


def patiently(call: Callable[[], bytes]) -> bytes:
    """Retry a call: right after a boot, the role's credentials may not be available yet."""
    for seconds in PATIENCE_SECONDS:
        try:
            return call()
        except OSError as error:
            tell(f"trying again in {seconds} s: {error}")
            time.sleep(seconds)
    return call()


def fetch() -> bytes:
    """Return the bundle; raise ValueError if it is not the one that the launch named."""
    region, credentials = metadata("placement/region"), role_credentials()
    request = signed_request(SETTINGS["bundle"], region, credentials, now())
    with urllib.request.urlopen(request, timeout=60) as answer:
        body = bytes(answer.read())
    if hashlib.sha256(body).hexdigest() != SETTINGS["sha256"]:
        raise ValueError("the bundle is not the one that was launched with")
    return body


def install(body: bytes, folder: pathlib.Path) -> None:
    """Unpack the bundle, which our own client made, and put the configuration next to it."""
    with zipfile.ZipFile(io.BytesIO(body)) as bundle:
        bundle.extractall(folder)
    (folder / "config.json").write_text(json.dumps(SETTINGS["config"]), encoding="utf-8")


def run(*command: str) -> None:
    """Run a command; raise CalledProcessError if it fails."""
    subprocess.run(command, check=True)


def now() -> datetime.datetime:
    """Return the time in UTC."""
    return datetime.datetime.now(datetime.timezone.utc)


def metadata(path: str) -> str:
    """Return what the metadata service (version 2 only) has at a path."""
    token = urllib.request.Request(
        f"{METADATA}/latest/api/token", method="PUT",
        headers={"X-aws-ec2-metadata-token-ttl-seconds": "300"},
    )  # fmt: skip
    with urllib.request.urlopen(token, timeout=5) as answer:
        headers = {"X-aws-ec2-metadata-token": answer.read().decode()}
    request = urllib.request.Request(f"{METADATA}/latest/meta-data/{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return str(answer.read().decode())


def role_credentials() -> dict[str, str]:
    """Return the credentials of the machine's role."""
    path = "iam/security-credentials/"
    found: dict[str, str] = json.loads(metadata(path + metadata(path).split()[0]))
    return found


def signed_request(
    url: str, region: str, credentials: dict[str, str], moment: datetime.datetime
) -> urllib.request.Request:
    """Return a GET with AWS's signature, version 4.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
    """
    parts = urllib.parse.urlsplit(url)
    stamp, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
    headers = {
        "host": parts.netloc,
        "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
        "x-amz-date": stamp,
        "x-amz-security-token": credentials["Token"],
    }
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = "\n".join(["GET", parts.path, "", lines, names, "UNSIGNED-PAYLOAD"])
    scope = f"{day}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = ("AWS4" + credentials["SecretAccessKey"]).encode()
    for word in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, word.encode(), "sha256")
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, digest])
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials['AccessKeyId']}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return urllib.request.Request(url, headers=headers)


if __name__ == "__main__":
    main()
