"""The shipped agent's dealings with one job, in every order, under every mixture of bad luck.

Each search goes through all states that some executions of one job can reach. The weakened
variants show that the search would notice.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from tests.model import weakened
from tests.model.agent import Agent, Parts, make_work
from tests.model.search import Luck, Search, shown
from tests.model.world import World

from parallelize_core.result import Result


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of replays would log thousands of lines."""
    with structlog.testing.capture_logs():
        yield


@pytest.mark.parametrize(
    ("executions", "outputs", "luck"),
    [
        pytest.param(2, 1, Luck(expiries=1), id="a lease ends too early"),
        pytest.param(3, 1, Luck(expiries=2), id="two leases do"),
        pytest.param(3, 1, Luck(crashes=1, expiries=1), id="and an agent dies"),
        pytest.param(3, 2, Luck(crashes=2), id="two agents die"),
        pytest.param(2, 2, Luck(duplicates=1), id="a message comes twice"),
        pytest.param(3, 1, Luck(duplicates=1, crashes=1), id="and an agent dies with one"),
        pytest.param(3, 1, Luck(duplicates=1, expiries=1), id="and a lease ends too early"),
        pytest.param(2, 2, Luck(losses=1), id="a message vanishes"),
        pytest.param(3, 1, Luck(losses=1, crashes=1), id="and an agent dies"),
        pytest.param(3, 2, Luck(claims=2), id="a job outlives its message, and again"),
        pytest.param(3, 1, Luck(claims=1, crashes=2), id="and agents die"),
        pytest.param(3, 1, Luck(claims=1, expiries=2), id="claims and leases end too early"),
        pytest.param(3, 1, Luck(claims=1, duplicates=1), id="a message comes twice beside a claim"),
        pytest.param(3, 1, Luck(claims=1, losses=1), id="the parked message vanishes"),
        pytest.param(3, 1, Luck(setbacks=2, expiries=1), id="a job is handed back"),
        pytest.param(3, 1, Luck(claims=1, setbacks=1, crashes=1), id="and outlives its message"),
    ],
)
def test_a_job_ends_with_one_true_result(
    tmp_path: Path, executions: int, outputs: int, luck: Luck
) -> None:
    agent = Agent(make_work(tmp_path, executions, outputs))
    assert Search(agent, luck, executions).run().violation is None


@pytest.mark.parametrize(
    ("workers", "executions", "luck"),
    [
        pytest.param(2, 8, Luck(failures=4), id="a command fails"),
        pytest.param(2, 4, Luck(failures=3, expiries=1), id="and a lease ends too early"),
        pytest.param(2, 4, Luck(failures=3, duplicates=1), id="and a message comes twice"),
        pytest.param(2, 4, Luck(failures=2, claims=1), id="and a job outlives its message"),
        pytest.param(2, 6, Luck(failures=3, setbacks=2), id="and a job is handed back"),
        pytest.param(2, 4, Luck(failures=3, crashes=1), id="and a worker dies"),
        pytest.param(3, 6, Luck(failures=3), id="on three workers"),
    ],
)
def test_a_file_fails_for_good_only_after_two_workers_have_failed_it(
    tmp_path: Path, workers: int, executions: int, luck: Luck
) -> None:
    agent = Agent(make_work(tmp_path, executions, 1), workers)
    assert Search(agent, luck, executions).run().violation is None


@pytest.mark.parametrize(
    ("executions", "luck"),
    [
        pytest.param(3, Luck(duplicates=1, crashes=1), id="a result is replaced"),
        pytest.param(2, Luck(duplicates=1, expiries=1), id="a worker writes late"),
        pytest.param(3, Luck(expiries=1, crashes=1), id="a worker dies before it files"),
        pytest.param(2, Luck(losses=1, crashes=1), id="a message vanishes"),
        pytest.param(4, Luck(failures=2), id="a file fails for good"),
    ],
)
def test_segments_show_nothing_that_the_results_do_not_have(
    tmp_path: Path, executions: int, luck: Luck
) -> None:
    agent = Agent(make_work(tmp_path, executions, 1), files=True)
    assert Search(agent, luck, executions).run().violation is None


