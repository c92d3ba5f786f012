"""Downloads the outputs of succeeded jobs, and checks every byte of them.

The results say what there is, not the output prefix: an output whose result was never written does
not count. A file gets its name only when it is complete and its checksum is right, so an existing
file with that checksum need not be fetched again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import indent

from parallelize.console import escape, few, shown, some
from parallelize.context import Context
from parallelize.runs.files.download_record import DownloadRecord
from parallelize.runs.files.fetching import (
    COMPOSED,
    DECOMPOSED,
    Fetcher,
    Refusal,
    is_there,
    merges,
    refusals,
    unwritable,
)
from parallelize.runs.files.known_contents import known_contents
from parallelize.runs.record.outdated import is_outdated, told_outdated
from parallelize.runs.record.ownership import check_meant, load_run
from parallelize.runs.results.failed import quoted
from parallelize.runs.results.merge import all_jobs, without_old_merge
from parallelize.runs.results.results import list_results, read_listed, still_stored
from parallelize.runs.results.silent import (
    NONE_SILENT,
    Silent,
    advice,
    among,
    is_silent,
    told_silent,
)
from parallelize.transfers import in_parallel
from parallelize.units import plural, show_size
from parallelize_core.errors import NothingToDoError, ParallelizeError
from parallelize_core.layout import Location, RunLayout
from parallelize_core.manifest import Entry
from parallelize_core.owner import other_run
from parallelize_core.result import Output, Result
from parallelize_core.run import Run
from parallelize_core.store import Store

SOME_FAILED = 1

NAMED = 3
"""How many outputs with the same fault are named."""


@dataclass(frozen=True)
class Plan:
    """What is fetched, what is not, and the state of the run."""

    outputs: tuple[Output, ...]
    refused: tuple[Refusal, ...]
    succeeded: int
    failed: int
    total: int
    makers: Mapping[str, str] = field(default_factory=dict)
    """For each output, the input from which it was made."""
    silent: Silent = NONE_SILENT
    """The inputs whose jobs succeeded without any output, if that is doubtful."""
    outdated: int = 0
    """How many of the succeeded jobs are outdated."""

    @property
    def missing(self) -> int:
        """The jobs without a result."""
        return self.total - self.succeeded - self.failed


@dataclass(frozen=True)
class Fetched:
    """What `download` did: outputs fetched, already there, and refused or broken."""

    plan: Plan
    folder: Path
    fetched: int
    present: int
    broken: tuple[Refusal, ...]
    replaced: tuple[tuple[str, str], ...] = ()
    """Names under which another run's output was here, each after that run's name."""

    @property
    def exit_code(self) -> int:
        """1 if a job or a download failed, or if a job that should have outputs has none."""
        plan = self.plan
        return SOME_FAILED if self.broken or plan.failed or plan.silent.count else 0

    def as_json(self, run: str) -> dict[str, object]:
        """Return it as a JSON object."""
        refused = [{"key": r.key, "why": r.why, "redo": r.redo or None} for r in self.broken]
        return {
            "schema": 1,
            "run": run,
            "to": str(self.folder),
            "downloaded": self.fetched,
            "present": self.present,
            "refused": refused,
            "failed": self.plan.failed,
            "missing": self.plan.missing,
            "without_output": self.plan.silent.count,
            "outdated": self.plan.outdated,
        }


def check_folder(folder: Path) -> None:
    """Make the folder for the outputs; raise UsageError if it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise unwritable(folder, error) from None


def check_place(folder: Path) -> None:
    """Raise UsageError if the folder could not be created, or written to; creates nothing."""
    places = (folder.absolute(), *folder.absolute().parents)
    nearest = next(place for place in places if os.path.lexists(place))
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return
    except OSError as error:
        raise unwritable(folder, error) from None


