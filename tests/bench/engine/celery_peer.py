"""A consumer as one writes it with Celery: for each message, start the command and wait.

    python celery_peer.py send COUNT --config FILE --work-dir DIR    puts messages on the queue
    python celery_peer.py work --config FILE --work-dir DIR          takes them, in its slots

It runs with a Python that has celery[sqs], and knows nothing of this project but the names in an
agent's configuration. Messages are acknowledged when their command has ended, as an agent's are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from celery import Celery

parser = argparse.ArgumentParser()
parser.add_argument("verb", choices=["send", "work"])
parser.add_argument("count", type=int, nargs="?", default=0)
parser.add_argument("--config", type=Path, required=True)
parser.add_argument("--work-dir", type=Path, required=True)
parser.add_argument("--script", type=Path, help="in the place of one that copies a line")
options = parser.parse_args()
config = json.loads(options.config.read_bytes())
queue = config["run"]
script = options.work_dir / "job.sh"
source = options.work_dir / "input"

app = Celery("peer", broker=f"sqs://bench:bench@{urlsplit(os.environ['AWS_ENDPOINT_URL']).netloc}")
app.conf.update(
    task_default_queue=queue,
    task_acks_late=True,
    task_ignore_result=True,
    worker_enable_remote_control=False,
    worker_prefetch_multiplier=5,
    broker_transport_options={
        "is_secure": False,
        "region": os.environ["AWS_REGION"],
        "wait_time_seconds": 1,
        "polling_interval": 0,  # by default it waits a second whenever its prefetch is full
        "predefined_queues": {
            queue: {
                "url": config["queue_url"],
                "access_key_id": "bench",
                "secret_access_key": "bench",
            }
        },
    },
)


@app.task(name="job")
def job(number: int) -> None:
    subprocess.run([script, source], cwd=options.work_dir, stdout=subprocess.PIPE, check=True)


def main() -> None:
    if options.verb == "send":
        for number in range(options.count):
            job.delay(number)
        return
    options.work_dir.mkdir(parents=True)
    source.write_text("x" * 1023 + "\n")
    copy = '#!/bin/sh\nread -r line < "$1"\necho "$line" > out.txt\necho out.txt\n'
    script.write_text(options.script.read_text() if options.script else copy)
    script.chmod(0o755)
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR"]
    app.worker_main(["worker", "--pool=threads", f"--concurrency={config['slots']}", *quiet])


if __name__ == "__main__":
    main()
