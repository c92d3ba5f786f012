"""Whose run it is: a run's name says nothing about that, its origin does.

The first that a project writes of a run is origin.json, and only one project can. run.json says
the same. A run of a former version has neither; who first changes it makes it theirs.
"""

from __future__ import annotations

from contextlib import suppress

from parallelize.console import escape, shown
from parallelize.context import Context
from parallelize.queues import find_place, others_queue, place_tag
from parallelize_core.errors import DecodeError, MissingError, ServiceError, UsageError
from parallelize_core.layout import RunLayout
from parallelize_core.pause import change_run
from parallelize_core.run import Origin, Run
from parallelize_core.store import IF_ABSENT, Store


class OthersRunError(UsageError):
    """The run belongs to another project."""


def find_origin(store: Store, layout: RunLayout) -> Origin | None:
    """Return whose run it is; None if nobody has begun it, or a former version has."""
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
    """Raise UsageError if the run was made by another project, unless that is meant (--join).

    Also if its name is that of a run in another place, whose queues and machines are found by it.
    """
    check_origin(context)
    check_place(context)


def check_meant(context: Context) -> None:
    """Raise UsageError for reading another project's run that nobody has named.

    A name that was made from a folder's, or stands in parallelize.toml, does not prove that this
    very run is meant; one that is given with the command is.
    """
    if context.resolved.source("run.name") != "flag":
        check_origin(context)


def check_origin(context: Context) -> None:
    """Raise UsageError if what lies in S3 was made by another project, unless that is meant."""
    _check(context, find_origin(context.store, context.layout))


def check_place(context: Context) -> None:
    """Raise UsageError if queues and machines of this name are those of a run in another place."""
    if place := place_elsewhere(context):
        raise others_queue(context.run, place)


def place_elsewhere(context: Context) -> str:
    """Return where another run lies that has the queues of this name; empty if none does."""
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

    Raises UsageError if another project has made it.
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
    """Make the run this project's, also if a former version has prepared it.

    Raises UsageError if another project has made it.
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
    """Return the error for a run that another project has made."""
    source = context.project.copied_from()
    copied = f"\n{escape(str(context.folder))} is a copy of {escape(str(source))}" if source else ""
    return OthersRunError(
        f"run {context.run} is another project's, made by {_named(there)}",
        f"its inputs, outputs and queues are not those of this folder{copied}",
        "--run NAME   gives a run of your own another name\n"
        "--join       works on that run together with them, if you mean it",
    )
