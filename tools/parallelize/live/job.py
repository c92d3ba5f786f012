#!/usr/bin/env python3
# What a job of `doctor --live --machine` does: ask the metadata service for a token, which the
# worker's firewall keeps it from, and print the file that says what came of it.
#     job.py ADDRESS INPUT
"""Say whether the metadata service at an address answers a job: `closed` or `open`."""

import pathlib
import sys
import urllib.error
import urllib.request

PATIENCE_SECONDS = 2


def ask(address: str) -> str:
    """Ask as EC2 wants it, past any proxy."""
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
    output.write_text(ask(sys.argv[1]) + "\n", encoding="ascii")
    print(output)  # noqa: T201 - it is the answer
