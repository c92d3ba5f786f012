"""Downloads the outputs of succeeded jobs, and checks every byte of them.

The results say what there is, not the output prefix: an output whose result was never written does
not count. A file gets its name only when it is complete and its checksum is right, so an existing
file with that checksum need not be fetched again.
"""

from __future__ import annotations

import os
import tempfile
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from textwrap import indent

from parallelize.console import escape, few, quoted, shown, some
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
from parallelize.runs.manifest import KnownEntries, KnownJobs, list_parts
from parallelize.runs.record.outdated import is_outdated, told_outdated
from parallelize.runs.record.ownership import check_meant, loaded, look_up
from parallelize.runs.results.merge import finished_results, merge_entry
from parallelize.runs.results.results import Made, still_stored
from parallelize.runs.results.silent import (
    NONE_SILENT,
    Silent,
    advice,
    is_silent,
    told_silent,
)
from parallelize.runs.results.silent import READ as SILENT_READ
from parallelize.spool import Row, Spooled
from parallelize.together import Together
from parallelize.transfers import in_parallel
from parallelize.units import plural, show_size
from parallelize_core.errors import NothingToDoError, ParallelizeError
from parallelize_core.layout import Location
from parallelize_core.owner import other_run
from parallelize_core.result import Output, Result
from parallelize_core.run import Run
from parallelize_core.store import Store

SOME_FAILED = 1

NAMED = 3
"""How many outputs with the same fault are named."""


OnResult = Callable[[str, Result], None]
"""Gets the ETag of a result that was read, and the result, as `read_versions` yields them."""


def ignore(_: str, __: Result) -> None:
    """Do nothing with a result."""


@dataclass(frozen=True)
class Plan:
    """What is fetched, what is not, and the state of the run."""

    made: Spooled[Made]
    """All outputs."""
    outputs: Spooled[Output]
    """Those that are fetched."""
    refused: tuple[Refusal, ...]
    succeeded: int
    failed: int
    total: int
    silent: Silent = NONE_SILENT
    """The inputs whose jobs succeeded without any output, if that is doubtful."""
    outdated: int = 0
    """How many of the succeeded jobs are outdated."""
    place: Location = field(kw_only=True)
    """Where the outputs are."""

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


def fetch(context: Context, folder: Path, on_result: OnResult = ignore) -> Fetched:
    """Do all of `download`; do not fetch files that are there with the right checksum.

    Raises NothingToDoError if no job has succeeded. Outputs that cannot be written, or that are not
    what their result says, are in the return value; they do not stop the others. Calls `on_result`
    for each result that it reads.
    """
    plan = make_plan(context, folder, on_result)
    if not plan.succeeded:
        raise NothingToDoError(
            "nothing to download: no job has succeeded yet",
            f"{plan.failed:,} failed, {plan.missing:,} without a result",
            "parallelize status",
        )
    output = plan.place
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
    again = {one.key for one in found if one.redo}
    makers = {made.key: key for made, key in plan.made if made.key in again} if again else {}
    broken = list(in_parallel(lambda one: _explained(context, store, output, makers, one), found))
    present = len(plan.outputs) - fetched - len(broken)
    refused = (*plan.refused, *broken)
    return Fetched(plan, folder, fetched, present, refused, tuple(sorted(replaced)))


def _explained(
    context: Context, store: Store, output: Location, makers: Mapping[str, str], refusal: Refusal
) -> Refusal:
    """Say which input to process again; none if another run took the output's place."""
    if not refusal.redo:
        return refusal
    there = None
    with suppress(ParallelizeError):
        there = store.head(output.key(refusal.key))
    if there and (run := other_run(there.metadata, context.layout)):
        return Refusal(refusal.key, f"an output of the run at {escape(run)} has replaced it")
    return replace(refusal, redo=makers[refusal.key])


