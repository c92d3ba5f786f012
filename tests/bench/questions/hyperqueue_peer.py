"""HyperQueue as a peer: a server and a worker in this process, one task for each file.

    python hyperqueue_peer.py SCRIPT FOLDER COUNT

The wheel has the engine, and not the `hq` program. Prints for how long the submission took, in
seconds; the script finds its input in the folder and leaves `out/NUMBER`.
"""

import sys
import tempfile
import time

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

SLOTS = 2


def main() -> None:
    script, folder, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with tempfile.TemporaryDirectory(dir=folder) as state, LocalCluster(state) as cluster:
        cluster.start_worker(WorkerConfig(cores=SLOTS))
        client = cluster.client()
        job = Job()
        for number in range(count):
            job.program([script, str(number)], cwd=folder, stdout=None, stderr=None)
        began = time.perf_counter()
        submitted = client.submit(job)
        sys.stdout.write(f"{time.perf_counter() - began}\n")
        client.wait_for_jobs([submitted])


if __name__ == "__main__":
    main()
