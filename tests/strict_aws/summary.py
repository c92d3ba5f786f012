"""What pytest's last lines say of the layer: each rule, in how many tests it acted, what it found.

    pytest --aws-rules tests/functional/fleet tests/functional/strict

Counted are tests in the process of the layer; what it does in a local cloud is seen there only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import pytest
from tests.strict_aws.rules import RULES

PROPERTY = "strict_aws"
"""Under which a test's report has the names of the rules that acted, in whatever process it was."""


def acted(reports: Iterable[pytest.TestReport]) -> tuple[Counter[str], int]:
    """Count in how many tests each rule acted, and the tests."""
    told = [
        str(names).split()
        for report in reports
        for name, names in report.user_properties
        if name == PROPERTY
    ]
    return Counter(name for names in told for name in names), len(told)


def lines(counts: Counter[str], tests: int) -> Iterator[str]:
    """Go through the table's lines."""
    yield f"{'rule':18} {'tests':>5}  what it has found"
    for rule in RULES:
        yield f"{rule.__name__:18} {counts[rule.__name__]:5}  {rule.found or '-'}"
    idle = [rule.__name__ for rule in RULES if not counts[rule.__name__]]
    yield f"{len(RULES)} rules in {tests} tests; without a test here: {', '.join(idle) or 'none'}"
