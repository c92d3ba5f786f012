"""`parallelize prep`: check everything, send inputs and environment, write the manifest.

Nothing is sent before everything is checked. What is there already is not sent again, so an
interrupted `prep` is repeated. If workers are to start from a vendor's plain image, the agent for
them is sent along. The order is inputs, manifest, environment, run.json: a run
that can be found has all that it names.

A new input is added by a further part of the manifest. One whose content has *changed* is
taken only if its job has failed, and `retry` then sends the new version: otherwise a result, or a
message under way, belongs to the old content, and nobody could tell which one was processed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from parallelize import bucket, region
from parallelize.commands import stock_bundle
from parallelize.commands.machine_types import machine_types
from parallelize.console import answer_json, say, say_plan, say_plans, shown, some
from parallelize.context import Context, open_context
from parallelize.options import NO_WORK, NOTHING, Common, Work
from parallelize.progress import progress
from parallelize.runs.input_files import local_files, remote_files
from parallelize.runs.inputs import Refused, told_left_out
from parallelize.runs.jobs.plan import (
    Entries,
    KnownJobs,
    check_name,
    numbered,
    with_files,
    write_parts,
)
from parallelize.runs.jobs.wanted import Asked, compare, read_asked
from parallelize.runs.ownership import adopt, check_ours
from parallelize.runs.record import (
    Draft,
    check_same_columns,
    check_same_places,
    drafted,
    find_run,
    is_renewal,
    no_numbers,
    publish,
)
from parallelize.runs.results import read_result
from parallelize.runs.twins import twin_remarks
from parallelize.runs.uploads import Outgoing, Stored, Uploads
from parallelize.units import plural, show_size
from parallelize_core.errors import ServiceError, UsageError
from parallelize_core.files import InputFile
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Entry, add_corrections
from parallelize_core.store import Store

_PART_TRIES = 10

NAMED = 20
"""How many of the objects that cannot be inputs are named."""

CHANGED = (
    "the environment or the settings of the run have changed since it was prepared\n"
    "  files that are done stay as they are; to redo everything, --run NAME"
)


@dataclass(frozen=True)
class Plan:
    """What `prep` will do: send files, add entries to the manifest, renew run.json."""

    draft: Draft
    uploads: tuple[Outgoing, ...]
    entries: Iterable[Entry]
    """All that may be new; those that are there by then are left alone."""
    new: int
    corrected: tuple[Entry, ...] = ()
    """Inputs whose jobs have failed, as they are now."""
    left_out: tuple[str, ...] = ()
    """What was found and is no input."""
    twins: tuple[str, ...] = ()
    """What to say of inputs whose names other disks take for one."""
    refused: tuple[Refused, ...] = ()
    """Objects of S3 that cannot be inputs, and do not stand in the way of the others."""
    ungrouped: tuple[str, ...] = ()
    """Files that `run.group` puts into no job."""
    unfinished: str = ""
    """What to say of the run whose outputs are the inputs, if it is not finished."""

    @property
    def bytes(self) -> int:
        """The size of the uploads."""
        return sum(upload.size for upload in self.uploads)


@dataclass(frozen=True)
class Prepared:
    """What `prep` did."""

    run: str
    inputs: int
    added: int
    uploaded: int
    uploaded_bytes: int
    environment: str
    left_out: int
    refused: int
    noun: str = "input"
    """What the inputs are called for people."""


def prep(
    *,
    work: Work = NO_WORK,
    create_bucket: bool = False,
    dry_run: bool = False,
    json: bool = False,
    common: Common = NOTHING,
) -> None:
    """Upload the inputs and the environment, and write the list of jobs."""
    context = open_context(common, work.flags())
    if dry_run:
        show_plan(context)
        return
    done = prepare(context, create_bucket=create_bucket)
    say(
        f"run {done.run}: {plural(done.inputs, done.noun)}, {done.added:,} new, "
        f"{done.uploaded:,} uploaded ({show_size(done.uploaded_bytes)})"
    )
    if json:
        told = {name: value for name, value in done.__dict__.items() if name != "noun"}
        answer_json({"schema": 1, **told})


def prepare(
    context: Context, *, create_bucket: bool = False, asked: Asked | None = None
) -> Prepared:
    """Do all of `prep`, of what is `asked` for; by default that is what the settings say.

    What is there already is not sent again.

    Raises UsageError, before anything is sent, for whatever is wrong with inputs or command.
    """
    asked = asked or read_asked(context)
    with drafted(context, shape=asked.shape) as draft:
        ensure_bucket(context, create=create_bucket)
        check_ours(context)
        store, bundles = context.store, stock_bundle.pack(context, machine_types(context))
        plan = make_plan(context, store, draft, asked)
        for line in remarks(plan):
            say(line)
        adopt(context)
        stored = send(context, plan.uploads)
        stock_bundle.send(context, bundles)
        add_corrections(store, context.layout, [*_with_stored(plan.corrected, stored)])
        entries = _with_stored(plan.entries, stored)
        total = add_to_manifest(store, context.layout, entries, with_numbers=draft.numbered)
        known = find_run(store, context.layout.run_json) is not None
        if publish(store, context, draft) and known:
            say(CHANGED)
    environment = draft.run.environment
    return Prepared(
        run=context.run,
        inputs=total,
        added=plan.new,
        uploaded=len(plan.uploads),
        uploaded_bytes=plan.bytes,
        environment=environment.identity if environment else "",
        left_out=len(plan.left_out),
        refused=len(plan.refused),
        noun="input" if asked.shape.plain else "job",
    )


def show_plan(context: Context) -> None:
    """Print what `prep` would do; reads, and changes nothing."""
    asked = read_asked(context)
    with drafted(context, keep_lock=False, shape=asked.shape) as draft:
        if not has_bucket(context):
            say_plan(f"would need the bucket {context.bucket}, which does not exist yet")
            say_plan(
                f"would upload {plural(len(asked.found.inputs if asked.found else ()), 'file')}"
            )
            return
        check_ours(context)
        plan = make_plan(context, context.store, draft, asked)
        renewed = is_renewal(context.store, context, draft)
    for bundle in stock_bundle.pack(context, machine_types(context)):
        if not bundle.sent:
            say_plan(f"would upload {stock_bundle.describe(bundle)}")
    say_plans(
        f"would upload {shown(upload.name)}  {show_size(upload.size)}" for upload in plan.uploads
    )
    if renewed:
        say_plan("would replace the environment or the settings of the run: they have changed")
    for line in remarks(plan):
        say_plan(line)
    size = show_size(plan.bytes)
    noun = "input" if asked.shape.plain else "job"
    say_plan(f"would add {plural(plan.new, noun)} to run {context.run}, {size} to send")


def remarks(plan: Plan) -> Iterator[str]:
    """Say what was found and does not become an input."""
    if plan.unfinished:
        yield plan.unfinished
    if told := told_left_out(plan.left_out):
        yield told
    if plan.ungrouped:
        named = some(list(plan.ungrouped)).replace("\n", ", ")
        yield f"{plural(len(plan.ungrouped), 'file')} in no group of run.group, left out: {named}"
    yield from plan.twins
    if plan.refused:
        lines = [f"{shown(one.name, 40)}: {one.why}" for one in plan.refused[:NAMED]]
        more = [f"and {len(plan.refused) - NAMED:,} more"] if len(plan.refused) > NAMED else []
        yield "\n  ".join(
            [f"{plural(len(plan.refused), 'object')} cannot be processed:", *lines, *more]
        )


def make_plan(context: Context, store: Store, draft: Draft, asked: Asked) -> Plan:
    """Compare what is wanted with what is there."""
    there = find_run(store, context.layout.run_json)
    check_same_places(draft.run, there)
    check_same_columns(draft.run, there)
    if draft.numbered:
        _check_numbers(KnownJobs(store, context.layout))
    return (_plain_plan if asked.shape.plain else _shaped)(context, draft, asked)


def _plain_plan(context: Context, draft: Draft, asked: Asked) -> Plan:
    store, layout = context.store, context.layout
    known = {entry.key: entry for entry in KnownJobs(store, layout)}
    if asked.found is None:
        files = remote_files(context)
    else:
        files = local_files(store, layout, asked.found.inputs, known)
        files = replace(files, left_out=asked.found.left_out)
    wanted = files.wanted
    changed = [e.key for e in wanted if e.key not in files.held and _differs(e, known)]
    check_changes(store, layout, changed, {entry.key: entry.etag for entry in wanted})
    new = tuple(entry for entry in wanted if entry.key not in known)
    for entry in new:
        check_name(entry.key)
    corrected = tuple(_kept_number(e, known) for e in wanted if _differs(e, known))
    twins = twin_remarks([*known, *(entry.key for entry in new)]) if new else []
    return Plan(
        draft, files.uploads, new, len(new), corrected, files.left_out, tuple(twins),
        files.refused, unfinished=files.unfinished,
    )  # fmt: skip


def _shaped(context: Context, draft: Draft, asked: Asked) -> Plan:
    shaped = compare(context, asked)
    plan, files = shaped.plan, shaped.files
    etags = {entry.key: entry.etag for entry in plan.changed}
    every = KnownJobs(context.store, context.layout) if etags else ()
    known = {entry.key: entry for entry in every if entry.key in etags}
    corrected = tuple(_kept_number(entry, known) for entry in plan.changed)
    check_changes(context.store, context.layout, etags, etags)
    left_out = asked.found.left_out if asked.found else files.left_out
    return Plan(
        draft, files.uploads, plan.entries, plan.new, corrected, left_out,
        refused=files.refused, ungrouped=shaped.ungrouped, unfinished=files.unfinished,
    )  # fmt: skip


def _check_numbers(known: Iterable[Entry]) -> None:
    if lacking := [entry.key for entry in known if entry.number is None]:
        raise no_numbers(lacking)


def _kept_number(entry: Entry, known: Mapping[str, Entry]) -> Entry:
    return entry.model_copy(update={"number": known[entry.key].number})


def check_changes(
    store: Store, layout: RunLayout, changed: Iterable[str], etags: Mapping[str, str]
) -> None:
    """Raise UsageError for inputs that changed although their jobs have not failed."""
    refused = [key for key in changed if not _may_change(store, layout, key, etags[key])]
    if refused:
        verb = "has" if len(refused) == 1 else "have"
        raise UsageError(
            f"{plural(len(refused), 'input')} {verb} changed since it was prepared",
            some(refused),
            "give the new version a run of its own: --run NAME\n"
            "(only an input whose job failed may change; then: parallelize retry)",
        )


def send(context: Context, files: Sequence[Outgoing]) -> dict[str, Stored]:
    """Upload files, many at once, and show how far it is; return what S3 has of each key."""
    stored: dict[str, Stored] = {}
    if not files:
        return stored
    with progress("uploaded", len(files)) as step:

        def told(file: Stored) -> None:
            stored[file.name] = file
            step(file.size)

        context.transfer(context.bucket, lambda store: Uploads(store, told).send(files))
    return stored


def add_to_manifest(
    store: Store, layout: RunLayout, entries: Iterable[Entry], *, with_numbers: bool = False
) -> int:
    """Add parts with those entries that the manifest does not have yet; return its length.

    Parts are never written over. If another `prep` takes a number first, what it wrote is read,
    and only what is still missing is added: `entries` are gone through once more.
    """
    for _ in range(_PART_TRIES):
        known = KnownJobs(store, layout)
        new = (entry for entry in entries if known.etag(entry.key) is None)
        made = numbered(new, known.total + 1) if with_numbers else new
        added = write_parts(store, layout, made, known.next_part)
        if added is not None:
            return known.total + added
    raise ServiceError(f"others keep writing to the manifest of run {layout.run}")


def _with_stored(entries: Iterable[Entry], stored: Mapping[str, Stored]) -> Iterable[Entry]:
    """Take what S3 says: its ETag with KMS is not the one that we computed."""
    files = {key: InputFile(key=key, size=one.size, etag=one.etag) for key, one in stored.items()}
    if isinstance(entries, Entries):
        return entries.with_versions(files)
    return [_as_stored(entry, files) for entry in entries]


def _as_stored(entry: Entry, stored: Mapping[str, InputFile]) -> Entry:
    """Return an entry with what S3 has of its files."""
    if entry.files is None:
        there = stored.get(entry.key)
        update = {"size": there.size, "etag": there.etag} if there else {}
        return entry.model_copy(update=update)
    return with_files(entry, [
        stored[file.key].model_copy(update={"column": file.column}) if file.key in stored else file
        for file in entry.files
    ])  # fmt: skip


def has_bucket(context: Context) -> bool:
    """Whether the run's bucket exists; UsageError if it does, in another region."""
    there = bucket.region_of(context.clients.s3, context.bucket)
    # Other services that speak S3 call their only region what they like.
    if there and not context.elsewhere:
        region.check_bucket(context.bucket, there, context.region, context.region_source)
    return there is not None


def ensure_bucket(context: Context, *, create: bool) -> None:
    """Make the bucket if it is missing and that was asked for.

    An account's bucket belongs to `setup`, which an administrator may keep for himself; so it
    takes a flag to make one here. An emulator has no `setup` and no bill.
    """
    s3, name = context.clients.s3, context.bucket
    if has_bucket(context):
        return
    if not (create or context.elsewhere):
        raise UsageError(
            f"the bucket {name} does not exist", None,
            "parallelize setup, or: parallelize prep --create-bucket",
        )  # fmt: skip
    bucket.create(s3, name, context.region, context.settings.aws.tags)
    say(f"made the bucket {name}")


def _differs(entry: Entry, known: Mapping[str, Entry]) -> bool:
    return entry.key in known and known[entry.key].etag != entry.etag


def _may_change(store: Store, layout: RunLayout, key: str, etag: str) -> bool:
    result = read_result(store, layout, key)
    if result is None:
        return False
    # The second: a retry has processed this very version already.
    return result.status == "failed" or result.input_etag == etag
