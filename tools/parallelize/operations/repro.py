"""Processes a job of the run again, on this machine, with its own input and environment.

The input, the environment's zip, the command and the limits are the run's, as stored in S3, even if
the files on this machine have changed.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from parallelize.console import shown
from parallelize.context import Context
from parallelize.operations import one_file
from parallelize.operations.download import check_folder
from parallelize.runs.environment.placeholders import as_text
from parallelize.runs.environment.stored_once import fetch_zip
from parallelize.runs.files.download_record import DownloadRecord
from parallelize.runs.inputs.apart import check_apart
from parallelize.runs.jobs.key_lookup import find_key, key_of_path
from parallelize.runs.jobs.spec import FileRef, JobSpec
from parallelize.runs.manifest import KnownEntries, KnownJobs
from parallelize.runs.record.ownership import load_run
from parallelize.setting_tables import OutputTable, RunTable
from parallelize.settings import Resolved
from parallelize_core.container_image import DOCKER, Image
from parallelize_core.errors import UsageError
from parallelize_core.files import InputFile, files_of
from parallelize_core.manifest import Entry
from parallelize_core.run import Environment, Run

OUT = "repro"
INPUT, OUTPUT, ENVIRONMENT, IMAGE = "input", "output", "environment.zip", "image.tar"


def repro(context: Context, file: str, out: Path | None = None) -> one_file.Done:
    """Process one job of the run here; its input, environment and outputs go below `out`."""
    run = load_run(context.store, context)
    entry = find_entry(context, file)
    folder = (out or Path(OUT)).absolute()
    check_apart(context, folder)
    check_folder(folder)
    record = DownloadRecord(folder)
    with record.partial_folder() as partial:
        paths = {
            file.key: fetch_input(context, run, file, record, partial) for file in files_of(entry)
        }
        environment = run.environment
        archive = fetch_environment(context, environment, record, partial) if environment else None
        image = fetch_image(context, run.image, record, partial) if run.image else None
    context.tell(
        f"processing {shown(entry.key, 60)} of run {run.name} here; nothing is sent to AWS"
    )
    resolved = as_settings(context.resolved, run, archive, entry.number, image)
    if entry.files is None:
        return one_file.process(resolved, entry.key, paths[entry.key], folder / OUTPUT)
    refs = tuple(FileRef(file.key, file.column) for file in entry.files)
    job = JobSpec(entry.key, refs, entry.variables)
    return one_file.process_job(resolved, job, run.columns, paths, folder / OUTPUT)


def find_entry(context: Context, file: str) -> Entry:
    """Return the one line of the manifest that `file` means."""
    entries = KnownEntries(KnownJobs(context.store, context.layout))
    return entries[find_key(entries, file, key_of_path(context, file))]


def fetch_input(
    context: Context, run: Run, file: InputFile, record: DownloadRecord, partial: Path
) -> Path:
    """Fetch an input below the folder of `record`, through `partial`; return its path.

    Raises UsageError if it is gone, or if something else is in its place.
    """
    bucket, place = file.place(run.input)
    store = context.store_of(bucket)
    head = store.head(place)
    if head is None:
        raise UsageError(f"the input {shown(file.key)} is no longer in {run.input.uri}")
    if head.etag != file.etag:
        context.tell(
            f"{shown(file.key, 50)} has changed since it was prepared: the new version is used"
        )
    store.get_file(place, partial / INPUT, head.etag)
    return record.put(partial / INPUT, f"{INPUT}/{file.path}")


def fetch_environment(
    context: Context, environment: Environment, record: DownloadRecord, partial: Path
) -> Path:
    """Fetch the environment into a zip in the folder of `record`; return its path."""
    fetch_zip(context.store_of(environment.bucket), environment, partial / ENVIRONMENT)
    return record.put(partial / ENVIRONMENT, ENVIRONMENT)


def fetch_image(context: Context, image: Image, record: DownloadRecord, partial: Path) -> str:
    """Return the value of `run.image` for this run's image; fetch an image that is in files."""
    if image.kind == "docker":
        return f"{DOCKER}{image.repository}@{image.digest}"
    context.store_of(image.bucket).get_file(image.key, partial / IMAGE)
    return f"{image.kind}:{record.put(partial / IMAGE, IMAGE)}"


def as_settings(
    resolved: Resolved,
    run: Run,
    archive: Path | None,
    number: int | None = None,
    image: str | None = None,
) -> Resolved:
    """Return settings that reproduce the run, whatever parallelize.toml says now.

    `number` is the job's number, if its command may use it; `image` is where its image is.
    """
    command = run.command if number is None else run.grammar.with_number(run.command, number)
    table = RunTable(
        name=run.name,
        command=as_text(command) if run.template else shlex.join(command),
        shell=False,
        image=image,
        network=run.image is not None and run.image.network,
        env=str(archive) if archive else None,
        env_prefix=run.environment.prefix if run.environment else "",
        dependencies=run.dependencies.lock if run.dependencies else "none",
        setup=shlex.join(run.setup.command) if run.setup else None,
        setup_timeout=run.setup.timeout_seconds if run.setup else 30 * 60,
        timeout=run.limits.timeout_seconds,
        require_output=None if run.limits.halt_if_silent else run.limits.require_output,
        memory_per_job=run.limits.memory_bytes,
        gpus_per_job=run.limits.gpus,
        gpu_share=run.limits.gpu_share,
    )
    naming = run.naming
    output = OutputTable(name=naming.name, on_clash=naming.on_clash, collect=naming.collect)
    return one_file.with_tables(resolved, run=table, output=output)
