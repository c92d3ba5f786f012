"""The work of a chaos run: inputs that say what their jobs do, and what must come of each."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.schedule import OF_OBJECTS, Kind

from parallelize_core.result import Cause

MAX_ATTEMPTS = 3
_SETTINGS = f"""schema = 1
[run]
name = "chaos"
command = "./job.sh"
env = "env/"
attempts = {MAX_ATTEMPTS}
require_output = true
"""
_THEN = """then = "./merge.sh"
then_partial = true
"""
_COMMAND = 'command = "./job.sh"'
_WARM = 'command = "./warm.sh"\nserve = true'


@dataclass(frozen=True)
class Expected:
    """What a job comes to, whatever happens around it; `attempt` is that of its result."""

    outputs: int
    attempt: int
    cause: Cause | None = None
    refused: Kind | None = None
    """How S3 refuses the input, if it does."""

    def last_attempt(self, charged_by_sick: int) -> int:
        """Return the last attempt that may give the result, if sick workers failed that many."""
        return min(MAX_ATTEMPTS, self.attempt + charged_by_sick)


_ENDS = {
    "ok": (1, None),
    "flaky": (2, None),
    "broken": (MAX_ATTEMPTS, Cause.COMMAND),
    "bad": (1, Cause.COMMAND),
    "forbidden": (2, Cause.INPUT),
    "archived": (2, Cause.INPUT),
}
"""For each way to end: the attempt that is the last, and why the job failed if it did."""


def make_project(
    folder: Path,
    seed: int,
    jobs: int,
    seconds: float,
    *,
    then: bool = False,
    warm: bool = False,
) -> Mapping[str, Expected]:
    """Write a project whose jobs take `seconds` on average; return what is expected, by key.

    With `then` it has a merge, over the outputs of those jobs that succeed; with `warm` one process
    does many jobs.
    """
    chance = random.Random(seed)
    (folder / "env").mkdir(parents=True)
    settings = _SETTINGS.replace(_COMMAND, _WARM) if warm else _SETTINGS
    (folder / "parallelize.toml").write_text(settings + _THEN * then)
    for script in ("job.sh", "merge.sh", "warm.sh", "warm.py"):
        shutil.copy(Path(__file__).with_name(script), folder / "env" / script)
    (folder / "env/journal").write_text(f"{folder / 'journal'}\n")
    expected = {}
    for number in range(jobs):
        key = f"{number % 10}/{number:06d}.txt"
        fates = list(_ENDS)
        # Each of them at least once, however few jobs there are.
        fate = chance.choices(fates, weights=(88, 5, 2, 3, 1, 1))[0]
        fate = fates[number] if number < len(fates) else fate
        outputs = chance.choice((1, 1, 2, 4))
        path = folder / "inputs" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{chance.uniform(0, 2 * seconds):.3f} {outputs} {fate}\n")
        attempt, cause = _ENDS[fate]
        refused = Kind(fate) if fate in OF_OBJECTS else None
        expected[key] = Expected(0 if cause else outputs, attempt, cause, refused)
    return expected
