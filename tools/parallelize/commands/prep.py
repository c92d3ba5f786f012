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

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from parallelize import bucket, region
from parallelize.commands import stock_bundle
from parallelize.commands.machine_types import machine_types
from parallelize.console import answer_json, say, say_plan, say_plans, shown, some
from parallelize.context import Context, open_context
from parallelize.options import NO_WORK, NOTHING, SWITCH, Common, DryRun, Json, Work
from parallelize.progress import progress
from parallelize.runs.input_rules import rules_of
from parallelize.runs.inputs import Found, LocalInput, Refused, find_inputs, places, told_left_out
from parallelize.runs.known_contents import known_contents
from parallelize.runs.ownership import adopt, check_ours
from parallelize.runs.record import (
    Draft,
    check_same_places,
    drafted,
    find_run,
    is_renewal,
    publish,
)
from parallelize.runs.remote_inputs import find_remote, is_remote, select
from parallelize.runs.results import read_result
from parallelize.runs.twins import twin_remarks
from parallelize.runs.uploads import Outgoing, Stored, Uploads
from parallelize.transfers import Fingerprint, holds, in_parallel
from parallelize.units import plural, show_size
from parallelize_core.errors import ServiceError, UsageError
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import PART_ENTRIES, Entry, add_corrections, encode_part, read_parts
from parallelize_core.store import IF_ABSENT, ObjectInfo, Store

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
    entries: tuple[Entry, ...]
    corrected: tuple[Entry, ...] = ()
    """Inputs whose jobs have failed, as they are now."""
    left_out: tuple[str, ...] = ()
    """What was found and is no input."""
    twins: tuple[str, ...] = ()
    """What to say of inputs whose names other disks take for one."""
    refused: tuple[Refused, ...] = ()
    """Objects of S3 that cannot be inputs, and do not stand in the way of the others."""

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


