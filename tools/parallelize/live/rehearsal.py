"""The run of the probes, and its end: everything that carries the run's name is deleted.

What was made is not remembered but looked for, by name, until each kind's search finds nothing:
so it does not matter where a probe broke off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from parallelize.live import fleets, objects, queues, watching
from parallelize.live.trial import Kind, Probe, Seen, Trial
from parallelize_core.aws_errors import translated
from parallelize_core.errors import AccessError, ParallelizeError, UnavailableError
from parallelize_core.outlast import DELETED_LISTED, outlast

PROBES: Mapping[str, Probe] = {
    queues.CHECK: queues.probe,
    objects.CHECK: objects.probe,
    fleets.CHECK: fleets.probe,
    watching.CHECK: watching.probe,
}

KINDS: tuple[Kind, ...] = (*fleets.KINDS, queues.KIND, objects.KIND, *watching.KINDS)
"""In the order of deletion: what costs most comes first."""


@dataclass(frozen=True)
class Left:
    """What the last search found of a `kind`; `trouble` says why searching or deleting failed.

    `may_pass` says whether another search may find less.
    """

    kind: str
    names: tuple[str, ...]
    trouble: str = ""
    may_pass: bool = True


def try_all(trial: Trial, probes: Mapping[str, Probe], tell: Callable[[Seen], None]) -> None:
    """Run the probes; one that fails does not stop the others."""
    for name, probe in probes.items():
        trial.recorder.step = name
        try:
            for seen in _steps(probe, trial):
                trial.recorder.say(seen.text, good=seen.good)
                tell(seen)
        except ParallelizeError as error:
            # The refused call is recorded above; the message may contain names.
            trial.recorder.say("stopped early", good=False)
            tell(Seen(name, good=False, text=f"stopped early: {error.what}"))


def _steps(probe: Probe, trial: Trial) -> Iterator[Seen]:
    """Go through a probe, which consists only of calls and of reading their answers."""
    steps = probe(trial)
    while True:
        with translated("AWS"):
            seen = next(steps, None)
        if seen is None:
            return
        yield seen


def take_away(
    trial: Trial, tell: Callable[[str], None], kinds: Sequence[Kind] = KINDS
) -> list[Left]:
    """Delete everything of the run; return what is left after AWS has had its time."""
    trial.recorder.step = "deletion"
    found = [outlast(DELETED_LISTED, partial(sweep, trial, kind), tell, _may_go) for kind in kinds]
    left = [one for one in found if one.names or one.trouble]
    trial.recorder.say(f"left: {', '.join(one.kind for one in left) or 'nothing'}", good=not left)
    return left


def sweep(trial: Trial, kind: Kind) -> Left:
    """Search for the run's things of a kind, and delete them; return what was found."""
    names: list[str] = []
    try:
        with translated("AWS"):
            names = kind.find(trial)
            for name in names:
                kind.delete(trial, name)
    except ParallelizeError as error:
        passes = isinstance(error, UnavailableError) or bool(names)
        may_pass = passes and not isinstance(error, AccessError)
        return Left(kind.name, tuple(names), error.what, may_pass)
    return Left(kind.name, tuple(names))


def _may_go(left: Left) -> bool:
    return left.may_pass and bool(left.names or left.trouble)
