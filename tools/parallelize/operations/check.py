"""Processing one file on this machine, exactly as a worker would process it.

It neither reads nor changes the run. It tries what parallelize.toml says now.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from parallelize.console import escape, shown
from parallelize.context import Context
from parallelize.operations import one_file
from parallelize.operations.download import check_place
from parallelize.runs.inputs.apart import check_apart
from parallelize.runs.inputs.input_files import remote_files, remote_location
from parallelize.runs.inputs.local_inputs import local_inputs
from parallelize.runs.inputs.remote_inputs import is_remote
from parallelize.runs.jobs.key_lookup import find_key, matches, meant
from parallelize.runs.jobs.source import Shape, group, shape_of
from parallelize.runs.jobs.spec import JobSpec
from parallelize.runs.jobs.wanted import read_asked
from parallelize_core.errors import ParallelizeError, UsageError
from parallelize_core.files import S3, InputFile

OUT = "check"


def check(context: Context, file: Path, out: Path | None = None) -> one_file.Done:
    """Process one file, or job, of the current settings; its outputs go below `out`."""
    folder = out or context.folder / OUT
    shape = shape_of(context)
    if not shape.plain:
        return _check_job(context, shape, str(file), folder)
    key, path = find_input(context, file)
    _begin(context, key, folder)
    return one_file.process(context.resolved, key, path, folder)


def _check_job(context: Context, shape: Shape, name: str, folder: Path) -> one_file.Done:
    """Process one job that is more than a single file, as `check` does."""
    job, files = find_job(context, name)
    _begin(context, job.name, folder)
    with TemporaryDirectory(prefix="parallelize-") as fetched:
        here = {**files, **_fetched(context, job, files, Path(fetched))}
        return one_file.process_job(context.resolved, job, shape.columns, here, folder)


def _begin(context: Context, name: str, folder: Path) -> None:
    check_apart(context, folder)
    check_place(folder)
    context.tell(f"processing {shown(name, 60)} here, as a worker would; nothing is sent to AWS")


def find_job(context: Context, name: str) -> tuple[JobSpec, dict[str, Path]]:
    """Return the job with this name, or with a file of this path, and its files on this machine.

    Raises UsageError if there is none.
    """
    asked = read_asked(context)
    here = {item.key: Path(item.path) for item in asked.found.inputs} if asked.found else {}
    jobs = asked.jobs
    if jobs is None:
        files = asked.found.inputs if asked.found else remote_files(context).wanted
        jobs = group(context, files, dict).jobs
    path = Path(name).resolve()
    key = next((key for key, own in here.items() if own.resolve() == path), None)
    named = next((job for job in jobs if any(file.key == key for file in job.files)), None)
    if named is None:
        wanted = find_key([job.name for job in jobs], name)
        named = next(job for job in jobs if job.name == wanted)
    return named, {file.key: here[file.key] for file in named.files if file.key in here}


def _fetched(
    context: Context, job: JobSpec, here: Mapping[str, Path], folder: Path
) -> dict[str, Path]:
    """Fetch the files that are not on this machine."""
    inputs = None
    made = {}
    for number, file in enumerate(job.files):
        if file.key in here:
            continue
        if inputs is None and not file.key.startswith(S3):
            inputs = remote_location(context)
        bucket, place = InputFile(key=file.key, size=0).place(inputs or context.base)
        made[file.key] = folder / str(number)
        context.store_of(bucket).get_file(place, made[file.key])
    return made


def find_input(context: Context, file: Path) -> tuple[str, Path]:
    """Return the key and path of a file; the key of a file that is not an input is its name.

    Raises UsageError if the file does not exist.
    """
    inputs = _inputs(context)
    if file.is_file():
        path = file.resolve()
        return next((key for key, own in inputs.items() if own.resolve() == path), path.name), path
    if not matches(inputs, str(file)):
        raise UsageError(
            f"there is no file {escape(str(file))}",
            f"neither here nor in {escape(context.settings.run.inputs)}",
            meant(str(file), inputs) or "give the path of an input",
        )
    key = find_key(inputs, str(file))
    return key, inputs[key]


def _inputs(context: Context) -> dict[str, Path]:
    spec = context.settings.run.inputs
    try:
        if is_remote(spec, context.folder):
            return {}
        return {item.key: Path(item.path) for item in local_inputs(spec, context.folder, "")}
    except ParallelizeError:
        # `prep` says what is wrong with other inputs.
        return {}
