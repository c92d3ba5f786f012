#!/usr/bin/env python3
# The job of `doctor --live --machine`: ask the metadata service for a token, which the worker's
# firewall forbids, and print the name of the file that says what happened.
#     job.py ADDRESS INPUT
# The ADDRESS "agents" means the agent's, which an emulated machine has in its variables.
"""Say whether the metadata service at an address answers a job: `closed`, `open` or `unknown`."""

import os
import pathlib
import sys
import urllib.error
import urllib.request

PATIENCE_SECONDS = 2
VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"


def find(address: str) -> str:
    """Return the address; the agent's is looked for in the parent processes, "" if not found.

    On EC2, a worker would not let a job look there.
    """
    if address != "agents":
        return address
    pid = os.getppid()
    while pid > 1:
        proc = pathlib.Path(f"/proc/{pid}")
        try:
            given = [one for one in (proc / "environ").read_bytes().split(b"\0")
                     if one.startswith(VARIABLE.encode() + b"=http://")]  # fmt: skip
            if given:
                return given[0].partition(b"//")[2].decode("ascii")
            pid = int((proc / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return ""


def ask(address: str) -> str:
    """Ask as EC2 requires, bypassing any proxy."""
    headers = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    token = f"http://{address}/latest/api/token"
    request = urllib.request.Request(token, method="PUT", headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(request, timeout=PATIENCE_SECONDS).close()
    except urllib.error.HTTPError:
        return "open"
    except OSError:
        return "closed"
    return "open"


if __name__ == "__main__":
    output = pathlib.Path(pathlib.Path(sys.argv[2]).stem + ".imds.txt")
    found = find(sys.argv[1])
    output.write_text((ask(found) if found else "unknown") + "\n", encoding="ascii")
    print(output)  # noqa: T201 - it is the answer
