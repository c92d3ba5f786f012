"""For all tests: no account of the user, and no deadline that a busy machine misses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["tests.strict_aws.plugin"]

settings.register_profile("parallelize", deadline=None, print_blob=True)
settings.load_profile("parallelize")

for name in [*os.environ]:
    if name.startswith(("AWS_", "PARALLELIZE_")):
        del os.environ[name]
# Thousands of processes are started, and each would compile all our modules for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


@pytest.fixture(autouse=True)
def variables_stay_as_they_were() -> Iterator[None]:
    """Undo what a test does to the variables of this process: `--local` leads it elsewhere."""
    before = dict(os.environ)
    yield
    # pytest's own, PYTEST_CURRENT_TEST, changes all the time.
    for name in [*os.environ.keys() - before.keys()]:
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value and not name.startswith("PYTEST_"):
            os.environ[name] = value


HERE = Path(__file__).parent
REAL_PROCESSES = [HERE / name for name in ("e2e", "image", "conformance", "functional")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a test of real processes that fails a second try, which the summary tells (RERUN).

    Ten thousand of them on a machine that is busy with other things: one that misses its moment
    would hide what all others say. A second failure counts.
    """
    for item in items:
        if any(folder in item.path.parents for folder in REAL_PROCESSES):
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the first try of a test was about that passed at the second."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.write_sep("_", f"the first try of {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Take more workers than processors for `-n auto`: many tests wait for other processes.

    One that has nothing left takes tests from another: some are a thousand times as long.
    """
    if config.option.dist == "no":
        config.option.dist = "worksteal"
    return 2 * (os.cpu_count() or 1) + 1
