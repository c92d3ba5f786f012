"""What `prep` will do: what is wanted, compared with what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import NamedTuple

from parallelize import bucket
from parallelize.console import escape, shown, some
from parallelize.context import Context
from parallelize.runs.files.twins import twin_remarks
from parallelize.runs.files.uploads import Outgoing, spooled_uploads
from parallelize.runs.inputs.input_files import (
    InputFiles,
    files_of_its_own,
    local_files,
    remote_files,
)
from parallelize.runs.inputs.local_inputs import FoundInputs, Refused, told_left_out
from parallelize.runs.inputs.shared_inputs import Borrowed, spooled_borrowed
from parallelize.runs.jobs.plan import check_name
from parallelize.runs.jobs.wanted import Asked, compare
from parallelize.runs.manifest import EntryLines, KnownEntries, KnownJobs, Parts, list_parts
from parallelize.runs.record import reuse
from parallelize.runs.record.outdated import Now
from parallelize.runs.record.ownership import FoundRun, check_later
from parallelize.runs.record.run_record import (
    Draft,
    check_same_places,
    with_inputs_of,
)
from parallelize.spool import Spooled, Table
from parallelize.together import Later, Listed, Together
from parallelize.units import plural
from parallelize_core.errors import UsageError
from parallelize_core.files import files_of
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Entry
from parallelize_core.run import Run

NAMED = 20
"""How many of the objects that cannot be inputs are named."""


@dataclass(frozen=True)
class Plan:
    """What `prep` will do: send files, add entries to the manifest, renew run.json."""

    draft: Draft
    uploads: Iterable[Outgoing]
    entries: Iterable[Entry]
    """All that may be new; those that exist by then are left alone."""
    new: int
    corrected: EntryLines = field(default_factory=EntryLines)
    """Jobs of the manifest whose inputs have changed, with the current inputs."""
    left_out: tuple[str, ...] = ()
    """What was found but left out."""
    twins: tuple[str, ...] = ()
    """Remarks about inputs whose names are the same on some disks."""
    refused: tuple[Refused, ...] = ()
    """Objects of S3 that cannot be inputs, but do not block the others."""
    ungrouped: tuple[str, ...] = ()
    """Files that `run.group` puts into no job."""
    unfinished: str = ""
    """A remark about the run whose outputs are the inputs, if it is not finished."""
    others: Sequence[RunLayout] = ()
    """Runs from which outputs of new jobs may be copied."""
    borrowed: Iterable[Borrowed] = ()
    """Inputs that other runs have sent."""
    moved: EntryLines = field(default_factory=EntryLines)
    """Jobs of the manifest whose inputs have not changed, but may not stay where it says."""
    known: KnownJobs = field(kw_only=True)
    """The jobs that the manifest has."""

    @cached_property
    def sent(self) -> Spooled[Outgoing]:
        """The uploads, one of each content."""
        return distinct(self.uploads)

    @property
    def bytes(self) -> int:
        """How many bytes are sent."""
        return sum(upload.size for upload in self.sent)

    @property
    def now(self) -> Now:
        """What would be executed now, to compare with results."""
        return Now(self.draft.run, self.corrected, self.entries if self.new else ())

    def keeping(self, redo: Table) -> Plan:
        """Return the same, but keep the recorded inputs of all jobs except those to `redo`.

        Files that such a job needs are still sent.
        """
        kept = (entry for entry in self.corrected.entries() if entry.key not in redo)
        taken = EntryLines.of(entry for entry in self.corrected.entries() if entry.key in redo)
        needed = Table(file.key for entry in taken.entries() for file in files_of(entry))
        files = (file.key for entry in kept for file in files_of(entry))
        changed = Table(name for name in files if name not in needed)
        uploads = spooled_uploads(one for one in self.uploads if one.name not in changed)
        borrowed = spooled_borrowed(one for one in self.borrowed if one.version.key not in changed)
        return replace(self, uploads=uploads, borrowed=borrowed, corrected=taken)

    def without(self, names: Table) -> Plan:
        """Return the same without sending these inputs."""
        if not names:
            return self
        uploads = spooled_uploads(one for one in self.uploads if one.name not in names)
        return replace(self, uploads=uploads)


def distinct(uploads: Iterable[Outgoing]) -> Spooled[Outgoing]:
    """Return the first upload of each content; without a checksum, each upload counts."""
    seen = Table()
    return spooled_uploads(one for one in uploads if seen.add(one.sha256 or one.key))


def remarks(plan: Plan) -> Iterator[str]:
    """Say what was found but does not become an input."""
    if plan.unfinished:
        yield plan.unfinished
    if told := told_left_out(plan.left_out):
        yield told
    if plan.ungrouped:
        named = some(list(plan.ungrouped)).replace("\n", ", ")
        yield f"{plural(len(plan.ungrouped), 'file')} in no group of run.group (left out): {named}"
    yield from plan.twins
    if plan.refused:
        lines = [f"{shown(one.name, 40)}: {one.why}" for one in plan.refused[:NAMED]]
        more = [f"and {len(plan.refused) - NAMED:,} more"] if len(plan.refused) > NAMED else []
        yield "\n  ".join(
            [f"{plural(len(plan.refused), 'object')} cannot be processed:", *lines, *more]
        )


class Existing(NamedTuple):
    """What a plan is compared with."""

    parts: Later[Parts]
    runs: Later[Sequence[str]]
    """The names of all runs, among others."""


class Look(NamedTuple):
    """What `prep` asks first, all at the same time; see `Together`."""

    region: Later[str | None]
    """The bucket's region, None if there is no bucket, as from `bucket.region_of`."""
    ours: Later[FoundRun]
    """The run, if it is ours: see `check_ours`."""
    existing: Existing
    results: Listed


