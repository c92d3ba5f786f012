"""parallelize.toml: what may be in it, and who wins when two places say different things.

A flag overrides a variable, a variable parallelize.toml, that the user's own file, and that the
default. Every value remembers where it came from.

The variable of a setting is PARALLELIZE_<TABLE>_<KEY>, such as PARALLELIZE_WORKERS_COUNT; settings
that have a flag everywhere also have a shorter one: PARALLELIZE_RUN, _BUCKET, _REGION, _PROFILE. An
empty variable counts as not set.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from parallelize.console import escape
from parallelize.setting_tables import (
    AgentTable,
    AwsTable,
    OutputTable,
    ReportTable,
    RunTable,
    Table,
    WorkersTable,
)
from parallelize.setting_types import (
    shown_target,
)
from parallelize_core.errors import UsageError

FILE_NAME = "parallelize.toml"


class Settings(Table):
    """All settings."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    # A default like RunTable() would build the table by itself, too.
    run: RunTable = Field(default={}, validate_default=True)
    output: OutputTable = Field(default={}, validate_default=True)
    aws: AwsTable = Field(default={}, validate_default=True)
    workers: WorkersTable = Field(default={}, validate_default=True)
    agent: AgentTable = Field(default={}, validate_default=True)
    report: ReportTable = Field(default={}, validate_default=True)

    def value(self, key: str) -> Any:
        """Return a setting by its dotted name."""
        table, _, name = key.partition(".")
        return getattr(getattr(self, table), name) if name else self.schema_

    def shown(self, key: str) -> Any:
        """Return a setting as it may be shown: without any secret in it."""
        value = self.value(key)
        return shown_target(value) if key == "run.notify" and value else value


def _tables() -> dict[str, type[Table]]:
    fields = Settings.model_fields.items()
    return {name: kind for name, field in fields if isinstance(kind := field.annotation, type)
            and issubclass(kind, Table)}  # fmt: skip


TABLES = _tables()
KEYS = tuple(f"{table}.{name}" for table, kind in TABLES.items() for name in kind.model_fields)

LANE_KEYS = ("workers.large", "workers.steady")
"""Settings that are tables themselves, which only a file can give."""

SHORT_VARIABLES = {
    "run.name": ("PARALLELIZE_RUN",),
    "aws.stack": ("PARALLELIZE_STACK",),
    "aws.bucket": ("PARALLELIZE_BUCKET",),
    # AWS's variables override the files, like everywhere else: flags > environment > files.
    "aws.region": ("PARALLELIZE_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"),
    "aws.profile": ("PARALLELIZE_PROFILE", "AWS_PROFILE"),
}


class Given(NamedTuple):
    """A value as it was written, and where."""

    value: object
    source: str


class Resolved(NamedTuple):
    """The settings, where each came from, and the project's folder (that of its file)."""

    settings: Settings
    sources: Mapping[str, str]
    folder: Path
    file: Path | None

    def source(self, key: str) -> str:
        """Return where the setting `key` came from."""
        return self.sources.get(key, "default")

    def with_defaults(self, values: Mapping[str, object], source: str) -> Resolved:
        """Return the same with other defaults; they override no value that was given."""
        free = {key: value for key, value in values.items() if key not in self.sources}
        tables: dict[str, Table] = {}
        for key, value in free.items():
            name, _, field = key.partition(".")
            table = tables.get(name) or getattr(self.settings, name)
            tables[name] = table.model_copy(update={field: value})
        return self._replace(
            settings=self.settings.model_copy(update=tables),
            sources={**self.sources, **dict.fromkeys(free, source)},
        )


def variables(key: str) -> tuple[str, ...]:
    """Return the variables for the setting `key`, in order of precedence."""
    return (*SHORT_VARIABLES.get(key, ()), f"PARALLELIZE_{key.replace('.', '_').upper()}")


