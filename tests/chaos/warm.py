"""What job.sh does, as a warm command: see there."""

import sys
import time
import uuid
from pathlib import Path

import parallelize

JOURNAL = Path("journal").read_text().strip()
FAILS = {"broken": 3, "bad": 65}


def note(what, job, nonce):
    line = f"{what} {job['key']} {nonce} {job['scratch']} {time.time():.9f}\n"
    with Path(JOURNAL).open("a") as journal:
        journal.write(line)


def execute(job):
    seconds, outputs, fate = Path(job["input"]).read_text().split()
    nonce = uuid.uuid4()
    note("start", job, nonce)
    if Path(job["scratch"].partition("/jobs/")[0]).with_name("sick").exists():
        sys.exit(127)
    time.sleep(float(seconds))
    names = [f"{Path(job['key']).stem}.{number}" for number in range(int(outputs))]
    for number, name in enumerate(names):
        Path(name).write_text(f"{job['key']} {nonce} {number} {job['scratch']}\n")
    note("end", job, nonce)
    if fate == "flaky" and int(job["attempt"]) == 1:
        sys.exit(1)
    if fate in FAILS:
        sys.exit(FAILS[fate])
    return names


parallelize.serve(execute)
