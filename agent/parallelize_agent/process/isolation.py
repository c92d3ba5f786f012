"""A job's rights: it runs as a user with no rights but those over its own scratch folder.

For this the agent keeps only five capabilities: CAP_SETUID, CAP_SETGID and CAP_SETPCAP to become
that user for good, CAP_CHOWN to give a folder away and take it back, CAP_KILL to end what it has
started.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from parallelize_agent.container import enter
from parallelize_agent.process.job_users import JobUser
from parallelize_agent.process.world import World


@dataclass(frozen=True)
class Container:
    """An image that is ready to be entered, by an agent that keeps its files in `work`.

    `root` has its unpacked files, `environ` is the file with its variables. Without `network` a
    command has none. `given` lists what else of the machine is in it, in `enter.py`'s form.
    """

    root: Path
    environ: Path
    work: Path
    network: bool = False
    given: tuple[str, ...] = ()

    def with_network(self, *, allowed: bool) -> Container:
        """Return the same with or without a network."""
        return replace(self, network=allowed)


@dataclass(frozen=True)
class Shared:
    """The parts of the agent's folder that a command in an image sees, at their own paths."""

    writable: tuple[Path | str, ...]
    read_only: tuple[Path, ...] = ()


def world_of(
    user: JobUser | None, tmp: Path | str, container: Container | None, hidden: Sequence[Path] = ()
) -> World | None:
    """Return the world in which a command is started; None if it is the agent's own.

    In a container, the words before the command (`prefix`) do the rest.
    """
    if user is None:
        return None
    return World(user) if container else World.of_job(user, tmp, hidden)


def prefix(
    user: JobUser | None, tmp: Path | str, container: Container | None, shared: Shared
) -> tuple[str, ...]:
    """Return the words before a command that run it in a container, if there is one.

    There, its variables are the image's, and those that it is given.
    """
    if container is None:
        return ()
    uid, gid = (user.uid, user.gid) if user else (os.geteuid(), os.getegid())
    return (
        sys.executable, "-I", "-S", enter.__file__, str(container.root), str(container.environ),
        str(container.work), str(tmp), str(uid), str(gid), str(int(container.network)),
        *(f"rw:{path}" for path in shared.writable), *(f"ro:{path}" for path in shared.read_only),
        *container.given, "--",
    )  # fmt: skip


@cache
def program(name: str) -> str:
    """Return the path of one of the machine's own programs."""
    return shutil.which(name) or name


def give(folder: Path, user: JobUser | None) -> None:
    """Make `user` the owner of `folder` and everything in it, unreadable for all others.

    The agent's group may still enter, but not list: a command starts in the folder before it
    becomes the user. Call this once the folder is complete, before the user's first process starts.
    """
    if user is None:
        return
    # From the bottom up: what has been given away cannot be entered any more.
    for root, folders, files, descriptor in os.fwalk(folder, topdown=False):
        for name in (*folders, *files):
            os.chown(name, user.number, user.number, dir_fd=descriptor, follow_symlinks=False)
        if root == str(folder):
            os.fchmod(descriptor, stat.S_IRWXU | stat.S_IXGRP)
    os.chown(folder, user.number, os.getegid())


def share(folder: Path) -> None:
    """Let the group of `folder` list it; call this before `give`.

    What a job writes there is its own, and the agent can read what everybody may read. The
    agent's unit may not create files that pass on their group (`RestrictSUIDSGID`).
    """
    folder.chmod(stat.S_IRWXU | stat.S_IRWXG)


def let_read(folder: Path, user: JobUser) -> None:
    """Give `folder`, which was given away, the agent's group; call this after `give`."""
    os.chown(folder, user.number, os.getegid())


def take_back(folder: Path, user: JobUser | None) -> None:
    """Make `folder` and everything in it the agent's own again, readable and removable.

    Call this when no process of the user is left: it must not race with one. Links themselves
    change owner and are never followed, so it does not matter where they lead.
    """
    if user is not None:
        _take(folder)


def remove(folder: Path | str) -> None:
    """Remove `folder`, whatever a job has made of it: any mode, any depth, any owner.

    Call this, like `take_back`, when no process of the user is left. Raises OSError, with rm's
    message, if something that belongs to another user remains.
    """
    try:
        _remove_tree(os.fspath(folder), None)
    except FileNotFoundError:
        if not os.path.lexists(folder):
            return
        _remove_by_force(folder)
    except (OSError, RecursionError):
        # Another's folder, one without permissions, or folders deeper than Python can follow.
        _remove_by_force(folder)


def _remove_tree(name: str, parent: int | None) -> None:
    here = _open_folder(name, parent)
    try:
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _remove_folder(entry.name, here)
                else:
                    os.unlink(entry.name, dir_fd=here)
    finally:
        os.close(here)
    os.rmdir(name, dir_fd=parent)


def _remove_folder(name: str, parent: int) -> None:
    try:
        os.rmdir(name, dir_fd=parent)  # many are empty
    except OSError:
        _remove_tree(name, parent)


def _remove_by_force(folder: Path | str) -> None:
    with suppress(OSError):  # another user's files may be in our folders, and can be removed
        _take(folder)
    done = subprocess.run(
        ["rm", "-rf", "--", folder],  # noqa: S607 - the system's own
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PermissionError(errno.EPERM, done.stderr.strip()[-300:], str(folder))


def _take(folder: Path | str) -> None:
    # From the top down, because only its owner may open a folder of any mode; and with one open
    # folder at a time, because a hostile job can nest them deeper than any limit on descriptors.
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
    """Make one entry the agent's own; return whether it is a folder."""
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
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
