"""The verdict over a run, from S3 alone.

    evidence = read_evidence(store, layout)
    violations = list(check(evidence, expected))      # empty, or sentences of a kind each

Nothing that the bench did is asked here, except which workers it killed: they cannot have left.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from tests.chaos.journal import worker_of
from tests.chaos.project import Expected

from parallelize_agent.reporting.fitness import SUSPECT_AFTER
from parallelize_core.errors import MissingError
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import read_parts
from parallelize_core.merge import MERGE
from parallelize_core.result import Attempt, Output, Result
from parallelize_core.store import Store

SICK_EXIT = 127
"""How a command ends on a sick worker, and nowhere else."""


class Wrong(StrEnum):
    """What can be wrong with a run."""

    LOST = "lost"  # an input without a result, or an output that a result names and nobody has
    DOUBLED = "doubled"  # a result or an output too many, or a mixture of two executions
    FALSE = "false"  # a result that says what is not so
    CHARGED = "wrongly charged"  # an attempt counted against a file that was not at fault
    LEFT = "left behind"  # a worker, a process or a file that should be gone


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong, in a sentence."""

    wrong: Wrong
    said: str

    def __str__(self) -> str:
        return f"{self.wrong}: {self.said}"


@dataclass(frozen=True)
class Evidence:
    """All that S3 says of a run; `contents` has the outputs by their key below the location."""

    manifest: tuple[str, ...]
    results: Mapping[str, Result]
    contents: Mapping[str, bytes]
    attempts: tuple[Attempt, ...]
    heartbeats: tuple[Heartbeat, ...]


def read_evidence(store: Store, layout: RunLayout) -> Evidence:
    """Read everything; results are by the S3 key at which they lie."""
    logs = layout.root.key("log", "")
    return Evidence(
        manifest=tuple(e.key for part in read_parts(store, layout) for e in part.entries),
        results={key: Result.decode(body) for key, body in _objects(store, layout.results.prefix)},
        contents={
            layout.output.relative(key): body for key, body in _objects(store, layout.output.prefix)
        },
        attempts=tuple(
            Attempt.decode(body) for key, body in _objects(store, logs) if key.endswith(".json")
        ),
        heartbeats=tuple(
            Heartbeat.decode(body) for _, body in _objects(store, layout.agents.prefix)
        ),
    )


def _objects(store: Store, prefix: str) -> Iterator[tuple[str, bytes]]:
    for item in store.list(prefix):
        try:
            yield item.key, store.get(item.key)
        except MissingError:
            continue


def check(
    evidence: Evidence,
    layout: RunLayout,
    expected: Mapping[str, Expected],
    killed: Collection[str] = (),
    sick: Collection[str] = (),
    unwitnessed: Collection[str] = (),
    *,
    then: bool = False,
) -> Iterator[Violation]:
    """Go through everything that is wrong, in a sentence each; see `merged` for a merge.

    Of a worker that is sick, the first failures may be charged: nobody can know then. Those of
    `unwitnessed` ones all may.
    """
    blamed = Counter(a.key for a in evidence.attempts if _charged(a) and a.worker in sick)
    yield from _check_results(evidence, layout, expected, then=then)
    for result in evidence.results.values():
        if then and result.key == MERGE:
            continue
        yield from _check_fate(result, expected, blamed[result.key])
        yield from _check_outputs(result, evidence.contents)
    yield from _check_strays(evidence)
    yield from _check_charges(evidence, expected, sick, unwitnessed)
    yield from _check_departures(evidence, killed)


def _check_results(
    evidence: Evidence, layout: RunLayout, expected: Mapping[str, Expected], *, then: bool
) -> Iterator[Violation]:
    if sorted(evidence.manifest) != sorted(expected):
        yield Violation(Wrong.LOST, "the manifest is not the list of the inputs")
    wanted = {layout.result(key): key for key in (*evidence.manifest, *([MERGE] * then))}
    for place, key in wanted.items():
        if place not in evidence.results:
            yield Violation(Wrong.LOST, f"{key} has no result")
        elif evidence.results[place].key != key:
            yield Violation(
                Wrong.DOUBLED, f"the result of {key} is that of {evidence.results[place].key}"
            )
    for place in evidence.results.keys() - wanted.keys():
        yield Violation(Wrong.DOUBLED, f"{place} is the result of no input")