def first_look(context: Context) -> Look:
    """Return what `prep` asks first; it is asked when the first answer is needed."""
    calls = Together(context.store)

    def region_alone() -> str | None:
        return bucket.region_of(context.clients.s3, context.bucket)

    return Look(
        calls.add(lambda clients: clients.store(context.bucket).region(), region_alone),
        check_later(calls, context),
        look_for_existing(calls, context),
        calls.list(context.layout.results.prefix),
    )


def look_for_existing(calls: Together, context: Context) -> Existing:
    """Ask what a plan is compared with, together with other calls."""
    runs = calls.folders(context.base.key("runs", ""))
    return Existing(list_parts(calls, context.layout), runs)


def make_plan(
    context: Context, existing: Existing, there: Run | None, draft: Draft, asked: Asked
) -> Plan:
    """Compare what is wanted with what is there; `there` is the run's record."""
    draft = draft._replace(run=with_inputs_of(context.layout, draft.run, there))
    check_same_places(draft.run, there)
    _check_same_columns(draft.run, there)
    known = KnownJobs(context.store, context.layout, existing.parts())
    if draft.numbered:
        _check_numbers(known)
    make = _plain_plan if asked.shape.plain else _shaped
    return make(context, draft, asked, known, existing.runs)


def _plain_plan(
    context: Context, draft: Draft, asked: Asked, jobs: KnownJobs, runs: Later[Sequence[str]]
) -> Plan:
    known = KnownEntries(jobs)
    others: Sequence[RunLayout] = ()
    if asked.found is None:
        files = remote_files(context)
        others = reuse.find_others(context, draft, runs)
    else:
        has_new = any(item.key not in known for item in asked.found.inputs)
        others = reuse.find_others(context, draft, runs) if has_new else ()
        files = _here(context, draft, asked.found, known, has_others=bool(others))
    new = _New(files.wanted, known)
    count = 0
    for name in files.names:
        if name not in known:
            count += 1
            check_name(name)
    there = ((entry, known.get(entry.key)) for entry in files.wanted) if known else ()
    corrected = EntryLines.of(
        _kept_number(e, old) for e, old in there if old and old.etag != e.etag
    )
    moved = (known.get(name) for name in files.moved(known) if name not in corrected)
    twins = twin_remarks(_Names(known, files)) if count else []
    return Plan(
        draft, files.uploads, new, count, corrected, files.left_out, tuple(twins),
        files.refused, others=others, unfinished=files.unfinished, borrowed=files.borrowed,
        moved=EntryLines.of(filter(None, moved)), known=jobs,
    )  # fmt: skip


