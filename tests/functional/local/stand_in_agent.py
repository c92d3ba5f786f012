"""In place of the agent: reads its user data as an agent does, says what it found, and obeys it.

User data is JSON: `{"exit": true}` ends at once, `{"ignore_sigterm": true}` does not leave when
asked to; otherwise it waits. It starts a job in a session of its own, and an orphan.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

SERVICE = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
# The shell ends at once, and leaves behind a process whose parent is dead.
ORPHAN = "sleep 600 >/dev/null 2>&1 & echo $!"


def read(path: str) -> str:
    token = request("PUT", "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    return request("GET", path, {"X-aws-ec2-metadata-token": token})


def request(method: str, path: str, headers: dict[str, str]) -> str:
    url = f"{SERVICE}/latest/{path}"
    made = urllib.request.Request(url, method=method, headers=headers)
    with urllib.request.urlopen(made) as response:
        body: bytes = response.read()
    return body.decode()


def main() -> None:
    orders = json.loads(read("user-data"))
    if orders.get("ignore_sigterm"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    job = subprocess.Popen(["sleep", "600"], start_new_session=True)
    orphan = subprocess.run(["sh", "-c", ORPHAN], stdout=subprocess.PIPE, check=True)
    found = {
        "pid": os.getpid(),
        "job": job.pid,
        "orphan": int(orphan.stdout),
        "session": os.getsid(0),
        "environ": dict(os.environ),
        "arguments": sys.argv[1:],
        "instance_id": read("meta-data/instance-id"),
        "instance_type": read("meta-data/instance-type"),
        "region": read("meta-data/placement/region"),
        "lifecycle": read("meta-data/instance-life-cycle"),
        "orders": orders,
    }
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    if not orders.get("exit"):
        time.sleep(600)


if __name__ == "__main__":
    main()