UNTRUE = "the result tells of an output that is not the one stored"
GONE = "the job has neither a message nor a result"
TWO = "two are at work on one job"


@pytest.mark.parametrize(
    ("parts", "luck", "violation"),
    [
        pytest.param(
            Parts(store=weakened.BlindStore), Luck(duplicates=1), UNTRUE, id="no conditions"
        ),
        pytest.param(
            Parts(keeper=weakened.TrustingKeeper),
            Luck(expiries=1, crashes=1),
            UNTRUE,
            id="no look at the lease",
        ),
        pytest.param(
            Parts(stage_in=weakened.AnyResultIn, stage_out=weakened.AnyResultOut),
            Luck(duplicates=1, crashes=1),
            UNTRUE,
            id="any result will do",
        ),
        pytest.param(
            Parts(stage_out=weakened.WithoutReconciling),
            Luck(duplicates=1, expiries=1),
            UNTRUE,
            id="no look back without a lease",
        ),
        pytest.param(
            Parts(stage_out=weakened.HastyDelete), Luck(), GONE, id="deleted before the result"
        ),
        pytest.param(
            Parts(messages=weakened.AcknowledgingMessages),
            Luck(setbacks=1),
            GONE,
            id="deleted before the fresh message",
        ),
        pytest.param(
            Parts(messages=weakened.ForgetfulMessages),
            Luck(setbacks=1),
            GONE,
            id="no fresh message",
        ),
        pytest.param(
            Parts(stage_out=weakened.LateLetter),
            Luck(failures=2),
            GONE,
            id="dead letter before the result",
        ),
        pytest.param(
            Parts(keeper=weakened.DeletingKeeper),
            Luck(claims=1),
            GONE,
            id="deleted before the parked message",
        ),
        pytest.param(
            Parts(keeper=weakened.BareKeeper), Luck(claims=1), TWO, id="parked before the claim"
        ),
        pytest.param(
            Parts(claims=weakened.UnheededClaims), Luck(claims=1), TWO, id="no look at the claim"
        ),
        pytest.param(
            Parts(stage_in=weakened.ResultFirst),
            Luck(claims=1),
            TWO,
            id="the result before the claim",
        ),
        pytest.param(
            Parts(stage_out=weakened.HastyClaim),
            Luck(claims=1),
            TWO,
            id="claim dropped before the result",
        ),
    ],
)
def test_a_weaker_protocol_is_found_out(
    tmp_path: Path, parts: Parts, luck: Luck, violation: str
) -> None:
    agent = Agent(make_work(tmp_path, 3, 1), parts=parts)
    assert Search(agent, luck, 3).run().violation == violation


def test_letting_go_without_a_look_at_what_was_replaced_is_found_out(tmp_path: Path) -> None:
    agent = Agent(make_work(tmp_path, 2, 2), parts=Parts(stage_out=weakened.WithoutLookingBackOut))
    assert Search(agent, Luck(duplicates=1), 2).run().violation == UNTRUE


def test_failing_for_good_after_one_opinion_is_found_out(tmp_path: Path) -> None:
    agent = Agent(make_work(tmp_path, 4, 1), 2, Parts(judge=weakened.OneOpinion))
    violation = Search(agent, Luck(failures=2), 4).run().violation
    assert violation == "the job has failed for good, and only one worker has tried it"


def trusting(world: World) -> Result | None:
    """Return what a reader shows who takes any line of a segment for the job's result."""
    for line in sorted(world.filed):
        return Result.decode(line)
    return shown(world)


@pytest.mark.parametrize(
    "luck", [Luck(duplicates=1, crashes=1), Luck(duplicates=1, expiries=1)], ids=["crash", "expiry"]
)
def test_taking_results_from_segments_without_their_version_is_found_out(
    tmp_path: Path, luck: Luck
) -> None:
    search = Search(Agent(make_work(tmp_path, 3, 1), files=True), luck, 3, shown=trusting)
    assert search.run().violation == "readers of segments see another result than the one stored"
