"""What a worker loads before it asks for its first message: each library is time, and memory."""

from __future__ import annotations

import re
import sys
from importlib.metadata import packages_distributions

from tests.bench.engine.bench_run import BenchRun
from tests.bench.engine.measures import NO_OP
from tests.bench.engine.worker_process import worker
from tests.bench.small_cloud.process import small_cloud

LOADED = {"annotated_types", "httptools", "psutil", "pydantic", "pydantic_core", "structlog",
          "typing_extensions", "typing_inspection"}  # fmt: skip
"""The libraries that are used from the first moment on."""

TAKEN_ALONG = {"_distutils_hack"}
"""By setuptools, where it is installed; the image does not install it."""

OURS = {"parallelize_agent", "parallelize_core"}


def loaded_by_an_agent() -> set[str]:
    """Return the packages that an agent has imported by the end of its first job."""
    with small_cloud(None) as cloud:
        run = BenchRun.make(cloud, NO_OP)
        run.add(1)
        program = (sys.executable, "-X", "importtime", "-m", "parallelize_agent")
        with worker(run, program, run.config(2), None) as at_work:
            at_work.wait_for(lambda: at_work.done() == 1)
            at_work.check_success()
            told = at_work.log.read_text()
    modules = set(re.findall(r"^import time:[\d |]*\| +([\w.]+)", told, re.MULTILINE))
    # structlog asks for rich, in vain; if it got it, there would be rich.console, too.
    return {name.partition(".")[0] for name in modules - {"rich"}}


def test_a_worker_loads_only_what_its_first_job_needs() -> None:
    """AWS's own library is a third of the start, and of the memory: what is rare waits for it."""
    installed = packages_distributions()
    found = {name for name in loaded_by_an_agent() if name in installed}
    assert found >= LOADED
    assert found - TAKEN_ALONG - OURS == LOADED