@dataclass(frozen=True)
class _New:
    """Those of the wanted jobs that the manifest does not have."""

    wanted: Iterable[Entry]
    known: KnownEntries

    def __iter__(self) -> Iterator[Entry]:
        """Go through them from the first."""
        return (entry for entry in self.wanted if entry.key not in self.known)


@dataclass(frozen=True)
class _Names:
    """The names of all jobs, as they will be."""

    known: KnownEntries
    files: InputFiles

    def __iter__(self) -> Iterator[str]:
        """Go through them from the first."""
        return chain(self.known, (name for name in self.files.names if name not in self.known))


def _here(
    context: Context, draft: Draft, found: FoundInputs, known: KnownEntries, *, has_others: bool
) -> InputFiles:
    """Compare local files with what was sent.

    Results of other runs, if there are, may be those of former versions, which tell contents by
    ETags.
    """
    store, layout = context.store, context.layout
    if draft.run.shares_inputs:
        files = local_files(store, layout, found.inputs, known.file, etags=has_others)
    else:
        compared = {item.key for item in found.inputs} if has_others else known
        files = files_of_its_own(store, layout, found.inputs, compared)
    return files._replace(left_out=found.left_out)


def _shaped(
    context: Context, draft: Draft, asked: Asked, jobs: KnownJobs, runs: Later[Sequence[str]]
) -> Plan:
    others = reuse.find_others(context, draft, runs)
    shares = draft.run.shares_inputs
    shaped = compare(context, asked, jobs, shares=shares, read_all=bool(others))
    plan, files = shaped.plan, shaped.files
    corrected, moved = EntryLines(), EntryLines()
    for entry in jobs if plan.changed or shaped.moved else ():
        if now := plan.changed.get(entry.key):
            corrected.add(_kept_number(now, entry))
        elif any(file.key in shaped.moved for file in files_of(entry)):
            moved.add(entry)
    left_out = asked.found.left_out if asked.found else files.left_out
    return Plan(
        draft, files.uploads, plan.entries, plan.new, corrected, left_out,
        refused=files.refused, ungrouped=shaped.ungrouped, others=others,
        unfinished=files.unfinished, borrowed=files.borrowed, moved=moved, known=jobs,
    )  # fmt: skip


def _check_same_columns(wanted: Run, there: Run | None) -> None:
    """Raise UsageError if new jobs had other variables: all jobs share one command."""
    if there is not None and there.columns != wanted.columns:
        raise UsageError(
            f'the jobs of run "{there.name}" have {_columns(there)}',
            f"now they would have {_columns(wanted)}",
            "give the other jobs a run of their own: --run NAME",
        )


def _columns(run: Run) -> str:
    return f"the columns {', '.join(map(escape, run.columns))}" if run.columns else "no columns"


def _check_numbers(known: Iterable[Entry]) -> None:
    """Raise UsageError if jobs were made without the numbers that the command asks for."""
    if lacking := [entry.key for entry in known if entry.number is None]:
        raise UsageError(
            "the command has {#}, and the jobs of this run have no numbers", some(lacking),
            "numbers are given when a job is prepared: give another run name, --run NAME",
        )  # fmt: skip


def _kept_number(entry: Entry, there: Entry) -> Entry:
    return entry.model_copy(update={"number": there.number})
