#!/usr/bin/env python3
# What a plain Debian machine runs at its first boot, as user data, when there is no image yet.
# Only the standard library is there. `stock.user_data` fills in SETTINGS.
#
# Whatever happens, the machine goes off in the end: a worker that cannot work must not cost.
# ruff: noqa: S310, S607 - the addresses are AWS's, the programs those of a bare machine
"""Fetch the agent from the run's bucket with the machine's role, and be a worker."""

import datetime
import hashlib
import hmac
import json
import os
import pathlib
import subprocess
import sys
import urllib.parse
import urllib.request
import zipfile
from typing import Any

SETTINGS: dict[str, Any] = json.loads(r"""{}""")

METADATA = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254")
HOME = pathlib.Path("/opt/parallelize")
JOB_USER = "parallelize-job"
FIREWALL = """
table inet parallelize {
  chain output {
    type filter hook output priority 0
    meta skuid != 0 ip daddr 169.254.169.254 reject
    meta skuid != 0 ip6 daddr fd00:ec2::254 reject
  }
}
"""


def main() -> int:
    """Prepare the machine and run the agent; the exit status is the agent's."""
    try:
        if SETTINGS["minutes"]:
            run("shutdown", "-P", f"+{SETTINGS['minutes']}")
        HOME.mkdir(parents=True, exist_ok=True)
        install(fetch(), HOME / "lib")
        config = HOME / "config.json"
        config.write_text(json.dumps(SETTINGS["config"]), encoding="utf-8")
        run("useradd", "--system", "--no-create-home", JOB_USER)
        keep_jobs_from_credentials()
        return serve(config)
    finally:
        if SETTINGS["config"].get("shutdown", True):
            run("shutdown", "-P", "now")


def fetch() -> bytes:
    """Return the bundle; ValueError if it is not the one that the launch has named."""
    region, credentials = metadata("placement/region"), role_credentials()
    request = signed_request(SETTINGS["bundle"], region, credentials, now())
    with urllib.request.urlopen(request, timeout=60) as answer:
        body = bytes(answer.read())
    if hashlib.sha256(body).hexdigest() != SETTINGS["sha256"]:
        raise ValueError("the bundle is not the one that was launched with")
    return body


def install(body: bytes, folder: pathlib.Path) -> None:
    """Unpack the bundle, which our own launch has made."""
    file = folder.with_suffix(".zip")
    file.write_bytes(body)
    with zipfile.ZipFile(file) as bundle:
        bundle.extractall(folder)
    file.unlink()


def keep_jobs_from_credentials() -> None:
    """Let nobody but root reach the metadata service; without this no job may run."""
    subprocess.run(["nft", "-f", "-"], input=FIREWALL.encode(), check=True)


def serve(config: pathlib.Path) -> int:
    """Run the agent as a service of its own, with cgroups for its jobs, until it leaves."""
    command = [sys.executable, "-m", "parallelize_agent", "--metadata", "--config", str(config)]
    properties = [
        "Delegate=cpu memory pids", "KillMode=mixed", "OOMPolicy=continue", "TimeoutStopSec=110",
        "StateDirectory=parallelize", "Restart=on-failure", "RestartPreventExitStatus=2",
        "StartLimitIntervalSec=600", "StartLimitBurst=4",
    ]  # fmt: skip
    return subprocess.run(
        [
            "systemd-run", "--wait", "--collect", "--unit=parallelize-agent",
            f"--setenv=PYTHONPATH={HOME / 'lib'}",
            f"--setenv=PARALLELIZE_JOB_USER={JOB_USER}",
            *(f"--property={one}" for one in properties), *command,
        ],
        check=False,
    ).returncode  # fmt: skip


def run(*command: str) -> int:
    """Run a command; that it fails is seen by what comes after it."""
    return subprocess.run(command, check=False).returncode


def now() -> datetime.datetime:
    """Return the time in UTC."""
    return datetime.datetime.now(datetime.UTC)


def metadata(path: str) -> str:
    """Return what the metadata service has at a path, version 2 only."""
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
    url: str, region: str, credentials: dict[str, str], time: datetime.datetime
) -> urllib.request.Request:
    """Return a GET with AWS's signature, version 4.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
    """
    parts = urllib.parse.urlsplit(url)
    stamp, day = time.strftime("%Y%m%dT%H%M%SZ"), time.strftime("%Y%m%d")
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
    sys.exit(main())
