"""One input through an agent on this machine: a run of its own in the local cloud.

It is the machine image's agent with S3, SQS and the metadata service beside it, so what holds there
holds here: the scratch folder, the environment, the limits, what becomes an output.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from parallelize.console import escape, shown
from parallelize.context import Context
from parallelize.fleet.tags import PLAIN
from parallelize.local import cloud as local_cloud
from parallelize.local.enter import enter_local_cloud, local_defaults
from parallelize.local.facts import WORKER_PATH
from parallelize.operations import clean, prep
from parallelize.operations.crew import Judge, launch_missing
from parallelize.operations.download import SOME_FAILED, fetch
from parallelize.operations.enqueue import send_jobs
from parallelize.operations.status import make_reader
from parallelize.runs.files.fetching import Refusal
from parallelize.runs.inputs.local_inputs import FoundInputs, LocalInput
from parallelize.runs.jobs.source import Shape
from parallelize.runs.jobs.spec import FileRef, JobSpec, Listed
from parallelize.runs.jobs.wanted import Asked
from parallelize.runs.results.silent import NONE_SILENT, Silent, advice, told_silent
from parallelize.runs.state.attempts import read_records, read_setups, report, setup_lines
from parallelize.runs.state.status import RunStatus, status_of
from parallelize.runs.state.watch import LOCAL_INTERVAL_SECONDS, every, watch
from parallelize.setting_tables import AwsTable, RunTable, Table
from parallelize.settings import Resolved
from parallelize_core.errors import (
    NothingToDoError,
    ParallelizeError,
    ServiceError,
    SetupError,
)
from parallelize_core.files import S3
from parallelize_core.result import Result

SCHEMA = 1


@dataclass(frozen=True)
class Done:
    """The outcome of the input: its result with the log, and the paths of its outputs here."""

    result: Result
    outputs: tuple[Path, ...]
    broken: tuple[Refusal, ...] = ()
    silent: Silent = NONE_SILENT

    @property
    def exit_code(self) -> int:
        """0 if it succeeded, with an output if one is expected, and each was written; else 1."""
        failed = self.result.status == "failed" or self.broken or self.silent.count
        return SOME_FAILED if failed else 0

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        result = self.result.model_dump(mode="json")
        return {"schema": SCHEMA, "result": result, "outputs": [*map(str, self.outputs)]}


def process(resolved: Resolved, key: str, file: Path, out: Path) -> Done:
    """Process `file` as the input `key` with these settings; its outputs go below `out`.

    The outputs' names start with `key`'s folders, as in a download. Nothing of the run stays in the
    local cloud, which is started if it is not running.
    """
    item = LocalInput(key, str(file.resolve()), file.stat().st_size)
    return _processed(resolved, key, Asked(FoundInputs((item,))), out)


def process_job(
    resolved: Resolved, job: JobSpec, columns: tuple[str, ...], files: Mapping[str, Path], out: Path
) -> Done:
    """Process one job that is more than a file; `files` are its local files, by their keys."""
    refs = tuple(FileRef(file.key.removeprefix(S3), file.column) for file in job.files)
    found = {
        key.removeprefix(S3): LocalInput(key.removeprefix(S3), str(path), path.stat().st_size)
        for key, path in files.items()
    }
    here = Listed(columns, (JobSpec(job.name, refs, job.variables),))
    asked = Asked(FoundInputs(tuple(found.values())), here, Shape(columns, plain=False))
    return _processed(resolved, job.name, asked, out)


def _processed(resolved: Resolved, key: str, asked: Asked, out: Path) -> Done:
    with _local_run(for_one(resolved)) as context:
        status = _work_off(context, asked)
        if status.left:
            raise _given_up(context, status)
        return _done(context, key, out)


def _given_up(context: Context, status: RunStatus) -> ParallelizeError:
    """Show what a set-up printed, because nothing of the run stays; return the error.

    It is a SetupError if something in the project can be changed.
    """
    setups = read_setups(context.store, context.layout)
    for line in setup_lines(setups):
        context.tell(line)
    last = max(
        (worker.beat for worker in status.workers), key=lambda beat: beat.last_seen, default=None
    )
    told = escape(last.fix) if last else ""
    kind = SetupError if setups or told else ServiceError
    return kind(
        "the worker exited before finishing the file",
        escape(last.reason) if last else status.why,
        "what its set-up printed is above" if setups
        else told or "parallelize local status   shows its console",
    )  # fmt: skip


def sentences(done: Done) -> Iterator[str]:
    """Yield the record and the log, and what is wrong with it, in lines."""
    yield from report(done.result)
    if missing := only_here(done.result):
        names = ", ".join(map(escape, missing))
        yield (
            f"found on this machine, but missing on workers: {names}\n"
            "list its package in the environment, or have run.setup install it: "
            "docs/dependencies.md"
        )
    yield from (*told_silent(done.silent), *advice(done.silent))
    for refusal in done.broken:
        yield f"not written: {shown(refusal.key)}\n  {refusal.why}"


def only_here(result: Result) -> list[str]:
    """Return the programs that a failure names, and that this machine has but workers lack."""
    told = [*result.log.splitlines(), result.message]
    lines = [line for line in told if _NOT_FOUND.search(line)]
    words = dict.fromkeys(word for line in lines for word in re.findall(r"[\w.+-]+", line))
    return [
        word for word in words if shutil.which(word) and not shutil.which(word, path=WORKER_PATH)
    ]


_NOT_FOUND = re.compile("not found|No such file", re.IGNORECASE)


def with_tables(resolved: Resolved, **tables: Table) -> Resolved:
    """Return the settings with these tables replaced."""
    return resolved._replace(settings=resolved.settings.model_copy(update=tables))


def for_one(resolved: Resolved) -> Resolved:
    """Change what does not suit a short run of its own on this machine.

    It has no merge, which is a job over all files, and sends no notification at its end.
    """
    settings = resolved.settings
    run: dict[str, object] = {
        "name": f"one-{secrets.token_hex(4)}",
        "inputs": RunTable().inputs,
        "group": None,
        "grid": {},
        "attempts": 1,
        "halt": None,
        "reuse": False,
        "then": None,
        "notify": None,
    }
    local = with_tables(
        resolved,
        run=settings.run.model_copy(update=run),
        output=settings.output.model_copy(update={"to": None}),
        aws=AwsTable(tags={PLAIN: "true"}),
        workers=settings.workers.model_copy(update={"count": 1, "autoscale": False}),
    )
    return local.with_defaults(local_defaults(workers=1), "the local cloud")


@contextmanager
def _local_run(resolved: Resolved) -> Iterator[Context]:
    local_cloud.start_for_commands()
    enter_local_cloud()
    with TemporaryDirectory(prefix="parallelize-") as home:
        name = resolved.settings.run.name or ""
        context = Context(resolved, name, " --local", home=Path(home))
        try:
            yield context
        except BaseException:
            # What went wrong first is what there is to say.
            with suppress(ParallelizeError):
                _remove(context)
            raise
        with suppress(NothingToDoError):
            _remove(context)


def _remove(context: Context) -> None:
    clean.remove(context, clean.make_plan(context, keep_outputs=False))


def _work_off(context: Context, asked: Asked) -> RunStatus:
    prep.prepare(context, asked=asked)
    send_jobs(context)
    reader = make_reader(context)
    launch_missing(context, status_of(reader.snapshot()))
    pause = every(LOCAL_INTERVAL_SECONDS)
    return watch(lambda: status_of(reader.snapshot()), lambda _: None, Judge(context), pause)


def _done(context: Context, key: str, out: Path) -> Done:
    records = read_records(context.store, context.layout, key)
    result = next(record for record in records if isinstance(record, Result))
    if result.status == "failed":
        return Done(result, ())
    fetched = fetch(context, out)
    bad = {refusal.key for refusal in fetched.broken}
    paths = tuple(out / output.key for output in result.outputs if output.key not in bad)
    return Done(result, paths, fetched.broken, fetched.plan.silent)
