"""What to do with finished jobs whose outputs would differ now: as --changed says, or by asking.

Nothing is decided silently. Without --changed, and if nobody can be asked, a command ends with an
error before it has changed anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain, islice

from parallelize.console import escape, quoted, shown
from parallelize.context import Context
from parallelize.runs.jobs.key_lookup import find_key, key_of_path
from parallelize.runs.manifest import KnownJobs
from parallelize.runs.record import reuse
from parallelize.runs.record.outdated import Comparison, Outdated, Reason
from parallelize.runs.record.ownership import find_run
from parallelize.runs.results.merge import merge_entry
from parallelize.runs.results.results import list_results
from parallelize.spool import Spooled, Table
from parallelize.units import CENT, plural, show_duration, show_usd
from parallelize_core.errors import UsageError
from parallelize_core.run import Run

_NAMED = 3
"""How many of the changed inputs are named."""

QUESTION = "process them again, or keep their outputs? [redo/keep/STOP]"

_ANSWERS = {"r": "redo", "redo": "redo", "k": "keep", "keep": "keep"}


class Choice(Enum):
    """What to do with them."""

    REDO = "redo"
    KEEP = "keep"


@dataclass(frozen=True)
class Decision:
    """The jobs to redo, by their keys, with the ETags of the results to replace.

    With `keep`, what has changed stays as it was recorded: the results, and the inputs in S3.
    """

    redo: Table = field(default_factory=Table)
    keep: bool = False


def decide(context: Context, found: Comparison) -> Decision:
    """Return what to do with outdated jobs.

    Raises UsageError if the setting says so, or if it says to ask and nobody can answer.
    """
    said = context.settings.run.changed
    if said == "redo":
        return Decision(_by_key(found))
    if said == "keep":
        if found.done:
            context.tell(
                f"{plural(len(found.done), 'finished file')} out of date; keeping the outputs"
            )
        return Decision(keep=True)
    if not found.done:
        return Decision()
    lines = told(context, found.done)
    reply = context.ask(QUESTION, "\n  ".join(lines)) if said == "ask" else None
    if reply is not None:
        return _decided(found, reply)
    head, *rest = lines
    raise UsageError(head, "\n".join(rest), _ways(found.done))


def _by_key(found: Comparison) -> Table:
    redo = Table()
    for one in found.outdated:
        redo.put(one.key, (one.etag,))
    return redo


def again(context: Context, files: Sequence[str], new: Iterable[str] = ()) -> Table:
    """Return the jobs to redo on purpose, with the ETags of their results: all, or just `files`.

    Jobs without a result run in any case. `new` are jobs that are not in the manifest yet. Raises
    UsageError for a name that no job has.
    """
    store, layout = context.store, context.layout
    run = find_run(store, layout.run_json)
    keys = Table(entry.key for entry in KnownJobs(store, layout))
    if files:
        merge = merge_entry(store, layout, run) if run else ()
        every = Table(chain(keys, (entry.key for entry in merge), new))
        keys = Table(find_key(every, file, key_of_path(context, file)) for file in files)
    listed = list_results(store, layout, keys)
    redo = Table()
    for key in keys:
        if row := listed.get(layout.result(key)):
            redo.add(key, row)
    return redo


def _decided(found: Comparison, reply: str) -> Decision:
    match _ANSWERS.get(reply):
        case "redo":
            return Decision(_by_key(found))
        case "keep":
            return Decision(keep=True)
    raise UsageError("the answer was neither redo nor keep, so nothing was done")


def copy_same(context: Context, run: Run, same: Spooled[reuse.Reusable]) -> Table:
    """Copy what other runs made by the same work; return the jobs that are finished by it."""
    copied, origins = Table(), Counter[str]()
    for result in reuse.copy(context, run, same) if same else ():
        copied.add(result.key)
        origins[result.copied_from] += 1
    for origin, count in origins.most_common():
        files = plural(count, "file")
        context.tell(
            f"copied the outputs of {files} from run {escape(origin)}, which ran "
            "the same command on the same input (--no-reuse runs it again)"
        )
    return copied


def planned(context: Context, found: Comparison) -> list[str]:
    """Say what a dry run would do with outdated jobs."""
    said = context.settings.run.changed
    if said == "redo" and found.outdated:
        return [f"would process {plural(len(found.outdated), 'finished file')} again"]
    if not found.done:
        return []
    head, *rest = told(context, found.done)
    ways = (
        "would keep their outputs"
        if said == "keep"
        else "would stop (--changed redo or keep decides)"
    )
    return [f"{head}: {ways}", *(f"  {line}" for line in rest)]


def told(context: Context, done: Spooled[Outdated]) -> list[str]:
    """Say how many jobs are outdated, why, and what redoing them costs."""
    verb = "is" if len(done) == 1 else "are"
    head = f"{plural(len(done), 'finished file')} {verb} out of date"
    counts = Counter(one.reason for one in done)
    lines = [f"{count:,} because {reason.value}" for reason, count in counts.most_common()]
    if count := counts[Reason.INPUT]:
        changed = (shown(one.key) for one in done if one.reason is Reason.INPUT)
        more = f" and {count - _NAMED:,} more" if count > _NAMED else ""
        lines.append(f"changed inputs: {', '.join(islice(changed, _NAMED))}{more}")
    return [head, *lines, _cost(context, done)]


def _cost(context: Context, done: Iterable[Outdated]) -> str:
    # ruff: noqa: PLC0415 - only a question about finished jobs needs it
    from parallelize.runs.state.snapshot import read_heartbeats
    from parallelize_core.cost import spent_usd

    seconds = sum(one.seconds for one in done)
    usd = spent_usd(read_heartbeats(context.store, context.layout))
    so_far = f"; the whole run has cost about {show_usd(usd)} so far" if usd >= CENT else ""
    return f"their commands took {show_duration(seconds)} in all{so_far}"


def _ways(done: Iterable[Outdated]) -> str:
    example = quoted(escape(next(iter(done)).key))
    return (
        "--changed redo   processes them again; old results stay until there are new ones\n"
        "--changed keep   keeps their outputs as they are\n"
        f"parallelize explain {example}   says what differs"
    )
