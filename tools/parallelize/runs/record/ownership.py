"""A run's record, and which project it belongs to: its name does not say that, its origin does.

The first object that a project writes for a run is origin.json, and only one project can write it.
run.json repeats it. A run of an earlier version has neither; the first project that changes the run
becomes its owner.
"""

from __future__ import annotations

from contextlib import suppress
from difflib import get_close_matches

from parallelize.console import escape, shown
from parallelize.context import Context
from parallelize.queues import find_place, others_queue, place_tag
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


def load_run(store: Store, context: Context) -> Run:
    """Read run.json; raise UsageError if there is none."""
    run = find_run(store, context.layout.run_json)
    if run is None:
        raise no_run(store, context.layout)
    return run


def no_run(store: Store, layout: RunLayout) -> NoRunError:
    """Return the error for a run that was never prepared, with the run of the nearest name."""
    near: list[str] = []
    # Who may not list the bucket still hears what is wrong.
    with suppress(ParallelizeError):
        others = set(store.folders(layout.base.key("runs", ""))) - {layout.run}
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
    place = f"s3://{store.bucket}/{key}"
    try:
        body = store.get(key)
    except MissingError:
        return None
    run = Run.decode(body, place)
    if not key.endswith(f"/{run.name}/run.json"):
        raise DecodeError(f"{place} is the record of another run", repr(body[:200]))
    return run


def find_origin(store: Store, layout: RunLayout) -> Origin | None:
    """Return the run's origin; None if nobody has started it, or an earlier version did."""
    try:
        run = Run.decode(store.get(layout.run_json))
    except (MissingError, DecodeError):
        run = None
    if run and run.origin:
        return Origin(id=run.origin, owner=run.owner)
    try:
        return Origin.decode(store.get(layout.origin))
    except (MissingError, DecodeError):
        return None


def check_ours(context: Context) -> None:
    """Raise UsageError if another project made the run, unless --join is given.

    Also if its name is that of a run in another place, whose queues and machines go by that name.
    """
    check_origin(context)
    check_place(context)


def check_meant(context: Context) -> None:
    """Raise UsageError if a command would read another project's run without naming it.

    A name that was made from the folder's, or that is in parallelize.toml, does not prove that this
    very run is meant; one that is given with the command does.
    """
    if context.resolved.source("run.name") != "flag":
        check_origin(context)


def check_origin(context: Context) -> None:
    """Raise UsageError if another project made what is in S3, unless --join is given."""
    _check(context, find_origin(context.store, context.layout))


def check_place(context: Context) -> None:
    """Raise UsageError if queues and machines of this name belong to a run in another place."""
    if place := place_elsewhere(context):
        raise others_queue(context.run, place)


def place_elsewhere(context: Context) -> str:
    """Return the place of another run that has the queues of this name; empty if none does."""
    place = find_place(context.clients.sqs, context.names)
    return "" if place in {None, place_tag(context.layout.root)} else place


def tell_whose(context: Context) -> None:
    """Say in a line if the run that is looked at is another project's."""
    there = find_origin(context.store, context.layout)
    with suppress(UsageError):  # a user without a project may still look
        if there and not context.project.owns(context.run, there.id):
            context.tell(f"run {context.run} is another project's, made by {_named(there)}")


def reserve(context: Context) -> None:
    """Make the run this project's before anything else of it is written.

    Raises UsageError if another project made it.
    """
    store, place = context.store, context.layout.origin
    there = find_origin(store, context.layout)
    if there is None and store.put(place, _mine(context).encode(), IF_ABSENT) is None:
        there = find_origin(store, context.layout)
        if there is None:
            raise ServiceError(f"{place} cannot be read", None, "delete it, then try again")
    _check(context, there)
    context.project.settle()


def adopt(context: Context) -> None:
    """Make the run this project's, even if an earlier version prepared it.

    Raises UsageError if another project made it.
    """
    reserve(context)
    origin = find_origin(context.store, context.layout)

    def adopted(run: Run) -> Run:
        if run.origin or origin is None:
            return run
        return run.model_copy(update={"origin": origin.id, "owner": origin.owner})

    with suppress(MissingError):  # there is no record yet; a new one will have it
        change_run(context.store, context.layout, adopted)


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
