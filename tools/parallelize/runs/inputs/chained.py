"""Inputs that are another run's outputs, `run:NAME`: a chain of runs.

The inputs are the outputs that the other run's results name, each in the version that its job
wrote. Nothing waits for the other run: if it is not finished, its outputs so far are taken, and a
message says so. The same command takes the rest later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from parallelize.context import Context
from parallelize.runs.inputs.input_rules import InputRules
from parallelize.runs.inputs.local_inputs import RUN, Refused, refusal
from parallelize.runs.inputs.remote_inputs import RemoteFound, spooled_entries
from parallelize.runs.results.merge import all_jobs, finished_results
from parallelize.runs.results.results import Made, still_stored
from parallelize.spool import Spooled, Table, spooled_texts
from parallelize.units import plural
from parallelize_core import keys
from parallelize_core.errors import MissingError, UsageError
from parallelize_core.files import CHECKSUM
from parallelize_core.layout import Location, RunLayout, check_run_name
from parallelize_core.manifest import Entry
from parallelize_core.merge import MERGE
from parallelize_core.result import Output
from parallelize_core.run import Run
from parallelize_core.store import Store


@dataclass(frozen=True)
class Before:
    """The run whose outputs are the inputs."""

    layout: RunLayout
    run: Run

    @property
    def spec(self) -> str:
        """What the settings call it."""
        return f"{RUN}{self.run.name}"


def run_before(context: Context) -> Before:
    """Return the run that the settings name; UsageError if it does not exist."""
    name = check_run_name(context.settings.run.inputs.removeprefix(RUN).strip())
    if name == context.run:
        raise UsageError(
            f"the inputs of run {name} would be its own outputs", f"run.inputs = {RUN}{name}",
            "give this run another name: --run NAME",
        )  # fmt: skip
    layout = RunLayout(context.base, name)
    try:
        run = Run.decode(context.store.get(layout.run_json), layout.run_json)
    except MissingError:
        raise UsageError(
            f'there is no run "{name}" in {layout.base.uri}', f"run.inputs = {RUN}{name}",
            "parallelize runs   lists those that there are",
        ) from None  # fmt: skip
    return Before(layout, run)


def location(context: Context) -> Location:
    """Return where the outputs of the run before are."""
    return run_before(context).run.output


def chained_files(context: Context, rules: InputRules) -> tuple[RemoteFound, str]:
    """Return the outputs of the run before, and a remark about those that are still missing.

    Raises UsageError if there are none.
    """
    before = run_before(context)
    place = context.store_of(before.run.output.bucket)
    return outputs_of(before, context.store, place, rules)


def outputs_of(
    before: Before, store: Store, place: Store, rules: InputRules
) -> tuple[RemoteFound, str]:
    """Do what `chained_files` does for a run whose outputs are in `place`."""
    layout = before.layout
    inputs = spooled_texts(entry.key for entry in all_jobs(store, layout, before.run))
    results = _results(store, layout, inputs)
    outputs = _outputs(place, before.run, _Outputs(inputs, results))
    entries = spooled_entries()
    left_out, refused = [], []
    for output in outputs:
        if rules.leaves_out(output.key):
            left_out.append(output.key)
        elif why := _why_not(output):
            refused.append(Refused(output.key, why))
        else:
            entries.append(_entry(output))
    told = unfinished(before, inputs, results)
    if refused and not entries:
        raise refusal(refused)
    if not entries:
        raise UsageError(
            f"run {before.run.name} has no outputs that could be inputs",
            told or f"{plural(len(left_out), 'output')} left out",
            "wait until it has made some: parallelize status --run " + before.run.name,
        )
    return RemoteFound(entries, tuple(left_out), tuple(refused)), told


def _entry(output: Output) -> Entry:
    # Anybody may write records.
    sha256 = output.sha256 if re.fullmatch(CHECKSUM, output.sha256) else ""
    return Entry(key=output.key, size=output.size, etag=output.etag, sha256=sha256)


def _why_not(output: Output) -> str | None:
    """Say why an output cannot be an input; None if it can.

    No worker stores such an output, but anybody may write records.
    """
    return keys.refusal(output.key) or ("it has no size" if output.size < 0 else None)


def unfinished(before: Before, inputs: Spooled[str], results: Table) -> str:
    """Return what the run before still lacks, and what to do; empty if nothing."""
    name = before.run.name
    failed = sum(status == "failed" for status, _ in results.values())
    missing = len(inputs) - len(results)
    lines = []
    if missing:
        lines.append(f"{plural(missing, 'job')} of {len(inputs):,} have no result yet")
    if failed:
        lines.append(f"{plural(failed, 'job')} failed: parallelize retry --run {name}")
    if before.run.then and not lines and MERGE not in inputs:
        lines.append("run.then, its last job, has not run yet")
    if not lines:
        return ""
    head = f"run {name} is unfinished, and its outputs so far are the inputs"
    return "\n  ".join([head, *lines, "when it is finished, the same command adds the rest"])


def _results(store: Store, layout: RunLayout, inputs: Iterable[str]) -> Table:
    """Return by its name the status of each job with a result, and the outputs of a success."""
    jobs, found = Table(inputs), Table()
    for _, result in finished_results(store, layout, inputs):
        if result.key in jobs:
            outputs = result.outputs if result.status == "succeeded" else ()
            rows = tuple((one.key, one.size, one.sha256, one.etag) for one in outputs)
            found.put(result.key, (result.status, rows))
    return found


@dataclass(frozen=True)
class _Outputs:
    """The outputs of jobs, each with the job's name, in the order of the jobs."""

    jobs: Iterable[str]
    results: Table

    def __iter__(self) -> Iterator[Made]:
        """Go through them from the first."""
        return (
            (Output(key=key, size=size, sha256=sha256, etag=etag), name)
            for name in self.jobs
            for key, size, sha256, etag in (self.results.get(name) or ("", ()))[1]
        )


def _outputs(store: Store, run: Run, made: _Outputs) -> Iterator[Output]:
    """Go through the outputs that are still there."""
    still = still_stored(store, run.output, made) if run.naming.on_clash == "replace" else made
    return (output for output, _ in still)
