"""Which project a folder is: a random id in a small file beside parallelize.toml.

A run belongs to the project that made it, whatever its name: two folders of the same name are two
projects. The id is made when the first run is prepared, and moves with the folder. A copy is
another project as long as the original exists, so a copy does not change the original's runs; it
can join one of them with --join.

The file is never an input and never part of an environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel, ConfigDict, ValidationError

from parallelize.console import escape
from parallelize_core.errors import UsageError

PROJECT_FILE = ".parallelize-project.json"

_ID_BYTES = 16


class _Content(BaseModel):
    """What the file says; `folder` is where it was made, `joined` the origins of others' runs."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    id: str
    folder: str
    joined: Mapping[str, str] = {}


@dataclass(frozen=True)
class Project:
    """The project in `folder`; nothing is written before `origin` or `join` is called."""

    folder: Path
    _joined_now: dict[str, str] = field(default_factory=dict)
    """What was joined, even if it could not be written to the file."""

    def origin(self) -> str:
        """Return the project's id; make one if it has none, for example if it is a copy of another.

        A folder that cannot be written to is identified by its machine and path.
        """
        if content := self._own():
            return content.id
        content = _Content(id=secrets.token_hex(_ID_BYTES), folder=_as_text(self.folder.resolve()))
        try:
            _write(self._file, content, new=self.copied_from() is None)
        except OSError:
            return self._by_place()
        # Another call may have been faster; then its file holds for both.
        return (self._own() or content).id

    def settle(self) -> None:
        """Record the project's new place if it was moved, so that a copy is recognized as one."""
        content, here = self._own(), _as_text(self.folder.resolve())
        if content and content.folder != here:
            with suppress(OSError):
                _write(self._file, content.model_copy(update={"folder": here}), new=False)

    def owns(self, run: str, origin: str) -> bool:
        """Whether a run of this name and origin is the project's, or was joined."""
        content = self._own()
        known = {content.id, content.joined.get(run)} if content else set()
        return origin in {*known, self._by_place(), self._joined_now.get(run)}

    def join(self, run: str, origin: str) -> bool:
        """Treat another's run as the project's from now on; False if only for this call."""
        self._joined_now[run] = origin
        self.origin()
        content = self._own()
        if content is None:
            return False
        try:
            joined = {**content.joined, run: origin}
            _write(self._file, content.model_copy(update={"joined": joined}), new=False)
        except OSError:
            return False
        return True

    def copied_from(self) -> Path | None:
        """Return the folder that this one is a copy of, if it still exists."""
        content = self._read()
        if content is None or content.folder == _as_text(self.folder.resolve()):
            return None
        original = replace(self, folder=_as_path(content.folder))
        # OSError: a folder that we may not read is as good as gone.
        with suppress(OSError, UsageError):
            there = original._read()
            if there and there.id == content.id and not original.folder.samefile(self.folder):
                return original.folder
        return None

    @property
    def _file(self) -> Path:
        return self.folder / PROJECT_FILE

    def _own(self) -> _Content | None:
        return None if self.copied_from() else self._read()

    def _read(self) -> _Content | None:
        try:
            return _Content.model_validate_json(self._file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValidationError):
            raise UsageError(
                f"{escape(str(self._file))} cannot be read",
                "it says which runs are this project's",
                "restore it; or delete it, and give --join with the next command on each run",
            ) from None

    def _by_place(self) -> str:
        place = json.dumps([platform.node(), str(self.folder.resolve())])
        return f"place-{hashlib.sha256(place.encode()).hexdigest()[: 2 * _ID_BYTES]}"


def _as_text(folder: Path) -> str:
    """Return a path as JSON can have it: a file URI if its name is not UTF-8."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        return folder.as_uri()
    return str(folder)


def _as_path(text: str) -> Path:
    quoted = text.removeprefix("file://")
    return Path(text if quoted == text else os.fsdecode(unquote_to_bytes(quoted)))


def _write(file: Path, content: _Content, *, new: bool) -> None:
    """Write the complete file; a `new` one does not replace an existing one."""
    handle, name = tempfile.mkstemp(prefix=f"{PROJECT_FILE}.", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as sink:
            sink.write(content.model_dump_json(indent=2) + "\n")
        Path(name).chmod(0o644)
        if new:
            with suppress(FileExistsError):
                _link(Path(name), file)
        else:
            Path(name).replace(file)
    finally:
        Path(name).unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links.
        source.replace(target)