def _check_fate(
    result: Result, expected: Mapping[str, Expected], charged_by_sick: int
) -> Iterator[Violation]:
    want = expected.get(result.key)
    if want is None:
        return
    if result.cause != want.cause or (result.status == "failed") != (want.cause is not None):
        yield Violation(
            Wrong.FALSE, f"{result.key} {result.status} with cause {result.cause}: {result.message}"
        )
    # A second copy of a message does not know of a failure that was charged to the first.
    last = want.last_attempt(charged_by_sick)
    if not want.attempt <= result.attempt <= last:
        yield Violation(
            Wrong.CHARGED, f"{result.key} ended with attempt {result.attempt} instead of {last}"
        )
    if len(result.outputs) != want.outputs:
        yield Violation(
            Wrong.FALSE, f"{result.key} has {len(result.outputs)} outputs instead of {want.outputs}"
        )


def _check_outputs(result: Result, contents: Mapping[str, bytes]) -> Iterator[Violation]:
    executions = set()
    for output in result.outputs:
        body = contents.get(output.key)
        if body is None:
            yield Violation(Wrong.LOST, f"the output {output.key} of {result.key} is missing")
            continue
        if not _is(body, output):
            yield Violation(
                Wrong.FALSE, f"the output {output.key} of {result.key} is not what its result says"
            )
        key, nonce, _, scratch = body.decode().split()
        executions.add(nonce)
        if key != result.key or worker_of(scratch) != result.worker:
            yield Violation(
                Wrong.DOUBLED,
                f"the output {output.key} of {result.key} on {result.worker} is of {scratch}",
            )
    if len(executions) > 1:
        yield Violation(
            Wrong.DOUBLED, f"the outputs of {result.key} are of {len(executions)} executions"
        )


def _is(body: bytes, output: Output) -> bool:
    return len(body) == output.size and hashlib.sha256(body).hexdigest() == output.sha256


def _check_strays(evidence: Evidence) -> Iterator[Violation]:
    named = {output.key for result in evidence.results.values() for output in result.outputs}
    for key in evidence.contents.keys() - named:
        yield Violation(Wrong.DOUBLED, f"the output {key} is named by no result")


def _charged(attempt: Attempt) -> bool:
    return attempt.cause is not None and attempt.cause.charged


def charged_by(evidence: Evidence, workers: Collection[str]) -> int:
    """Count the attempts that some workers have charged to files."""
    return sum(_charged(attempt) and attempt.worker in workers for attempt in evidence.attempts)


def _check_charges(
    evidence: Evidence,
    expected: Mapping[str, Expected],
    sick: Collection[str],
    unwitnessed: Collection[str],
) -> Iterator[Violation]:
    """Only jobs that fail by design may have a failed attempt that is charged to them.

    A sick worker may charge a few, until it is suspect.
    """
    for attempt in evidence.attempts:
        want = expected.get(attempt.key)
        good = want is not None and want.attempt == 1 and want.cause is None
        if good and _charged(attempt) and attempt.worker not in sick:
            yield Violation(
                Wrong.CHARGED, f"{attempt.key} was charged for {attempt.cause}: {attempt.message}"
            )
    blamed = Counter(
        a.worker for a in evidence.attempts if _charged(a) and a.exit_code == SICK_EXIT
    )
    for worker, count in blamed.items():
        if count >= SUSPECT_AFTER and worker not in unwitnessed:
            yield Violation(Wrong.CHARGED, f"{worker} is sick, and has charged {count} files")


def _check_departures(evidence: Evidence, killed: Collection[str]) -> Iterator[Violation]:
    for beat in evidence.heartbeats:
        if beat.state not in {WorkerState.LEFT, WorkerState.FAILED} and beat.worker not in killed:
            yield Violation(Wrong.LEFT, f"{beat.worker} has not left: {beat.state}")
