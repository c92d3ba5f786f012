"""What the pages claim about the repository is so."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
ROW = re.compile(r"^\| (\d+) \| .+\|$", re.MULTILINE)


def test_every_known_failure_of_others_is_covered_by_tests_that_exist() -> None:
    page = (ROOT / "docs/reliability.md").read_text()
    rows = ROW.findall(page)
    assert rows == [str(number) for number in range(1, 34)]
    assert all(TEST.search(row[0]) for row in ROW.finditer(page))
    missing = [
        f"{file}::{test}"
        for file, test in TEST.findall(page)
        if not (path := ROOT / "tests" / file).is_file() or f"def {test}(" not in path.read_text()
    ]
    assert missing == []
