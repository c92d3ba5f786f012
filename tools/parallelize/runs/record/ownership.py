"""A run's record, and which project it belongs to: its name does not say that, its origin does.

The first object that a project writes for a run is origin.json, and only one project can write it.
run.json repeats it. A run of an earlier version has neither; the first project that changes the run
becomes its owner.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

from parallelize.console import escape, shown
from parallelize.context import Context
from parallelize.queues import ask_place, find_place, others_queue, place_tag
from parallelize.together import Later, Together, Version
from parallelize_core.errors import (
    DecodeError,
    MissingError,
    NoRunError,
    ParallelizeError,
    ServiceError,
    UsageError,
)
from parallelize_core.layout import RunLayout
from parallelize_core.pause import change_run
from parallelize_core.run import Origin, Run
from parallelize_core.store import IF_ABSENT, Store


class OthersRunError(UsageError):
    """The run belongs to another project."""


@dataclass(frozen=True)
class FoundRun:
    """run.json and origin.json as they were at one moment; None stands for no object.

    A write over the version that was `read` fails if anybody has written run.json since.
    """

    bucket: str
    layout: RunLayout
    read: Version | None
    """run.json."""
    begun: bytes | None
    """origin.json."""

    @cached_property
    def run(self) -> Run | None:
        """The run's record, None if there is none; raises DecodeError as `find_run` does."""
        return run_of(self.bucket, self.layout.run_json, self.read[0]) if self.read else None

    @cached_property
    def origin(self) -> Origin | None:
        """The run's origin; None if nobody has started it, or an earlier version did."""
        with suppress(DecodeError):
            run = Run.decode(self.read[0]) if self.read else None
            if run and run.origin:
                return Origin(id=run.origin, owner=run.owner)
        with suppress(DecodeError):
            return Origin.decode(self.begun) if self.begun is not None else None
        return None


def look_up(calls: Together, store: Store, layout: RunLayout) -> Later[FoundRun]:
    """Look for a run, together with other calls."""
    record, begun = calls.get_version(layout.run_json), calls.get(layout.origin)
    return lambda: FoundRun(store.bucket, layout, record(), begun())


def find(store: Store, layout: RunLayout) -> FoundRun:
    """Look for a run."""
    return look_up(Together(store), store, layout)()


def load_run(store: Store, context: Context) -> Run:
    """Read run.json; raise UsageError if there is none."""
    run = find_run(store, context.layout.run_json)
    if run is None:
        raise no_run(store, context.layout)
    return run


def loaded(store: Store, found: FoundRun) -> Run:
    """Return the record of a run that was looked for; raise NoRunError if there is none."""
    if found.run is None:
        raise no_run(store, found.layout)
    return found.run


def check_same(before: Run, there: Run | None) -> None:
    """Raise ServiceError if a run was deleted since its record was read, or also begun again.

    The name and the project are those of the run before, but not its jobs and results.
    """
    if there is None or there.created_at != before.created_at:
        raise changed_meanwhile(before.name)


def changed_meanwhile(run: str) -> ServiceError:
    """Return the error for a record that somebody else has written, or deleted, meanwhile."""
    return ServiceError(f"another client changed run.json of {run} meanwhile", fix="try again")


def no_run(store: Store, layout: RunLayout) -> NoRunError:
    """Return the error for a run that was never prepared, with the run of the nearest name."""
    near: list[str] = []
    # Who may not list the bucket still hears what is wrong.
    with suppress(ParallelizeError):
        others = set(store.folders(layout.base.key("runs", ""))) - {layout.run}
        from difflib import get_close_matches  # noqa: PLC0415 - only a wrong name needs it

        near = get_close_matches(layout.run, others, n=1)
    return NoRunError(
        f'there is no run "{layout.run}" in {layout.base.uri}',
        f"did you mean --run {shown(near[0])}?" if near else None,
        "parallelize prep",
    )


def find_run(store: Store, key: str) -> Run | None:
    """Read run.json; return None if there is none.

    Raises DecodeError if it is not such a record, or belongs to a run of another name.
    """
    try:
        body = store.get(key)
    except MissingError:
        return None
    return run_of(store.bucket, key, body)


def run_of(bucket: str, key: str, body: bytes) -> Run:
    """Return the record that was read at a key; raises DecodeError as `find_run` does."""
    place = f"s3://{bucket}/{key}"
    run = Run.decode(body, place)
    if not key.endswith(f"/{run.name}/run.json"):
        raise DecodeError(f"{place} is the record of another run", repr(body[:200]))
    return run


def check_ours(context: Context) -> FoundRun:
    """Raise UsageError if another project made the run, unless --join is given.

    Also if its name is that of a run in another place, whose queues and machines go by that name.
    """
    return check_later(Together(context.store), context)()


