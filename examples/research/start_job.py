#!/usr/bin/env python3
"""Runs the image over some parameters, and prints what came of them, in their order.

start_job.py IMAGE [--local]        start_job.py docker://HOST/NAME:TAG --local
"""

import json
import subprocess
import sys
from tempfile import TemporaryDirectory

import parallelize

image, local = sys.argv[1], "--local" in sys.argv
batch = "research"
parameters = [{"x": x, "y": y} for x in range(1, 4) for y in range(2, 5)]

with TemporaryDirectory() as folder:
    outcomes = parallelize.map(
        "python3 /app/worker.py",
        parameters,
        name=batch,
        out=f"{folder}/out",
        workers=2,
        local=local,
        settings={"run.image": image, "report.html": False},
    )
    print(json.dumps([outcome.value() for outcome in outcomes]))

# What the run has put into S3 and SQS goes; without this line it stays, and may be gone on with.
clean = ["parallelize", "clean", "--run", batch, "--yes", *(["--local"] if local else [])]
subprocess.run(clean, check=True, stdout=sys.stderr)
