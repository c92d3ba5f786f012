"""For all tests: no account of the user, and no deadline that a busy machine misses."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

pytest_plugins = ["tests.strict_aws.plugin"]

settings.register_profile("parallelize", deadline=None, print_blob=True)
settings.load_profile("parallelize")

for name in [*os.environ]:
    if name.startswith(("AWS_", "PARALLELIZE_")):
        del os.environ[name]
os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Take more workers than processors for `-n auto`: many tests wait for other processes.

    One that has nothing left takes tests from another: some are a thousand times as long.
    """
    if config.option.dist == "no":
        config.option.dist = "worksteal"
    return 3 * (os.cpu_count() or 1) // 2
