"""What becomes of a merge, in every order, under every mixture of bad luck and retries.

The weakened variants show that the search would notice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from tests.model.agent import LAYOUT, Parts
from tests.model.merge import (
    Actors,
    MergeParts,
    MergeSearch,
    MergeStore,
    PromptMerging,
    PromptStageIn,
    make_merge_work,
)
from tests.model.search import Luck

from parallelize_agent.job.commit import Commit
from parallelize_agent.job.job import Received
from parallelize_agent.job.merge import Merge
from parallelize_agent.job.stage_out import StageOut
from parallelize_agent.queue.merging import Seen
from parallelize_core.run import Run
from parallelize_core.store import ALWAYS


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of replays would log thousands of lines."""
    with structlog.testing.capture_logs():
        yield


@pytest.mark.parametrize(
    ("lookers", "workers", "luck", "redone"),
    [
        pytest.param(2, 1, Luck(), 0, id="two see the last result"),
        pytest.param(2, 2, Luck(crashes=1), 0, id="and one of them, or of the workers, dies"),
        pytest.param(2, 2, Luck(), 1, id="a job is done again meanwhile"),
        pytest.param(1, 2, Luck(duplicates=1), 1, id="and a message of the merge comes twice"),
        pytest.param(1, 2, Luck(crashes=1), 1, id="and somebody dies"),
    ],
)
def test_there_is_one_true_merge_over_the_results_that_are_there(
    tmp_path: Path, lookers: int, workers: int, luck: Luck, redone: int
) -> None:
    actors = Actors(make_merge_work(tmp_path, workers), lookers, workers)
    assert MergeSearch(actors, luck, redone).run().violation is None


class BlindStore(MergeStore):
    """A bucket that ignores every condition."""

    async def put(self, key, body, condition=ALWAYS, metadata=None):  # type: ignore[no-untyped-def]
        """Write an object, whatever is there."""
        return await super().put(key, body, ALWAYS, metadata)


class HastyMerging(PromptMerging):
    """Sends the merge, and writes down only then that it has."""

    async def _put(self, run: Run, seen: Seen) -> None:
        made = await self._made(run, seen)
        await self.queue.send([made[0].message(run.name).encode()])
        await self._store(seen, *made)


class AnyVersionMerging(PromptMerging):
    """Lists what the results are by now, and not what they were when they were looked at."""

    async def _read(self, versions: Sequence[tuple[str, str]]) -> Sequence[bytes]:
        return [await self.records.get(key) for key, _ in versions]


class EasyMerge(Merge):
    """Takes any result of a merge for its own."""

    def made(self, _: object) -> bool:
        """Be content."""
        return True


class EasyStageIn(PromptStageIn):
    """Takes any result of a merge for that of the message."""

    def _merge(self, received: Received) -> Merge | None:
        merge = super()._merge(received)
        return merge and EasyMerge(merge.records, merge.layout, merge.listed)


class EasyStageOut(StageOut):
    """The same, when it is stored."""

    def _commit(self, received: Received, run: Run) -> Commit:
        made = super()._commit(received, run)
        assert made.merge
        return replace(made, merge=EasyMerge(made.merge.records, LAYOUT, made.merge.listed))


TWICE = "a merge was put on the queue twice"
LOST = "a merge has lost its message although nothing went wrong"


@pytest.mark.parametrize(
    ("shipped", "luck", "redone", "violation"),
    [
        pytest.param(MergeParts(store=BlindStore), Luck(), 0, TWICE, id="no condition"),
        pytest.param(
            MergeParts(merging=HastyMerging), Luck(), 0, LOST, id="sent before it is written down"
        ),
        pytest.param(
            MergeParts(merging=AnyVersionMerging), Luck(), 1, TWICE, id="results of any version"
        ),
        pytest.param(
            MergeParts(parts=Parts(stage_in=EasyStageIn, stage_out=EasyStageOut)),
            Luck(),
            1,
            LOST,
            id="any result of a merge will do",
        ),
    ],
)
def test_a_weaker_protocol_is_found_out(
    tmp_path: Path, shipped: MergeParts, luck: Luck, redone: int, violation: str
) -> None:
    actors = Actors(make_merge_work(tmp_path, 2), 2, 2, shipped)
    assert MergeSearch(actors, luck, redone).run().violation == violation
