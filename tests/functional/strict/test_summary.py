"""`pytest --aws-rules` says which rules there are, in how many tests each acted, what it found."""

import subprocess
import sys
from pathlib import Path

from tests.strict_aws.rules import RULES
from tests.strict_aws.rules.queues import DeletedQueue, NewQueue

HERE = Path(__file__).parent


def test_each_rule_is_told_with_its_tests_and_what_it_found():
    one = f"{HERE / 'test_rules.py'}::test_a_queue_is_not_there_in_its_first_second"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--aws-rules", "-p", "no:cacheprovider", one],
        cwd=HERE.parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.split()}
    assert all(rule.__name__ in lines for rule in RULES)
    assert lines["NewQueue"].split(maxsplit=2)[1:] == ["1", NewQueue.found]
    assert lines["DeletedQueue"].split()[1] == "0"
    (total,) = (
        line for line in done.stdout.splitlines() if f"{len(RULES)} rules in 1 test" in line
    )
    assert DeletedQueue.__name__ in total