def make_plan(context: Context, folder: Path, on_result: OnResult = ignore) -> Plan:
    """Read the manifest and the results, and choose what can be fetched into `folder`."""
    store, layout = context.store, context.layout
    calls = Together(store)
    record, parts = look_up(calls, store, layout), list_parts(calls, layout)
    results = calls.list(layout.results.prefix)
    run = loaded(store, record())
    check_meant(context, record())
    jobs = KnownEntries(KnownJobs(store, layout, parts()), *merge_entry(store, layout, run))
    seen = _Seen(run, jobs)
    for etag, result in finished_results(store, layout, seen.jobs, results):
        seen.add(result)
        on_result(etag, result)
    made = seen.made
    if run.naming.on_clash == "replace":
        made = _spooled(still_stored(context.store_of(run.output.bucket), run.output, made))
    outputs = made.as_other(_output_row, _output)
    one_case, one_form = merges(folder, "a", "A"), merges(folder, COMPOSED, DECOMPOSED)
    refused = refusals(outputs, folder, one_case=one_case, one_form=one_form)
    if names := {refusal.key for refusal in refused}:
        outputs = Spooled(_output_row, _output)
        outputs.extend(output for output, _ in made if output.key not in names)
    return Plan(
        made,
        outputs,
        tuple(refused),
        succeeded=seen.succeeded,
        failed=seen.failed,
        total=len(seen.jobs),
        silent=seen.silent,
        outdated=seen.outdated,
        place=run.output,
    )


def _output_row(output: Output) -> Row:
    return output.key, output.size, output.sha256, output.etag, ""


def _output(key: str, size: int, sha256: str, etag: str, *_: object) -> Output:
    return Output(key=key, size=size, sha256=sha256, etag=etag)


def _spooled(made: Iterable[Made]) -> Spooled[Made]:
    rows: Spooled[Made] = Spooled(
        lambda one: (*_output_row(one[0])[:-1], one[1]), lambda *row: (_output(*row), row[-1])
    )
    rows.extend(made)
    return rows


class _Seen:
    """What is kept of each result once it is read: a whole record takes some kilobytes."""

    def __init__(self, run: Run, jobs: KnownEntries) -> None:
        self.run = run
        self.jobs = jobs
        self.succeeded = self.failed = self.outdated = 0
        self._silent: list[tuple[str, Result]] = []
        self._silent_count = 0
        self._made = _spooled(())

    def add(self, result: Result) -> None:
        """Add the result of a job."""
        entry = self.jobs.get(result.key)
        if entry is None:
            return
        if result.status != "succeeded":
            self.failed += 1
            return
        self.succeeded += 1
        self.outdated += is_outdated(self.run, entry, result)
        self._made.extend((output, result.key) for output in result.outputs)
        if is_silent(result):
            self._silent_count += 1
            insort(self._silent, (result.key, result), key=itemgetter(0))
            del self._silent[SILENT_READ:]

    @property
    def made(self) -> Spooled[Made]:
        """All outputs, in the order of the inputs that they were made from."""
        return self._made.in_order(itemgetter(-1))

    @property
    def silent(self) -> Silent:
        """The jobs that succeeded without any output, if that is doubtful."""
        first = tuple(result for _, result in self._silent)
        count = self._silent_count
        return Silent(count, first) if self.run.limits.halt_if_silent else NONE_SILENT


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
    record, kept = DownloadRecord(folder), list[Refusal]()

    def wanted() -> Iterator[str]:
        with known_contents() as known:
            for one in plan.outputs:
                if is_there(folder / one.key, one, known):
                    continue
                if why := record.refusal(one.key):
                    kept.append(Refusal(one.key, why))
                else:
                    yield f"would download {shown(one.key, 44)}  {show_size(one.size)}"

    yield from few(wanted())
    for refusal in (*plan.refused, *kept):
        yield f"would not download {shown(refusal.key)}\n  {refusal.why}"
    yield f"{plural(len(plan.outputs), 'output')}, {plan.missing:,} inputs without a result"


def told_trouble(done: Fetched, hint: str) -> list[str]:
    """Say what did not arrive, and how to get it; `hint` ends each command."""
    return [*told_refusals(done.broken), *healing(done.broken, hint), *told_replaced(done)]


def told_replaced(done: Fetched) -> list[str]:
    """Say whose outputs this run's outputs replaced in the folder."""
    of_runs: dict[str, list[str]] = {}
    for run, name in done.replaced:
        of_runs.setdefault(run, []).append(name)
    return [
        f"replaced {plural(len(names), 'output')} of run {shown(run)} in "
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
