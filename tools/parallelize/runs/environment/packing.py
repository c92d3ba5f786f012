"""The environment as it is sent: a zip, with the lock of its dependencies if it lists any."""

from __future__ import annotations

import posixpath
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from parallelize.console import escape, say, some
from parallelize.context import Context
from parallelize.runs.environment.command_check import needs_environment
from parallelize.runs.environment.dependency_files import (
    AUTO,
    Kind,
    Source,
    dependencies_of,
    find_source,
    unlocked_conda,
)
from parallelize.runs.environment.environment_zip import (
    add_file,
    check_zip,
    zip_files,
    zip_folder,
    zip_remarks,
)
from parallelize.runs.environment.locking import FOLDERS, Locked, check_locked, lock
from parallelize.runs.environment.placeholders import program_of, words_of
from parallelize.runs.environment.recipe import SCRIPTS
from parallelize.runs.files.own_files import products, with_paths
from parallelize.units import plural
from parallelize_core.errors import UsageError
from parallelize_core.run import Dependencies

_LIST_ENDINGS = {".py", ".toml", ".lock", ".txt", ".in", ".yml", ".yaml"}
_MAX_LIST_BYTES = 16 * 1024 * 1024

_STARTED = (b"#!", b"\x7fELF")
"""How executable files begin. Not every file system has modes that say so."""


class Packing(NamedTuple):
    """An environment's zip; `own` says that the user made it, `locked` what to install."""

    archive: Path
    own: bool
    locked: Locked | None = None

    @property
    def by_uv(self) -> bool:
        """Whether uv installs the dependencies, so that they include a Python."""
        return self.locked is not None and self.locked.installer == "uv"

    def dependencies(self, timeout_seconds: float) -> Dependencies | None:
        """Return the dependencies as the run's record describes them."""
        if self.locked is None:
            return None
        return Dependencies(
            installer=self.locked.installer,
            lock=self.locked.name,
            python=self.locked.python,
            timeout_seconds=timeout_seconds,
        )


@contextmanager
def packed(
    context: Context, command: tuple[str, ...], folder: Path, *, keep: bool
) -> Iterator[Packing | None]:
    """Make the zip in `folder`, if there is an environment; without `keep`, no lock is saved.

    If there is none, the scripts beside parallelize.toml that commands name become an environment
    of their own.

    Raises UsageError for anything wrong with it. Remarks are printed here.
    """
    with _packed(context, command, folder, keep=keep) as packing:
        _tell_left_behind(context, packing)
        yield packing


@contextmanager
def _packed(
    context: Context, command: tuple[str, ...], folder: Path, *, keep: bool
) -> Iterator[Packing | None]:
    if context.settings.run.env is None:
        with _of_scripts(context, command, folder, keep=keep) as packing:
            yield packing
        return
    source = context.path(context.settings.run.env)
    if source.is_file() or source.suffix == ".zip":
        yield _own_zip(context, source, folder)
        return
    target = folder / "environment.zip"
    with _locked(context, source / context.settings.run.env_prefix, keep=keep) as locked:
        installed = [source / context.settings.run.env_prefix / name for name in FOLDERS]
        zip_folder(source, target, with_paths(products(context), installed if locked else []))
        yield _with_lock(context, Packing(target, own=False, locked=locked))


@contextmanager
def _of_scripts(
    context: Context, command: tuple[str, ...], folder: Path, *, keep: bool
) -> Iterator[Packing | None]:
    names = _scripts(context, command)
    if not names:
        _check_none(context)
        yield None
        return
    target = folder / "environment.zip"
    zip_files(context.folder, names, target)
    run = context.settings.run
    wanted = (name for name in names if run.dependencies in {AUTO, name} and not run.image)
    script = next((name for name in wanted if dependencies_of(context.folder / name)), None)
    if script is None:
        yield _with_lock(context, Packing(target, own=False))
        return
    source = Source(Kind.SCRIPT, script)
    with lock(context.folder, source, keep=keep) as locked:
        _tell(context, source, locked)
        yield _with_lock(context, Packing(target, own=False, locked=locked))


def _scripts(context: Context, command: tuple[str, ...]) -> list[str]:
    """Return the files beside parallelize.toml that commands start, or pass to an interpreter."""
    if context.settings.run.shell:
        command = (program_of(context.settings.run.command or "") or command[0],)
    started = files_beside(context.folder, command[:1]) if needs_environment(command) else []
    return [*dict.fromkeys([*started, *scripts_beside(context.folder, _words(context))])]


def _words(context: Context) -> list[str]:
    run = context.settings.run
    texts = ((run.command, run.shell), (run.then, run.shell), (run.setup, False))
    return [word for text, shell in texts for word in words_of(text or "", shell=shell)]


def files_beside(folder: Path, words: Iterable[str]) -> list[str]:
    """Return the files that words name, relative to `folder`."""
    names = dict.fromkeys(posixpath.normpath(word) for word in words if word[:1] != "/")
    return [name for name in names if name[:3] != "../" and _is_file(folder / name)]


def scripts_beside(folder: Path, words: Iterable[str]) -> list[str]:
    """Return those of `files_beside` that are scripts or programs, by suffix or first bytes.

    Data files do not count: the command may name a file that it writes.
    """
    return [name for name in files_beside(folder, words) if _is_program(folder / name)]


def _is_file(path: Path) -> bool:
    with suppress(OSError, ValueError):  # a word may be a whole program, and so no name
        return path.is_file()
    return False


def _is_program(path: Path) -> bool:
    if path.suffix in SCRIPTS:
        return True
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(_STARTED)
    except OSError:
        return False