def fetch(context: Context, folder: Path) -> Fetched:
    """Do all of `download`; do not fetch files that are there with the right checksum.

    Raises NothingToDoError if no job has succeeded. Outputs that cannot be written, or that are not
    what their result says, are in the return value; they do not stop the others.
    """
    plan = make_plan(context, folder)
    if not plan.succeeded:
        raise NothingToDoError(
            "nothing to download: no job has succeeded yet",
            f"{plan.failed:,} failed, {plan.missing:,} without a result",
            "parallelize status",
        )
    output = load_run(context.store, context).output
    check_folder(folder)
    record = DownloadRecord(folder, context.run)
    mode = 0o666 & ~_umask()
    replaced: list[tuple[str, str]] = []
    try:
        with record.partial_folder() as partial, known_contents() as known:
            fetched, found = context.transfer(
                output.bucket,
                lambda store: Fetcher(
                    store, output, record, partial, mode, known, replaced=replaced
                ).fetch_all(plan.outputs),
            )
    except OSError as error:
        raise unwritable(folder, error) from None
    store = context.store_of(output.bucket)
    broken = list(in_parallel(lambda one: _explained(context, store, output, plan, one), found))
    present = len(plan.outputs) - fetched - len(broken)
    refused = (*plan.refused, *broken)
    return Fetched(plan, folder, fetched, present, refused, tuple(sorted(replaced)))


def _explained(
    context: Context, store: Store, output: Location, plan: Plan, refusal: Refusal
) -> Refusal:
    """Say which input to process again; none if another run took the output's place."""
    if not refusal.redo:
        return refusal
    there = None
    with suppress(ParallelizeError):
        there = store.head(output.key(refusal.key))
    if there and (run := other_run(there.metadata, context.layout)):
        return Refusal(refusal.key, f"an output of the run at {escape(run)} has replaced it")
    return replace(refusal, redo=plan.makers[refusal.key])


def make_plan(context: Context, folder: Path) -> Plan:
    """Read the manifest and the results, and choose what can be fetched into `folder`."""
    store, layout = context.store, context.layout
    run = load_run(store, context)
    check_meant(context)
    seen = _Seen(run, {entry.key: entry for entry in all_jobs(store, layout, run)})
    inputs = [*seen.waiting]
    for result in finished_results(store, layout, inputs):
        seen.add(result)
    made = [(output, key) for key in inputs for output in seen.outputs.get(key, ())]
    if run.naming.on_clash == "replace":
        made = still_stored(context.store_of(run.output.bucket), run.output, made)
    outputs = [output for output, _ in made]
    one_case, one_form = merges(folder, "a", "A"), merges(folder, COMPOSED, DECOMPOSED)
    refused = refusals(outputs, folder, one_case=one_case, one_form=one_form)
    names = {refusal.key for refusal in refused}
    return Plan(
        tuple(output for output in outputs if output.key not in names),
        tuple(refused),
        succeeded=len(seen.outputs),
        failed=seen.failed,
        total=len(inputs),
        makers={output.key: key for output, key in made},
        silent=among(run, (seen.silent[key] for key in inputs if key in seen.silent)),
        outdated=seen.outdated,
    )


@dataclass
class _Seen:
    """What is kept of each result once it is read: a whole record takes some kilobytes.

    `waiting` are the jobs whose results have not been read yet.
    """

    run: Run
    waiting: dict[str, Entry]
    outputs: dict[str, tuple[Output, ...]] = field(default_factory=dict)
    """The outputs of each succeeded job, by its input."""
    silent: dict[str, Result] = field(default_factory=dict)
    failed: int = 0
    outdated: int = 0

    def add(self, result: Result) -> None:
        """Add a result."""
        entry = self.waiting.pop(result.key, None)
        if entry is None:
            return
        if result.status != "succeeded":
            self.failed += 1
            return
        self.outputs[result.key] = result.outputs
        self.outdated += is_outdated(self.run, entry, result)
        if is_silent(result):
            self.silent[result.key] = result