def prep(
    *,
    work: Work = NO_WORK,
    create_bucket: Annotated[
        bool, SWITCH, Parameter(help="Make the bucket if there is none.")
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
    common: Common = NOTHING,
) -> None:
    """Upload the inputs and the environment, and write the list of jobs."""
    context = open_context(common, work.flags())
    if dry_run:
        show_plan(context)
        return
    done = prepare(context, create_bucket=create_bucket)
    say(
        f"run {done.run}: {plural(done.inputs, 'input')}, {done.added:,} new, "
        f"{done.uploaded:,} uploaded ({show_size(done.uploaded_bytes)})"
    )
    if json:
        answer_json({"schema": 1, **done.__dict__})


def prepare(context: Context, *, create_bucket: bool = False) -> Prepared:
    """Do all of `prep`; what is there already is not sent again.

    Raises UsageError, before anything is sent, for whatever is wrong with inputs or command.
    """
    local = _local(context)
    with drafted(context) as draft:
        ensure_bucket(context, create=create_bucket)
        check_ours(context)
        store, bundles = context.store, stock_bundle.pack(context, machine_types(context))
        plan = make_plan(context, store, draft, local)
        for line in remarks(plan):
            say(line)
        adopt(context)
        stored = send(context, plan.uploads)
        stock_bundle.send(context, bundles)
        add_corrections(store, context.layout, _as_stored(plan.corrected, stored))
        total = add_to_manifest(store, context.layout, _as_stored(plan.entries, stored))
        known = find_run(store, context.layout.run_json) is not None
        if publish(store, context, draft) and known:
            say(CHANGED)
    environment = draft.run.environment
    return Prepared(
        run=context.run,
        inputs=total,
        added=len(plan.entries),
        uploaded=len(plan.uploads),
        uploaded_bytes=plan.bytes,
        environment=environment.identity if environment else "",
        left_out=len(plan.left_out),
        refused=len(plan.refused),
    )


def show_plan(context: Context) -> None:
    """Print what `prep` would do; reads, and changes nothing."""
    local = _local(context)
    with drafted(context, keep_lock=False) as draft:
        if not has_bucket(context):
            say_plan(f"would need the bucket {context.bucket}, which does not exist yet")
            say_plan(f"would upload {plural(len(local.inputs if local else ()), 'file')}")
            return
        check_ours(context)
        plan = make_plan(context, context.store, draft, local)
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
    say_plan(f"would add {plural(len(plan.entries), 'input')} to run {context.run}, {size} to send")


def remarks(plan: Plan) -> Iterator[str]:
    """Say what was found and does not become an input."""
    if told := told_left_out(plan.left_out):
        yield told
    yield from plan.twins
    if plan.refused:
        lines = [f"{shown(one.name, 40)}: {one.why}" for one in plan.refused[:NAMED]]
        more = [f"and {len(plan.refused) - NAMED:,} more"] if len(plan.refused) > NAMED else []
        yield "\n  ".join(
            [f"{plural(len(plan.refused), 'object')} cannot be processed:", *lines, *more]
        )


def make_plan(context: Context, store: Store, draft: Draft, local: Found | None) -> Plan:
    """Compare what is wanted with what is there; `local` is None if the inputs are in S3."""
    layout = context.layout
    check_same_places(draft.run, find_run(store, layout.run_json))
    known = {entry.key: entry for part in read_parts(store, layout) for entry in part.entries}
    if local is None:
        uploads: tuple[Outgoing, ...] = ()
        chosen = select(context)
        there = find_remote(
            context.store_of(chosen.location.bucket), chosen, rules_of(context, None)
        )
        wanted, left_out, refused = list(there.entries), there.left_out, there.refused
        changed = [entry.key for entry in wanted if _differs(entry, known)]
    else:
        there_now = {layout.input.relative(i.key): i for i in store.list(layout.input.prefix)}
        contents = _contents(local.inputs, {*there_now, *known})
        held = _held(store, there_now, contents)
        wanted = [_entry(item, contents.get(item.key), held.get(item.key)) for item in local.inputs]
        uploads = tuple(
            Outgoing(item.key, item.path, layout.input.key(item.key), item.size)
            for item in local.inputs
            if item.key not in held
        )
        left_out, refused = local.left_out, ()
        changed = [entry.key for entry in wanted
                   if entry.key not in held and _differs(entry, known)]  # fmt: skip
    check_changes(store, layout, changed, {entry.key: entry.etag for entry in wanted})
    new = tuple(entry for entry in wanted if entry.key not in known)
    corrected = tuple(entry for entry in wanted if _differs(entry, known))
    twins = twin_remarks([*known, *(entry.key for entry in new)]) if new else []
    return Plan(draft, uploads, new, corrected, left_out, tuple(twins), refused)


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


def add_to_manifest(store: Store, layout: RunLayout, entries: Sequence[Entry]) -> int:
    """Add parts with those entries that the manifest does not have yet; return its length.

    Parts are never written over. If another `prep` takes a number first, what it wrote is read,
    and only what is still missing is added.
    """
    for _ in range(_PART_TRIES):
        parts = list(read_parts(store, layout))
        known = {entry.key for part in parts for entry in part.entries}
        missing = [entry for entry in entries if entry.key not in known]
        if not missing:
            return len(known)
        number = max((part.number for part in parts), default=-1) + 1
        _write_parts(store, layout, missing, number)
    raise ServiceError(f"others keep writing to the manifest of run {layout.run}")


def _write_parts(store: Store, layout: RunLayout, entries: list[Entry], number: int) -> None:
    for start in range(0, len(entries), PART_ENTRIES):
        body = encode_part(entries[start : start + PART_ENTRIES])
        if store.put(layout.manifest_part(number), body, IF_ABSENT) is None:
            return
        number += 1


def _as_stored(entries: Iterable[Entry], stored: Mapping[str, Stored]) -> list[Entry]:
    """Take what S3 says: its ETag with KMS is not the one that we computed."""
    return [
        Entry(key=entry.key, size=there.size, etag=there.etag)
        if (there := stored.get(entry.key))
        else entry
        for entry in entries
    ]


def _local(context: Context) -> Found | None:
    spec = context.settings.run.inputs
    if is_remote(spec, context.folder):
        return None
    root = None if spec.startswith("@") else next(iter(places(spec, context.folder)), None)
    # The bucket's name is not part of a key, so nothing has to be asked of AWS for this.
    return find_inputs(spec, context.folder, context.input_prefix, rules_of(context, root))


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


def _contents(local: Sequence[LocalInput], compared: Collection[str]) -> dict[str, Fingerprint]:
    """Describe those files whose content has to be compared with what was sent before.

    Only what was written since it was last read is read.
    """
    asked = [item for item in local if item.key in compared]
    with known_contents() as known:
        found = {item.key: known.find(item.path) for item in asked}
        unread = [item for item in asked if found[item.key] is None]
        found |= in_parallel(lambda item: (item.key, known.read(item.path)), unread)
    return {key: content for key, content in found.items() if content}


def _held(
    store: Store, there: Mapping[str, ObjectInfo], contents: Mapping[str, Fingerprint]
) -> dict[str, ObjectInfo]:
    """Return the objects of those files that need not be sent."""

    def compare(key: str) -> tuple[str, ObjectInfo] | None:
        found = there.get(key)
        return (key, found) if found and holds(store, found, contents[key]) else None

    return dict(pair for pair in in_parallel(compare, contents) if pair is not None)


def _entry(item: LocalInput, content: Fingerprint | None, held: ObjectInfo | None) -> Entry:
    """Return the input as it will be; what was never sent gets its ETag when S3 has it."""
    known = held or content
    if known is None:
        return Entry(key=item.key, size=item.size, etag="")
    return Entry(key=item.key, size=known.size, etag=known.etag)


def _differs(entry: Entry, known: Mapping[str, Entry]) -> bool:
    return entry.key in known and known[entry.key].etag != entry.etag


def _may_change(store: Store, layout: RunLayout, key: str, etag: str) -> bool:
    result = read_result(store, layout, key)
    if result is None:
        return False
    # The second: a retry has processed this very version already.
    return result.status == "failed" or result.input_etag == etag
