"""Which results were made from something other than what would be executed now.

A result's content key says what it was made from. It is compared with the key that its job would
have with the current settings and inputs. While a run has had only one recipe, only the jobs whose
inputs have changed are checked; otherwise all results are, mostly from segments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, Self

from parallelize.bulk import list_each
from parallelize.runs.manifest import EntryLines, KnownJobs
from parallelize.runs.results.merge import Listing, current_results, merge_entry
from parallelize.runs.results.results import read_listed
from parallelize.spool import Row, Spooled, Table
from parallelize.units import plural
from parallelize_core.content_key import content_key, content_keys
from parallelize_core.manifest import Entry
from parallelize_core.result import Result
from parallelize_core.run import Run
from parallelize_core.store import ObjectInfo


class Reason(Enum):
    """Why a result differs from what its job would make now."""

    INPUT = "its input has changed"
    RECIPE = "the command, its environment or the naming of outputs has changed"
    UNKNOWN = "it was made by an older version, which did not record how"


@dataclass(frozen=True, slots=True)
class Outdated:
    """A job with such a result: the ETag of the result, and how long its execution took."""

    key: str
    etag: str
    reason: Reason
    failed: bool
    seconds: float


@dataclass(frozen=True)
class Now:
    """What would be executed now: the manifest's jobs, some of them `changed`, and `new` ones."""

    run: Run
    changed: EntryLines = field(default_factory=EntryLines)
    new: Iterable[Entry] = ()


def spooled_outdated(found: Iterable[Outdated] = ()) -> Spooled[Outdated]:
    """Return a list of outdated jobs."""
    outdated = Spooled(_outdated_row, _outdated)
    outdated.extend(found)
    return outdated


def _outdated_row(one: Outdated) -> Row:
    return one.key, one.etag, one.reason.name, one.failed, one.seconds


def _outdated(key: str, etag: str, reason: str, *others: Any) -> Outdated:
    return Outdated(key, etag, Reason[reason], *others)


@dataclass(frozen=True)
class Comparison:
    """What is outdated, and the changed jobs that have no result: they wait, or are running."""

    outdated: Spooled[Outdated] = field(default_factory=spooled_outdated)
    waiting: Table = field(default_factory=Table)

    @cached_property
    def done(self) -> Spooled[Outdated]:
        """The outdated ones that succeeded: redoing them needs a decision."""
        return spooled_outdated(one for one in self.outdated if not one.failed)


def compare_results(
    known: KnownJobs, there: Run | None, now: Now, results: Iterable[ObjectInfo] | None = None
) -> Comparison:
    """Compare the results of a run, whose record is `there`, with what would be executed now.

    `known` are the jobs of its manifest, and `results` its results, if they were listed.
    """
    store, layout = known.store, known.layout
    one_recipe = _is_one_recipe(there, now.run)
    corrected = known.parts.corrected
    if one_recipe and not (corrected or now.changed or now.new):
        return Comparison()
    found = list_each(store, layout.results.prefix) if results is None else results
    # A merge over other results runs again by itself.
    listed = current_results(store, layout, Listing(layout, found))
    waiting = Table(key for key in now.changed if layout.result(key) not in listed)
    suspects = _suspects(known, now, all_of_them=not one_recipe) if listed else ()
    expected, etags = Table(), Table()
    for entry in suspects:
        place = layout.result(entry.key)
        if row := listed.get(place):
            wanted = _Expected.of(now.run, entry, one_recipe=one_recipe)
            expected.put(place, (row[0], wanted.contents, wanted.etag))
            etags.add(place, row)
    outdated = spooled_outdated()
    for result in read_listed(store, layout, etags):
        etag, *told = expected.get(layout.result(result.key)) or (None,)
        if told and (reason := _Expected(*told).reason_against(result, now.run.recipe)):
            failed = result.status == "failed"
            outdated.append(Outdated(result.key, etag, reason, failed, result.usage.seconds))
    return Comparison(outdated, waiting)


def is_outdated(run: Run, entry: Entry, result: Result) -> bool:
    """Whether a result was made from something other than what the run and its manifest have now.

    A result that does not say what it was made from counts as outdated if the run was renewed.
    """
    if result.content:
        # Most have today's key: those of former versions are computed only for the others.
        is_this = result.content == content_key(run, entry)
        return not is_this and result.content not in content_keys(run, entry)
    return run.renewed


def reason_of(there: Run, now: Run, entry: Entry, result: Result) -> Reason | None:
    """Return why a result differs from what its job would make now; None if it does not.

    `there` is the record of the run, `now` the run as it would be, `entry` the job.
    """
    expected = _Expected.of(now, entry, one_recipe=_is_one_recipe(there, now))
    return expected.reason_against(result, now.recipe)


def _is_one_recipe(there: Run | None, now: Run) -> bool:
    """Whether all results of a run, its merge included, have the current recipe."""
    if there is None or there.renewed:
        return False
    return (there.recipe, there.then) == (now.recipe, now.then)


def told_outdated(count: int, hint: str) -> list[str]:
    """Say that outputs are not what would be made now; nothing if all are."""
    if not count:
        return []
    of = f"{plural(count, 'file')} have" if count > 1 else "1 file has"
    return [
        f"{of} outputs of an earlier command, environment or input",
        f"  to renew them: parallelize run{hint} --changed redo",
    ]


def _suspects(known: KnownJobs, now: Now, *, all_of_them: bool) -> Iterator[Entry]:
    """Go through the jobs that may be outdated, as they would be executed now."""
    if all_of_them:
        yield from (now.changed.get(entry.key) or entry for entry in known)
        yield from merge_entry(known.store, known.layout, now.run)
    else:
        corrected = known.parts.corrected.entries()
        yield from (entry for entry in corrected if entry.key not in now.changed)
        yield from now.changed.entries()
    # A new job has a result only if a command was interrupted, but then it may be any result.
    yield from now.new


@dataclass(frozen=True, slots=True)
class _Expected:
    """What a result has to say: a content key, or as much of it as older workers recorded."""

    contents: bytes
    """The keys, concatenated: there may be a million of these objects."""
    etag: str | None
    """The input's ETag, which suffices if all results have one recipe; None if they do not."""

    @classmethod
    def of(cls, run: Run, entry: Entry, *, one_recipe: bool) -> Self:
        contents = bytes.fromhex("".join(content_keys(run, entry)))
        return cls(contents, entry.etag if one_recipe else None)

    def reason_against(self, result: Result, recipe: str) -> Reason | None:
        if result.content:
            keys = self.contents.hex()
            if result.content in {keys[:64], keys[64:]}:
                return None
            return Reason.INPUT if result.recipe == recipe else Reason.RECIPE
        same_input = self.etag is not None and result.input_etag == self.etag
        return None if same_input else Reason.UNKNOWN
