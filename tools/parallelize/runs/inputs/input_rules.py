"""Which of the files found are left out: a list of our own, and what the settings say.

Patterns are gitignore's, and are matched against an input's key. `run.include` brings back what the
others leave out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from parallelize.console import escape
from parallelize.context import Context
from parallelize.project import PROJECT_FILE
from parallelize.runs.files.download_record import RECORD
from parallelize.runs.files.own_files import NOTHING_OWN, OwnFiles, never_inputs
from parallelize.runs.files.written import WRITTEN
from parallelize_core.errors import UsageError

if TYPE_CHECKING:
    import pathspec

IGNORE_FILE = ".parallelizeignore"

LEFT_OUT = (
    # macOS
    ".DS_Store", "._*", ".AppleDouble", ".AppleDB", ".AppleDesktop", ".localized", ".apdisk",
    ".Spotlight-V100", ".DocumentRevisions-V100", ".Trashes", ".fseventsd", ".TemporaryItems",
    ".VolumeIcon.icns", ".com.apple.timemachine.*", ".metadata_never_index", "__MACOSX", "Icon\r",
    # Windows
    "Thumbs.db", "Thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini",
    "$RECYCLE.BIN", "System Volume Information",
    # Linux, and file servers
    ".directory", ".Trash-*", "lost+found", ".nfs*", ".fuse_hidden*", ".goutputstream-*",
    "@eaDir", "#recycle", "@Recycle", ".@__thumb", ".snapshot", ".zfs",
    # Sync services, and unfinished downloads of browsers
    ".dropbox", ".dropbox.attr", ".dropbox.cache", ".stfolder", ".stignore", ".stversions",
    ".syncthing.*.tmp", ".sync_*.db*", ".owncloudsync.log*", ".tmp.drivedownload",
    ".tmp.driveupload", "*.crdownload",
    # Editors, office programs, notebooks
    "?*~", ".*.sw[a-p]", ".*.kate-swp", "#*#", ".#*", ".~lock.*#", "~$*", "~WR?????.tmp",
    "*___jb_tmp___", "*___jb_old___", ".idea", ".vscode", ".Rproj.user", ".Rhistory", ".RData",
    ".ipynb_checkpoints", ".~*.ipynb", ".virtual_documents",
    # Caches of programs
    "__pycache__", "*.pyc", ".venv", ".pytest_cache", ".mypy_cache", ".ruff_cache",
    # Version control
    ".git", ".gitignore", ".gitattributes", ".gitmodules", ".gitkeep", ".keep", ".hg", ".hgignore",
    ".hgtags", ".svn", ".bzr", ".dvc", ".dvcignore",
    # Folder marks of Hadoop and similar programs in S3
    "*_$folder$",
    IGNORE_FILE, f"{PROJECT_FILE}*", f"*{RECORD}", f"*{WRITTEN}",
)  # fmt: skip
"""Names of files and folders, at any depth, in upper or lower case."""


def _expression(name: str) -> str:
    parts = re.split(r"(\*|\?|\[a-p\])", name)
    wild = {"*": "[^/]*", "?": "[^/]", "[a-p]": "[a-p]"}
    return "".join(wild.get(part) or re.escape(part) for part in parts)


@cache
def _left_out() -> re.Pattern[str]:
    # One expression, because it checks a million keys.
    names = "|".join(map(_expression, LEFT_OUT))
    return re.compile(f"(?:^|/)(?:{names})(?:/|$)", re.IGNORECASE)


@dataclass(frozen=True)
class InputRules:
    """What is left out: the user's patterns, exceptions from them, and the project's own files."""

    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    own: OwnFiles = NOTHING_OWN

    def excludes(self, key: str, *, named: bool = False) -> bool:
        """Whether a key is left out; that of a folder ends in a slash.

        A file that a person has `named` one by one is left out only by the user's own patterns.
        """
        said = bool(self.exclude) and self._excluded.match_file(key)
        return said or (not named and bool(_left_out().search(key)))

    def takes(self, key: str) -> bool:
        """Whether an input is included even if something else leaves it out."""
        return bool(self.include) and self._included.match_file(key)

    def leaves_out(self, key: str, *, named: bool = False) -> bool:
        """Whether a file is left out, judged by its key alone."""
        return self.excludes(key, named=named) and not self.takes(key)

    @cached_property
    def _excluded(self) -> pathspec.GitIgnoreSpec:
        return read_patterns(self.exclude)

    @cached_property
    def _included(self) -> pathspec.GitIgnoreSpec:
        return read_patterns(self.include)


def rules_of(context: Context, root: Path | None) -> InputRules:
    """Return the settings' rules for inputs below `root`, which is None if they are not local."""
    places = [context.folder, *([root] if root else [])]
    lines = dict.fromkeys(line for place in places for line in ignored_lines(place))
    run = context.settings.run
    return InputRules((*lines, *run.exclude), run.include, never_inputs(context))


def ignored_lines(folder: Path) -> list[str]:
    """Return the lines of a folder's .parallelizeignore, if it has one."""
    file = folder / IGNORE_FILE
    try:
        return file.read_text(encoding="utf-8-sig").splitlines() if file.is_file() else []
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{escape(str(file))} cannot be read", str(error)) from None


def read_patterns(lines: Sequence[str]) -> pathspec.GitIgnoreSpec:
    """Return a matcher for these gitignore lines; UsageError if one cannot be read."""
    import pathspec  # noqa: PLC0415 - only patterns of the user's own need it

    try:
        return pathspec.GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise UsageError(
            "a pattern of what to leave out cannot be read", str(error),
            f"patterns are gitignore's: fix run.exclude, run.include or {IGNORE_FILE}",
        ) from None  # fmt: skip


NO_RULES = InputRules()
"""Only what is in LEFT_OUT is left out."""
