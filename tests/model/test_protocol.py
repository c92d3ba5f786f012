"""The shipped writes, in every order, under every mixture of so much bad luck.

Each search goes through all states that some executions of one job can reach. The weakened
variants show that the search would notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from tests.model.agent import Agent, make_work, open_commit
from tests.model.search import Luck, Search
from tests.model.world import ScriptedStore

from parallelize_agent.job.commit import Commit
from parallelize_agent.queue.claims import Claims
from parallelize_core.store import ALWAYS


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
        pytest.param(2, 2, Luck(losses=1), id="a message vanishes"),
        pytest.param(3, 1, Luck(losses=1, crashes=1), id="and an agent dies"),
        pytest.param(3, 2, Luck(claims=2), id="a job outlives its message, and again"),
        pytest.param(3, 1, Luck(claims=1, crashes=2), id="and agents die"),
        pytest.param(3, 1, Luck(claims=1, expiries=2), id="claims and leases end too early"),
        pytest.param(3, 1, Luck(claims=1, duplicates=1), id="a message comes twice beside a claim"),
        pytest.param(3, 1, Luck(claims=1, losses=1), id="the parked message vanishes"),
    ],
)
def test_a_job_ends_with_one_true_result(
    tmp_path: Path, executions: int, outputs: int, luck: Luck
) -> None:
    agent = Agent(make_work(tmp_path, executions, outputs))
    assert Search(agent, luck, executions).run().violation is None


class WithoutConditions(ScriptedStore):
    """A bucket that ignores every condition, as some servers do."""

    async def put(self, key, body, condition=ALWAYS, metadata=None):  # type: ignore[no-untyped-def]
        return await super().put(key, body, ALWAYS, metadata)


class AnyResultWill(Commit):
    """Takes a result for the end, whatever has become of its outputs."""

    async def finished(self) -> bool:
        return await self._read_result() is not None


class Unheeded(Claims):
    """Takes a job whatever claim there is."""

    async def take_over(self, key: str) -> bool:
        return True


class WithoutLookingBack(Commit):
    """Lets go without a look at what it has replaced."""

    async def spoiled(self) -> bool:
        return False


def without_conditions(store: ScriptedStore, check: Callable[[], None]) -> Commit:
    return open_commit(WithoutConditions(store._script), check)


def without_lease_checks(store: ScriptedStore, check: Callable[[], None]) -> Commit:
    return replace(open_commit(store, check), check=lambda: None)


def any_result_will(store: ScriptedStore, check: Callable[[], None]) -> Commit:
    return AnyResultWill(**vars(open_commit(store, check)))


def without_looking_back(store: ScriptedStore, check: Callable[[], None]) -> Commit:
    return WithoutLookingBack(**vars(open_commit(store, check)))


@pytest.mark.parametrize(
    ("weak", "executions", "outputs", "luck"),
    [
        (without_conditions, 2, 1, Luck(duplicates=1)),
        (without_lease_checks, 3, 1, Luck(expiries=1, crashes=1)),
        (any_result_will, 3, 1, Luck(duplicates=1, crashes=1)),
        (without_looking_back, 2, 2, Luck(duplicates=1)),
    ],
)
def test_a_weaker_protocol_is_found_out(
    tmp_path: Path,
    weak: Callable[[ScriptedStore, Callable[[], None]], Commit],
    executions: int,
    outputs: int,
    luck: Luck,
) -> None:
    agent = Agent(make_work(tmp_path, executions, outputs), weak)
    assert Search(agent, luck, executions).run().violation


def test_nobody_heeding_claims_is_found_out(tmp_path: Path) -> None:
    agent = Agent(make_work(tmp_path, 2, 1), claims=Unheeded)
    outcome = Search(agent, Luck(claims=1), 2).run()
    assert outcome.violation == "two are at work on one job"
