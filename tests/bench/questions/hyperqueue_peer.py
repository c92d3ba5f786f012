"""HyperQueue as a peer: a server and a worker in this process, one task for each file.

    python hyperqueue_peer.py COUNT

The wheel has the engine, and not the `hq` program. Prints for how long the submission took, in
seconds; `job.sh` in the current folder gets the file's number.
"""

import sys
import tempfile
import time
from pathlib import Path

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

SLOTS = 2


def main() -> None:
    folder, count = Path.cwd(), int(sys.argv[1])
    with tempfile.TemporaryDirectory(dir=folder) as state, LocalCluster(state) as cluster:
        cluster.start_worker(WorkerConfig(cores=SLOTS))
        client = cluster.client()
        job = Job()
        for number in range(count):
            job.program([str(folder / "job.sh"), str(number)], cwd=str(folder))
        began = time.perf_counter()
        submitted = client.submit(job)
        sys.stdout.write(f"{time.perf_counter() - began}\n")
        client.wait_for_jobs([submitted])


if __name__ == "__main__":
    main()
