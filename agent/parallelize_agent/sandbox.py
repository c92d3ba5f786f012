"""Jobs run as a second user, who has no rights but those over the job's own scratch folder.

The agent keeps five capabilities for this and no more: CAP_SETUID, CAP_SETGID and CAP_SETPCAP to
become that user for good, CAP_CHOWN to give a folder away and take it back, CAP_KILL to end what
it has started.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

from parallelize_core.errors import UsageError

JOB_USER_VARIABLE = "PARALLELIZE_JOB_USER"
"""Names the second user. The image's unit sets it; elsewhere jobs run as the agent's user."""


def job_prefix(user: str | None) -> tuple[str, ...]:
    """Return the words before a command that make it run as `user` with no way back.

    The user's group has the user's name. No capability is left, in no set, and set-user-ID
    programs such as sudo give none back.
    """
    if user is None:
        return ()
    return (
        "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs",
        "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--",
    )  # fmt: skip


def give(folder: Path, user: str | None) -> None:
    """Make `folder` and everything in it the property of `user`, for nobody else to read.

    The agent's group may still enter, not list: a command starts in the folder before it becomes
    the user. To be called when the folder is complete and before the user's first process starts.
    """
    if user is None:
        return
    account = _account(user)
    # From the bottom up: what has been given away cannot be entered any more.
    for root, folders, files, descriptor in os.fwalk(folder, topdown=False):
        for name in (*folders, *files):
            os.chown(name, account.pw_uid, account.pw_gid, dir_fd=descriptor, follow_symlinks=False)
        if root == str(folder):
            os.fchmod(descriptor, stat.S_IRWXU | stat.S_IXGRP)
    os.chown(folder, account.pw_uid, os.getegid())


def take_back(folder: Path, user: str | None) -> None:
    """Make `folder` and everything in it the agent's own again, readable and removable.

    To be called when no process of the user is left: it must not race with one. Links are taken
    themselves and never followed, so it does not matter where they lead.
    """
    if user is not None:
        _take(folder)


def remove(folder: Path, user: str | None = None) -> None:
    """Remove `folder`, whatever a job has made of it: any mode, any depth, any owner.

    To be called, like `take_back`, when no process of the user is left.
    """
    try:
        take_back(folder, user)
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except (OSError, RecursionError):
        # A folder without permissions, or folders nested deeper than Python can follow.
        _take(folder)
        subprocess.run(["rm", "-rf", "--", folder], check=True)  # noqa: S607 - the system's own


def _take(folder: Path) -> None:
    # From the top down, for only its owner may open a folder of any mode; and with one open
    # folder at a time, for a hostile job can nest them deeper than any limit on descriptors.
    _own(str(folder), None)
    here = _open_folder(str(folder), None)
    try:
        levels = [os.listdir(here)]  # noqa: PTH208 - of a descriptor, which pathlib cannot list
        while levels:
            if levels[-1]:
                name = levels[-1].pop()
                if not _own(name, here):
                    continue
                here = _move(here, name)
                levels.append(os.listdir(here))  # noqa: PTH208
            else:
                levels.pop()
                here = _move(here, "..") if levels else here
    finally:
        os.close(here)


def _own(name: str, parent: int | None) -> bool:
    """Make one entry the agent's own; say whether it is a folder."""
    os.chown(name, os.geteuid(), os.getegid(), dir_fd=parent, follow_symlinks=False)
    mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode):
        os.chmod(name, stat.S_IRWXU, dir_fd=parent)
    elif stat.S_ISREG(mode):
        os.chmod(name, stat.S_IMODE(mode) | stat.S_IRUSR | stat.S_IWUSR, dir_fd=parent)
    return stat.S_ISDIR(mode)


def _move(here: int, name: str) -> int:
    there = _open_folder(name, here)
    os.close(here)
    return there


def _open_folder(name: str, parent: int | None) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise UsageError(
            f'there is no user "{user}" on this machine',
            f"{JOB_USER_VARIABLE} names the user that jobs run as",
            f"make the user, or unset {JOB_USER_VARIABLE}",
        ) from None
