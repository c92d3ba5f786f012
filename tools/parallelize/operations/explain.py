"""Whether the result of a file is up to date, and if not, what differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from parallelize.console import escape, shown
from parallelize.context import Context
from parallelize.operations.prep_plan import look_for_existing, make_plan
from parallelize.runs.environment.recipe import Recipe, read_recipe
from parallelize.runs.jobs.key_lookup import find_key, key_of_path
from parallelize.runs.jobs.wanted import read_asked
from parallelize.runs.manifest import KnownEntries
from parallelize.runs.record.differences import between_inputs, between_recipes, version_of
from parallelize.runs.record.outdated import Reason, reason_of
from parallelize.runs.record.ownership import load_run
from parallelize.runs.record.run_record import drafted
from parallelize.runs.results.merge import merge_entry
from parallelize.runs.results.results import read_result
from parallelize.spool import Table
from parallelize.together import Together
from parallelize_core.manifest import Entry
from parallelize_core.result import Result


@dataclass(frozen=True)
class Explained:
    """A job's state in a word, and how it differs from what would be made now."""

    key: str
    state: str
    differences: tuple[str, ...] = ()
    copied_from: str = ""

    def lines(self) -> Iterator[str]:
        """Say it in lines."""
        yield f"{shown(self.key)}: {self.state}"
        yield from (f"  {line}" for line in self.differences)
        if self.copied_from:
            yield f"  its outputs were copied from {escape(self.copied_from)}"


def explain_job(context: Context, file: str) -> Explained:
    """Compare a job's result with what would be made now; UsageError if the job does not exist."""
    store, layout = context.store, context.layout
    run = load_run(store, context)
    asked = read_asked(context)
    with drafted(context, keep_lock=False, shape=asked.shape) as draft:
        existing = look_for_existing(Together(store), context)
        plan = make_plan(context, existing, run, draft, asked)
    known = KnownEntries(plan.known.again(), *merge_entry(store, layout, draft.run))
    new = (entry.key for entry in (plan.entries if plan.new else ()))
    key = find_key(Table(chain(known, new)), file, key_of_path(context, file))
    entry = plan.now.changed.get(key) or known.get(key)
    if entry is None:
        return Explained(key, "new: parallelize prep adds it")
    result = read_result(store, layout, key)
    if result is None:
        return Explained(key, "it has no result yet")
    verb = "failed" if result.status == "failed" else "done"
    reason = reason_of(run, draft.run, entry, result)
    if reason is None:
        return Explained(key, f"{verb}, and nothing has changed", (), result.copied_from)
    if reason is Reason.UNKNOWN:
        return Explained(key, f"{verb}, and perhaps out of date", (reason.value,))
    told = tuple(differences(context, draft.recipe, entry, result))
    return Explained(key, f"{verb}, and out of date", told, result.copied_from)


def differences(context: Context, recipe: Recipe, entry: Entry, result: Result) -> Iterator[str]:
    """Say what differs between what a result was made from and what would be done now."""
    store, layout = context.store, context.layout
    if entry.merge:
        if result.recipe == recipe.digest:
            yield "the command of run.then, or the outputs that it is given, changed"
    elif result.input_etag != entry.etag:
        yield from between_inputs(version_of(store, layout, entry.key, result.input_etag), entry)
    if result.recipe != recipe.digest:
        old = read_recipe(store, layout, result.recipe)
        if old is None:
            yield "the command, its environment or the naming of outputs changed"
        else:
            yield from between_recipes(old, recipe)