def check_later(calls: Together, context: Context) -> Later[FoundRun]:
    """Look whose run it is, together with other calls; the answer is that of `check_ours`."""
    found = look_up(calls, context.store, context.layout)
    place = place_later(calls, context)

    def check() -> FoundRun:
        check_origin(context, found())
        _check_place(context, place())
        return found()

    return check


def check_meant(context: Context, found: FoundRun) -> None:
    """Raise UsageError if a command would read another project's run without naming it.

    A name that was made from the folder's, or that is in parallelize.toml, does not prove that this
    very run is meant; one that is given with the command does.
    """
    if context.resolved.source("run.name") != "flag":
        check_origin(context, found)


def check_origin(context: Context, found: FoundRun | None = None) -> None:
    """Raise UsageError if another project made what is in S3, unless --join is given."""
    _check(context, (found or find(context.store, context.layout)).origin)


def check_place(context: Context) -> None:
    """Raise UsageError if queues and machines of this name belong to a run in another place."""
    _check_place(context, place_elsewhere(context))


def _check_place(context: Context, elsewhere: str) -> None:
    if elsewhere:
        raise others_queue(context.run, elsewhere)


def place_elsewhere(context: Context) -> str:
    """Return the place of another run that has the queues of this name; empty if none does."""
    return place_later(Together(context.store), context)()


def place_later(calls: Together, context: Context) -> Later[str]:
    """Look for the place of another run, as `place_elsewhere` does, together with other calls."""
    sqs, names = context.clients.sqs, context.names
    place = calls.add(lambda clients: ask_place(clients, names), lambda: find_place(sqs, names))

    def elsewhere() -> str:
        found = place()
        return found if found and found != place_tag(context.layout.root) else ""

    return elsewhere


def tell_whose(context: Context, found: FoundRun | None = None) -> None:
    """Say in a line if the run that is looked at is another project's."""
    there = (found or find(context.store, context.layout)).origin
    with suppress(UsageError):  # a user without a project may still look
        if there and not context.project.owns(context.run, there.id):
            context.tell(f"run {context.run} is another project's, made by {_named(there)}")


def reserve(context: Context, found: FoundRun) -> FoundRun:
    """Make the run this project's before anything else of it is written; return it as it is then.

    Raises UsageError if another project made it. A run that was `found` to be nobody's need not be
    looked for again: only one project can write its origin.
    """
    if found.origin is None:
        store, mine = context.store, _mine(context).encode()
        if store.put(context.layout.origin, mine, IF_ABSENT) is None:
            found = find(store, context.layout)
            if found.origin is None:
                place = context.layout.origin
                raise ServiceError(f"{place} cannot be read", None, "delete it, then try again")
        else:
            found = replace(found, begun=mine)
    _check(context, found.origin)
    context.project.settle()
    return found


def adopt(context: Context, found: FoundRun | None = None) -> FoundRun:
    """Make the run this project's, even if an earlier version prepared it; return it as it is then.

    Raises UsageError if another project made it. `found` is what there was a moment ago.
    """
    store, layout = context.store, context.layout
    found = reserve(context, found or find(store, layout))
    run, origin = found.run, found.origin
    if run is None or run.origin or origin is None:
        return found  # a new record will have it

    ours = {"origin": origin.id, "owner": origin.owner}

    def adopted(run: Run) -> Run:
        return run if run.origin else run.model_copy(update=ours)

    with suppress(MissingError):  # it was deleted meanwhile
        change_run(store, layout, adopted, found.read)
    return find(store, layout)


def _mine(context: Context) -> Origin:
    return Origin(id=context.project.origin(), owner=context.me)


def _check(context: Context, there: Origin | None) -> None:
    if there is None or context.project.owns(context.run, there.id):
        return
    if not context.join:
        raise another(context, there)
    if not context.project.join(context.run, there.id):
        context.tell("this folder cannot be written to: give --join with each command")
    context.tell(f"run {context.run} of {shown(there.owner)}: joined")


def _named(origin: Origin) -> str:
    return shown(origin.owner or "somebody", 90)


def another(context: Context, there: Origin) -> OthersRunError:
    """Return the error for a run that another project made."""
    source = context.project.copied_from()
    copied = f"\n{escape(str(context.folder))} is a copy of {escape(str(source))}" if source else ""
    return OthersRunError(
        f"run {context.run} is another project's, made by {_named(there)}",
        f"its inputs, outputs and queues are not those of this folder{copied}",
        "--run NAME   gives a run of your own another name\n"
        "--join       works on that run together with them",
    )
