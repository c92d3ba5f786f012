"""Prepares a run: checks everything, sends inputs and environment, writes the manifest.

Nothing is sent before everything is checked. What is already there is not sent again, so an
interrupted `prep` can simply be repeated. If workers are to start from a vendor's plain image,
their agent is sent, too. The order is inputs, manifest, environment, run.json, so a run that can be
found has everything that it names.

A new input is added by another part of the manifest. *Changed* inputs are compared with what the
results were made from (see `runs.outdated`): a failed job takes its new input, and `retry` sends
it; succeeded jobs are redone only if the user wants that.

`run.notify` goes to notify.json. A webhook's URL is a secret: anybody who has it can write into
somebody's chat. It is stored in the run's folder of the bucket, which workers and submitters may
read and jobs may not, and nowhere else.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from parallelize import bucket, region
from parallelize.console import few, shown
from parallelize.context import Context
from parallelize.operations import changed, stock_bundle
from parallelize.operations.machine_types import machine_types
from parallelize.operations.prep_plan import Look, Plan, first_look, make_plan, remarks
from parallelize.operations.redo import redo
from parallelize.operations.sending import correct_manifest, send_inputs, with_stored
from parallelize.runs.inputs.apart import check_inputs_stay
from parallelize.runs.jobs.plan import numbered, write_parts
from parallelize.runs.jobs.wanted import Asked, read_asked
from parallelize.runs.manifest import KnownJobs
from parallelize.runs.record import reuse
from parallelize.runs.record.outdated import Comparison, compare_results, spooled_outdated
from parallelize.runs.record.ownership import FoundRun, adopt
from parallelize.runs.record.run_record import Draft, check_still, drafted, is_renewal, publish
from parallelize.runs.results import superseded
from parallelize.setting_types import EMAIL, WEBHOOK
from parallelize.spool import Table
from parallelize.together import Listed, Together
from parallelize.units import plural, show_size
from parallelize_core.errors import ServiceError, UsageError
from parallelize_core.files import files_of
from parallelize_core.layout import RunLayout
from parallelize_core.manifest import Entry
from parallelize_core.store import Store

if TYPE_CHECKING:
    from parallelize_core.notify import Notify


def store_notify(context: Context, stored: bytes | None) -> None:
    """Tell the workers whom to notify, and how; if nobody, delete the setting that is `stored`."""
    store, place = context.store, context.layout.notify
    wanted = notify_of(context)
    if wanted is None:
        if stored is not None:
            store.delete([place])
        return
    if stored != wanted.encode():
        store.put(place, wanted.encode())


def notify_of(context: Context) -> Notify | None:
    """Return how the settings notify people, None if they do not."""
    target = context.settings.run.notify
    if target is None:
        return None
    # ruff: noqa: PLC0415 - few runs notify anybody
    from parallelize.fleet.alarms import topic_arn
    from parallelize_core.notify import Notify

    if re.match(WEBHOOK, target):
        return Notify(url=target)
    if not re.fullmatch(EMAIL, target):
        return Notify(command=tuple(shlex.split(target)))
    if context.elsewhere:
        context.tell("run.notify: no e-mail will be sent, because only a stack on AWS has a topic")
        return None
    context.tell(
        f"run.notify: everyone who gets the stack's alarms gets the e-mail. To add {target}: "
        f"parallelize setup --email {target}"
    )
    partition = context.session.get_partition_for_region(context.region)
    return Notify(topic=topic_arn(partition, context.region, context.account, context.names))


_PART_TRIES = 10

_NOT_TOLD = {"noun", "outdated"}
"""Fields of `Prepared` that are for other commands."""

CHANGED = "the environment or the settings of the run have changed since it was prepared"


class Prepared(NamedTuple):
    """What `prep` did."""

    run: str
    inputs: int
    added: int
    uploaded: int
    uploaded_bytes: int
    again: int
    copied: int
    environment: str
    left_out: int
    refused: int
    noun: str = "input"
    """What messages call the inputs."""
    outdated: Container[str] = ()
    """The ETags of the results that are outdated."""

    @property
    def line(self) -> str:
        """What it did, in words."""
        return (
            f"run {self.run}: {plural(self.inputs, self.noun)}, {self.added:,} new, "
            f"{self.uploaded:,} uploaded ({show_size(self.uploaded_bytes)})"
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        told = {name: value for name, value in self._asdict().items() if name not in _NOT_TOLD}
        return {"schema": 1, **told}


def prepare(
    context: Context,
    *,
    create_bucket: bool = False,
    asked: Asked | None = None,
    again: Sequence[str] | None = None,
    before_sending: Callable[[Plan], None] = lambda _: None,
) -> Prepared:
    """Do all of `prep` for what is `asked` for; by default that is what the settings say.

    What is already there is not sent again. The finished jobs `again` are redone, all of them if it
    is empty. Before it sends the inputs of a new run, of which no result could be copied, it calls
    `before_sending`.

    Raises UsageError, before anything is sent, for anything wrong with inputs or command.
    """
    asked = asked or read_asked(context)
    with drafted(context, shape=asked.shape) as draft:
        look = ensure_bucket(context, create=create_bucket)
        there = look.ours()
        store, bundles = context.store, stock_bundle.pack(context, machine_types(context))
        plan, found = _compared(context, look, there, draft, asked)
        is_new = there.run is None
        decision = _decide(context, plan, found, again)
        plan = plan.keeping(decision.redo) if decision.keep else plan
        for line in remarks(plan):
            context.tell(line)
        new = plan.entries if plan.new else ()
        same = reuse.find(draft.run, plan.others, new, plan.known)
        # A run that nobody had is made ours by a write that fails if anybody has it by now. One
        # that was there is looked at again: somebody may have answered a question in the meantime.
        before = there.run
        there = adopt(context, there if is_new and there.origin is None else None)
        check_still(context, draft, before, there.run)
        copied = changed.copy_same(context, draft.run, same)
        plan = plan.without(_unneeded(plan, copied, decision.redo))
        if is_new and plan.new and not copied:
            before_sending(plan)
        inputs = send_inputs(context, plan)
        stock_bundle.send(context, bundles)
        correct_manifest(store, context.layout, plan, inputs)
        entries = with_stored(plan.entries, inputs)
        total = _add_new(context, plan, entries)
        renewed, kept = _write_record(context, draft, there, is_new=is_new)
        waiting = Table() if decision.keep else found.waiting
        sent = redo(context, decision.redo, waiting, renewed=renewed)
        superseded.sweep(context, draft.run, kept())
    environment = draft.run.environment
    return Prepared(
        run=context.run,
        inputs=total,
        added=plan.new,
        uploaded=inputs.files,
        uploaded_bytes=inputs.bytes,
        again=sent,
        copied=len(copied),
        environment=environment.identity if environment else "",
        left_out=len(plan.left_out),
        refused=len(plan.refused),
        noun="input" if asked.shape.plain else "job",
        outdated=Table(one.etag for one in found.outdated),
    )


def _compared(
    context: Context, look: Look, there: FoundRun, draft: Draft, asked: Asked
) -> tuple[Plan, Comparison]:
    """Compare what is asked for with what the run has, and its results with what they would be."""
    plan = make_plan(context, look.existing, there.run, draft, asked)
    check_inputs_stay(draft.run, plan.entries)
    # Of a run that exists, they are listed now: to read the inputs may have taken an hour.
    results = look.results() if there.run is None else None
    return plan, compare_results(plan.known, there.run, plan.now, results)


def _write_record(
    context: Context, draft: Draft, there: FoundRun, *, is_new: bool
) -> tuple[bool, Listed]:
    """Write what the run is, and whom to notify.

    Return whether a run that was there has changed, and the results kept in it for the time being.
    """
    calls = Together(context.store)
    notify = calls.get(context.layout.notify)
    kept = calls.list(context.layout.superseded.prefix)
    if not is_new:
        # What others have written to the record while inputs were sent is kept.
        before, record = there.run, calls.get_version(context.layout.run_json)
        there = replace(there, read=record())
        check_still(context, draft, before, there.run)
    renewed = publish(context.store, context, draft, there, calls) and not is_new
    if renewed:
        context.tell(CHANGED)
    store_notify(context, notify())
    return renewed, kept


def _unneeded(plan: Plan, copied: Table, redo: Table) -> Table:
    """Return the inputs that need not be sent, because the outputs made from them were copied."""
    jobs = plan.corrected.entries()
    corrected = Table(file.key for entry in jobs for file in files_of(entry))
    names = Table(one.name for one in plan.uploads if one.name not in corrected)
    return reuse.unneeded(plan.known, plan.entries, names, copied, redo)


def _decide(
    context: Context, plan: Plan, found: Comparison, again: Sequence[str] | None
) -> changed.Decision:
    """Return what to do with finished jobs; those to be redone on purpose need no question."""
    named = _named(context, plan, again)
    others = spooled_outdated(one for one in found.outdated if one.key not in named)
    decision = changed.decide(context, replace(found, outdated=others))
    for key, row in named.items():
        decision.redo.put(key, row)
    return decision


def _named(context: Context, plan: Plan, again: Sequence[str] | None) -> Table:
    """Return the finished jobs to redo on purpose; see `changed.again`."""
    if again is None:
        return Table()
    new = (entry.key for entry in plan.entries) if again and plan.new else ()
    return changed.again(context, again, new)


def planned(context: Context, again: Sequence[str] | None = None) -> Iterator[str]:
    """Say what `prepare` would do; only reads."""
    asked = read_asked(context)
    with drafted(context, keep_lock=False, shape=asked.shape) as draft:
        look = first_look(context)
        if not has_bucket(context, look):
            files = asked.found.inputs if asked.found else ()
            yield f"would need the bucket {context.bucket}, which does not exist yet"
            yield f"would upload {plural(len(files), 'file')}"
            return
        there = look.ours()
        plan, found = _compared(context, look, there, draft, asked)
        renewed = is_renewal(context, draft, there.run)
        named = _named(context, plan, again)
        new = plan.entries if plan.new else ()
        same = reuse.find(draft.run, plan.others, new, plan.known)
        plan = plan.without(_unneeded(plan, Table(one.entry.key for one in same), Table()))
    yield from _planned_uploads(context, plan)
    if renewed:
        yield "would replace the environment or the settings of the run: they have changed"
    yield from remarks(plan)
    if named:
        yield f"would process {plural(len(named), 'finished file')} again, as requested"
    yield from changed.planned(context, found)
    if same:
        yield f"would copy the outputs of {plural(len(same), 'file')} from another run"
    size = show_size(plan.bytes)
    noun = "input" if asked.shape.plain else "job"
    yield f"would add {plural(plan.new, noun)} to run {context.run}, {size} to send"


def _planned_uploads(context: Context, plan: Plan) -> Iterator[str]:
    for bundle in stock_bundle.pack(context, machine_types(context)):
        if not bundle.sent:
            yield f"would upload {stock_bundle.describe(bundle)}"
    yield from few(
        f"would upload {shown(upload.name)}  {show_size(upload.size)}" for upload in plan.sent
    )


def _add_new(context: Context, plan: Plan, entries: Iterable[Entry]) -> int:
    """Add the new jobs to the manifest; return how many it has then."""
    if not plan.new:
        return plan.known.total
    return add_to_manifest(
        context.store, context.layout, entries, plan.known, with_numbers=plan.draft.numbered
    )


def add_to_manifest(
    store: Store,
    layout: RunLayout,
    entries: Iterable[Entry],
    known: KnownJobs,
    *,
    with_numbers: bool = False,
) -> int:
    """Add parts with those entries that the manifest does not have yet; return its length.

    Parts are never overwritten, and each has the first number that is free. So if another `prep`
    has added anything to what is `known`, the first write fails. Then what it wrote is read, and
    only what is still missing is added: `entries` are gone through once more.
    """
    known = known.again()
    for _ in range(_PART_TRIES):
        new = (entry for entry in entries if known.etag(entry.key) is None)
        made = numbered(new, known.total + 1) if with_numbers else new
        added = write_parts(store, layout, made, known.next_part)
        if added is not None:
            return known.total + added
        known = KnownJobs(store, layout)
    raise ServiceError(
        f"other clients keep writing to the manifest of run {layout.run}", fix="try again later"
    )


def has_bucket(context: Context, look: Look | None = None) -> bool:
    """Whether the run's bucket exists; UsageError if it is in another region."""
    there = look.region() if look else bucket.region_of(context.clients.s3, context.bucket)
    # Other S3 services give their only region any name.
    if there and not context.elsewhere:
        region.check_bucket(context.bucket, there, context.region, context.region_source)
    return there is not None


def ensure_bucket(context: Context, *, create: bool) -> Look:
    """Make the bucket if it is missing and `create` is set; return a look at what is in it.

    `setup` makes an account's bucket, perhaps as an administrator's task; so making one here takes
    a flag. An emulator has no `setup` and no bill.
    """
    s3, name, look = context.clients.s3, context.bucket, first_look(context)
    if has_bucket(context, look):
        return look
    if not (create or context.elsewhere):
        raise UsageError(
            f"the bucket {name} does not exist", None,
            "parallelize setup, or: parallelize prep --create-bucket",
        )  # fmt: skip
    bucket.create(s3, name, context.region, context.settings.aws.tags)
    context.tell(f"created the bucket {name}")
    return first_look(context)
