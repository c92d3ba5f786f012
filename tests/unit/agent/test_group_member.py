"""Whether a worker has a place in a group to give up, however late the metadata service says so."""

import pytest

from parallelize_agent.machine.group import is_member
from parallelize_core.errors import ServiceError


@pytest.mark.parametrize("persistent", [True, False])
@pytest.mark.parametrize(
    ("at_start", "now", "member"),
    [
        ("InService", "InService", True),
        ("", "InService", True),
        ("InService", "", True),
        ("InService", "Terminated", False),
        ("", "Standby", False),
        ("InService", "Detached", False),
    ],
)
def test_what_the_metadata_service_says_counts(persistent, at_start, now, member):
    assert is_member(persistent, at_start, lambda: now) is member


@pytest.mark.parametrize("persistent", [True, False])
def test_if_it_says_nothing_the_launch_counts(persistent):
    assert is_member(persistent, "", lambda: None) is persistent


@pytest.mark.parametrize("at_start", ["", "InService"])
def test_if_it_does_not_answer_a_worker_of_a_group_leaves_it(at_start):
    def broken():
        raise ServiceError("no answer")

    assert is_member(True, at_start, broken)