def _tell_left_behind(context: Context, packing: Packing | None) -> None:
    """Say which files that commands name will not be where jobs look for them."""
    run = context.settings.run
    named = files_beside(context.folder, _words(context))
    if packing:
        with zipfile.ZipFile(packing.archive) as opened:
            there = {*opened.namelist()}
        inside = (posixpath.normpath(posixpath.join(run.env_prefix, name)) for name in named)
        named = [name for name, place in zip(named, inside, strict=True) if place not in there]
    if named:
        listed = some(named).replace("\n", ", ")
        where = f"in the environment {escape(run.env)}" if run.env else "sent"
        fix = f"put it into {escape(run.env)}" if run.env else "put it into a folder, --env FOLDER"
        say(
            f"the command names files that are not {where}: {listed}\n"
            f"  jobs will not find them: {fix}"
        )


def _check_none(context: Context) -> None:
    wanted = context.settings.run.dependencies
    if wanted not in {AUTO, "none"}:
        raise UsageError(
            f"run.dependencies names {escape(wanted)}, but there is no environment",
            "run.env is not set", 'run.env = "FOLDER" in parallelize.toml, or --env',
        )  # fmt: skip


@contextmanager
def _locked(context: Context, folder: Path, *, keep: bool) -> Iterator[Locked | None]:
    source = _wanted(context, folder) if folder.is_dir() else None
    if source is None:
        yield None
        return
    with lock(folder, source, keep=keep) as locked:
        _tell(context, source, locked)
        yield locked


def _wanted(context: Context, folder: Path) -> Source | None:
    """Return the list to install; run.setup, if set, sees to one that the user did not name."""
    run = context.settings.run
    if run.image:
        _leave_to_image(context, folder)
        return None
    if run.setup and run.dependencies == AUTO:
        _tell_left_to_setup(folder)
        return None
    source = find_source(folder, run.command or "", run.dependencies)
    if source is None and run.dependencies == AUTO and (name := unlocked_conda(folder)):
        say(f"{name} of the environment is not a lock, so nothing is installed from it; "
            f"make one: conda-lock --file {name}")  # fmt: skip
    return source


def _leave_to_image(context: Context, folder: Path) -> None:
    """Say that nothing is installed: packages for this machine's Python do not fit the image's."""
    wanted = context.settings.run.dependencies
    if wanted not in {AUTO, "none"}:
        raise UsageError(
            f"run.dependencies names {escape(wanted)}, and run.image brings the packages",
            "what workers install is for their own Python, and not for that of the image",
            "install them in the image, and take run.dependencies out",
        )
    try:
        found = find_source(folder, "", wanted)
    except UsageError:
        found = None
    if found:
        say(f"{escape(found.file)} of the environment is ignored: run.image brings the packages")


def _tell_left_to_setup(folder: Path) -> None:
    try:
        found = find_source(folder, "", AUTO)
    except UsageError:
        return  # there are several: run.setup decides which of them to use
    if found:
        say(f"{escape(found.file)} of the environment is left to run.setup; to install it first: "
            f'run.dependencies = "{escape(found.file)}"')  # fmt: skip


def _tell(context: Context, source: Source, locked: Locked) -> None:
    name = escape(posixpath.join(context.settings.run.env or "", source.file))
    count = f"{plural(locked.packages, 'package')} of " if locked.packages is not None else ""
    say(f"dependencies: {count}{name}, installed by {locked.installer} once on each worker")


def _own_zip(context: Context, source: Path, folder: Path) -> Packing:
    check_zip(source)
    for line in zip_remarks(source, _inside_zip(context)):
        say(line)
    lists = folder / "lists"
    _unpack_lists(source, context.settings.run.env_prefix, lists)
    found = _wanted(context, lists)
    if found is None:
        return Packing(source, own=True)
    check_locked(lists, found, escape(str(source)))
    with lock(lists, found) as locked:
        _tell(context, found, locked)
    archive = source
    if locked.text:
        archive = folder / "environment.zip"
        shutil.copyfile(source, archive)
    return _with_lock(context, Packing(archive, own=True, locked=locked))


def _unpack_lists(archive: Path, prefix: str, folder: Path) -> None:
    """Extract the files that may be, or belong to, a list of dependencies."""
    folder.mkdir()
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            name = posixpath.relpath(info.filename, prefix or ".")
            is_list = Path(name).suffix in _LIST_ENDINGS or name == ".python-version"
            if is_list and not name.startswith("..") and info.file_size <= _MAX_LIST_BYTES:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(opened.read(info))


def _with_lock(context: Context, packing: Packing) -> Packing:
    """Add the lock to the zip, if it is not there; raise UsageError for what workers refuse."""
    locked = packing.locked
    if locked:
        name = posixpath.normpath(posixpath.join(context.settings.run.env_prefix, locked.name))
        if locked.text:
            add_file(packing.archive, name, locked.text)
        _check_there(packing.archive, name)
    if not packing.own or locked:
        check_zip(packing.archive)
    return packing


def _check_there(archive: Path, name: str) -> None:
    with zipfile.ZipFile(archive) as opened:
        if name not in opened.namelist():
            raise UsageError(
                f"the lock {escape(name)} is left out of the environment",
                ".parallelizeignore says so", "take it out of .parallelizeignore",
            )  # fmt: skip


def _inside_zip(context: Context) -> str:
    """Return the command's program as a path in the environment."""
    run = context.settings.run
    return posixpath.join(run.env_prefix, (run.command or "").partition(" ")[0])