def resolve(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    cwd: Path,
    config: Path | None = None,
    user_file: Path | None = None,
) -> Resolved:
    """Merge all places; raise UsageError, which names the place, for anything wrong.

    Flags that are None were not given. `config` is a file that must exist.
    """
    file = _project_file(config, environ, cwd)
    given: dict[str, Given] = {}
    for path in (user_file, file):
        if path is not None and path.is_file():
            given |= _read_file(path, cwd)
    if environ.get("AWS_ACCESS_KEY_ID"):
        # As in AWS's tools, keys in the environment override a profile that only a file names.
        given.pop("aws.profile", None)
    given |= dict(_from_variables(environ))
    given |= {key: Given(value, "flag") for key, value in flags.items() if value is not None}
    settings = _validate(given)
    sources = {key: item.source for key, item in given.items()}
    folder = file.parent if file else cwd
    return Resolved(settings, sources, folder.resolve(), file)


def find_file(cwd: Path) -> Path | None:
    """Return the nearest parallelize.toml at or above `cwd`."""
    candidates = (folder / FILE_NAME for folder in (cwd, *cwd.parents))
    return next((path for path in candidates if path.is_file()), None)


def _project_file(config: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    named = config or (Path(text) if (text := environ.get("PARALLELIZE_CONFIG")) else None)
    if named is None:
        return find_file(cwd)
    path = cwd / named
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise UsageError(f"{escape(str(named))} does not exist", fix="parallelize init")
    return path


def _read_file(path: Path, cwd: Path) -> dict[str, Given]:
    name = str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)
    name = FILE_NAME if path.name == FILE_NAME else name
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} is not valid TOML", str(error)) from None
    if document.get("schema", 1) != 1:
        raise UsageError(
            f"{name}: unknown schema {document['schema']}",
            "this version of parallelize reads schema = 1", "pip install --upgrade parallelize",
        )  # fmt: skip
    document.pop("schema", None)
    return {key: Given(value, name) for key, value in _flat(document, name)}


def _flat(document: Mapping[str, Any], source: str) -> Iterator[tuple[str, object]]:
    for table, content in document.items():
        if table not in TABLES:
            raise _unknown(table, source)
        if not isinstance(content, dict):
            raise UsageError(
                f"{source}: {table} is not a table", fix=f"write [{table}] above its keys"
            )
        for name, value in content.items():
            key = f"{table}.{name}"
            if key not in KEYS:
                raise _unknown(key, source)
            yield key, value


def _unknown(key: str, source: str) -> UsageError:
    return UsageError(f"{source}: unknown key {escape(key)}", _did_you_mean(key))


def _did_you_mean(key: str) -> str | None:
    import difflib  # noqa: PLC0415 - only a wrong file needs it

    known = (*KEYS, *TABLES, "schema")
    # The right key in the wrong table is as common a slip as a wrong letter.
    same = [k for k in KEYS if k.partition(".")[2] == key.rpartition(".")[2]][:1]
    near = same or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else None


def _from_variables(environ: Mapping[str, str]) -> Iterator[tuple[str, Given]]:
    for key in KEYS:
        name = next((name for name in variables(key) if environ.get(name)), None)
        if name is not None:
            yield key, Given(environ[name], name)


def _check_text(key: str, item: Given) -> None:
    """Raise UsageError for a NUL, which is not allowed in a name, path or argument."""
    if found := next((text for text in _texts(item.value) if "\0" in text), None):
        raise UsageError(
            f"{item.source}: {key} has a NUL character", escape(found),
            "remove it: no file name, argument or variable can contain one",
        )  # fmt: skip


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from (str(name), *_texts(part))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _validate(given: Mapping[str, Given]) -> Settings:
    document: dict[str, dict[str, object]] = {}
    for key, item in given.items():
        _check_text(key, item)
        table, _, name = key.partition(".")
        document.setdefault(table, {})[name] = item.value
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"][:2])
        whole = ".".join(str(part) for part in first["loc"][: 3 if key in LANE_KEYS else 2])
        why = str(first["msg"]).removeprefix("Value error, ")
        raise UsageError(f"{given[key].source}: {whole} is wrong", escape(why)) from None
