"""For Python callers: run one command over many parameters, and return each outcome.

    import parallelize

    items = [{"seed": seed} for seed in range(1000)]
    outcomes = parallelize.map("./simulate.py", items, name="simulation", env="env/")
    values = [outcome.value() for outcome in outcomes]

Each item becomes a JSON input file, which is passed to the command as in any run; what the command
prints is its output. Files, rows and grids give the same jobs as on the command line. The run is an
ordinary one: `parallelize status`, `failures`, `logs` and `report` work on it, and repeating the
call continues an interrupted one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Unpack

from parallelize.api.calls import Options, make_call
from parallelize.api.executor import Executor
from parallelize.api.outcome import JobError, Outcome, Outcomes
from parallelize.api.sources import Files, opened
from parallelize.api.streams import Stream

__all__ = ["Executor", "JobError", "Outcome", "Outcomes", "Stream", "map", "stream"]


def map(  # noqa: A001, PLR0913 - as executors call it; each is a choice of its own
    command: str,
    items: Iterable[Any] | None = None,
    *,
    name: str,
    files: Files | None = None,
    rows: Iterable[Mapping[str, Any]] | None = None,
    grid: Mapping[str, object] | None = None,
    **options: Unpack[Options],
) -> Outcomes:
    """Run `command` once for each of `items`, and return their outcomes in the same order.

    Instead of items, pass `files` (what `run.inputs` takes, or a list of paths), `rows`
    (dictionaries, like the rows of a sheet), or a `grid` of values by name, alone or combined with
    files or rows.

    `name` is the run's name. Jobs that an earlier call with this name has finished are not done
    again, unless they failed and `retry` is set; equal items are one job. `env` is the folder or
    zip with what the command needs, `out` the folder for the outputs (default: NAME-out). `local`
    uses the local cloud instead of AWS; `join` allows working on a run that another folder has
    made. `settings` has other settings by their dotted names, such as {"run.timeout": "5m"}; all
    others come from `config` or the nearest parallelize.toml.

    Progress goes to stderr, or to a notebook's cell. Raises UsageError for an item that cannot be a
    job, and the other classes of `parallelize_core.errors` if the run cannot be carried out; a job
    that fails raises nothing. Do not call it from several threads at once: while it runs, `local`
    changes the environment variables of this process.
    """
    call = make_call(command, name, **options)
    if items is not None and not (items := list(items)):
        return Outcomes()
    found: dict[int, Outcome] = {}
    with opened(items, files, rows, grid) as source:
        call.carry(source, found.__setitem__)
    return Outcomes(found[number] for number in sorted(found))


def stream(  # noqa: PLR0913 - as `map`
    command: str,
    items: Iterable[Any] | None = None,
    *,
    name: str,
    files: Files | None = None,
    rows: Iterable[Mapping[str, Any]] | None = None,
    grid: Mapping[str, object] | None = None,
    ordered: bool = False,
    **options: Unpack[Options],
) -> Stream:
    """Do as `map` does, but yield each outcome as soon as its job has ended; see `Stream`.

    With `ordered`, outcomes come in the order of the request: each as soon as all before it have
    come. `options` are those of `map`.
    """
    call = make_call(command, name, **options)
    return Stream(call, lambda: opened(items, files, rows, grid), ordered=ordered)