def finished_results(store: Store, layout: RunLayout, inputs: Sequence[str]) -> Iterator[Result]:
    """Read the results of inputs, without logs, in any order."""
    listed = without_old_merge(store, layout, list_results(store, layout, inputs))
    places = (layout.result(key) for key in inputs)
    wanted = {place: listed[place] for place in places if place in listed}
    return read_listed(store, layout, wanted)


def told_refusals(refusals: Sequence[Refusal]) -> list[str]:
    """Say which outputs are missing, grouped by reason; none if all are there."""
    alike: dict[str, list[str]] = {}
    for refusal in refusals:
        alike.setdefault(refusal.why, []).append(refusal.key)
    return [
        f"not downloaded: {shown(names[0])}\n  {why}" if len(names) == 1
        else f"{len(names):,} outputs not downloaded: {why}\n{indent(some(names, NAMED), '  ')}"
        for why, names in alike.items()
    ]  # fmt: skip


def healing(refusals: Sequence[Refusal], hint: str) -> list[str]:
    """Say which commands recreate outputs that are gone or spoilt; none if none are."""
    keys = list(dict.fromkeys(refusal.redo for refusal in refusals if refusal.redo))
    if not keys:
        return []
    # After `--`, nothing is an option.
    names = " ".join(dict.fromkeys(quoted(key) for key in keys[:NAMED]))
    more = f" …   ({len(keys):,} inputs)" if len(keys) > NAMED else ""
    return [
        f"again:     parallelize retry{hint} -- {names}{more}",
        f"           parallelize run{hint}",
    ]


def _umask() -> int:
    # It can only be read by setting it for the whole process, so no thread may do this.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def planned(plan: Plan, folder: Path) -> Iterator[str]:
    """Say what a plan would download."""
    with known_contents() as known:
        missing = [one for one in plan.outputs if not is_there(folder / one.key, one, known)]
    record = DownloadRecord(folder)
    kept = {one.key: why for one in missing if (why := record.refusal(one.key))}
    yield from few(
        f"would download {shown(one.key, 44)}  {show_size(one.size)}"
        for one in missing
        if one.key not in kept
    )
    for refusal in (*plan.refused, *(Refusal(key, why) for key, why in kept.items())):
        yield f"would refuse {shown(refusal.key)}\n  {refusal.why}"
    yield f"{plural(len(plan.outputs), 'output')}, {plan.missing:,} inputs without result"


def told_trouble(done: Fetched, hint: str) -> list[str]:
    """Say what did not arrive, and how to get it; `hint` ends each command."""
    return [*told_refusals(done.broken), *healing(done.broken, hint), *told_replaced(done)]


def told_replaced(done: Fetched) -> list[str]:
    """Say whose outputs this run's outputs replaced in the folder."""
    of_runs: dict[str, list[str]] = {}
    for run, name in done.replaced:
        of_runs.setdefault(run, []).append(name)
    return [
        f"{plural(len(names), 'output')} of run {shown(run)} replaced in "
        f"{escape(str(done.folder))}: {shown(names[0])}{' …' if len(names) > 1 else ''}\n"
        "  to keep runs apart, give each a folder of its own (DIR of download, --out of run)"
        for run, names in of_runs.items()
    ]


def told(done: Fetched, hint: str) -> Iterator[str]:
    """Say what was done, and what is still missing; `hint` ends each command."""
    plan = done.plan
    yield from told_trouble(done, hint)
    yield (
        f"{plural(done.fetched, 'output')} downloaded to {escape(str(done.folder))}, "
        f"{done.present:,} there already"
    )
    yield from told_outdated(plan.outdated, hint)
    yield from (*told_silent(plan.silent), *advice(plan.silent))
    if plan.silent.count:
        yield f"once more: parallelize retry --silent{hint}, then parallelize run{hint}"
    if plan.failed or plan.missing:
        yield f"still missing: {plan.failed:,} failed, {plan.missing:,} without a result"
        first = f"parallelize retry{hint}, then " if plan.failed else ""
        yield f"again:     {first}parallelize run{hint}"
