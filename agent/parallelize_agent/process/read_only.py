"""A folder that commands cannot write to, whatever user they run as, while the agent can.

What jobs share must be the same for all, and file modes stop neither root nor a file's owner.
So commands are started from a mount namespace in which the folder is mounted read-only.
It is created once; a thread enters it for as long as it takes to start a command (15 us), so
there is no further cost.
https://man7.org/linux/man-pages/man7/mount_namespaces.7.html

| the agent is | it takes | what holds |
|---|---|---|
| root | CAP_SYS_ADMIN | read-only; a command that is root can remount it |
| root, without that (a container) | CAP_SETPCAP | modes; an owner may change them |
| a user | user namespaces (`enter_own_namespaces`) | read-only, with no way around it |
| a user, where those are forbidden | - | modes; an owner may change them |
| the image's, with a user for each job | - | another's files, with no way around it |
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

_CLONE_FS = 0x200
_CLONE_NEWNS = 0x20000
_CLONE_NEWUSER = 0x10000000

_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_SLAVE = 1, 32, 1 << 12, 1 << 14, 1 << 19

_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_SYS_CHROOT, _CAP_SYS_ADMIN = 1, 18, 21

_CAPABILITY_VERSION = 0x20080522
"""https://man7.org/linux/man-pages/man2/capset.2.html: two words of 32 bits for each set."""

_OWN_NAMESPACE = "/proc/thread-self/ns/mnt"
_OPEN = os.O_RDONLY | os.O_CLOEXEC

# Not CDLL: these calls are too short to release the interpreter's lock in between.
_libc = ctypes.PyDLL(None, use_errno=True)


class ReadOnlyFolder:
    """A folder that commands cannot write to; safe to use from any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._is_mounted: bool | None = None

    def enforced(self) -> AbstractContextManager[None]:
        """Keep commands that this thread starts during the block from writing to the folder."""
        if self._mount():
            return _commands_place.entered()
        _respect_modes()
        return apart()

    def namespace(self) -> int | None:
        """Return a descriptor of the mount namespace in which commands cannot write to the folder.

        None if only file modes prevent it.
        """
        return _commands_place.descriptor if self._mount() else None

    def _mount(self) -> bool:
        with self._lock:
            if self._is_mounted is None:
                self._is_mounted = _commands_place.mount_read_only(self.folder)
            return self._is_mounted


@contextmanager
def apart() -> Iterator[None]:
    """Give this thread a working directory of its own during the block; raises OSError."""
    # Each time, because it is shared again with every thread that this one has started since.
    _call("unshare", _CLONE_FS)
    here = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        yield
    finally:
        os.fchdir(here)
        os.close(here)


class _CommandsPlace:
    """The mount namespace that commands are started from; created for the first folder in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._agents = -1
        self._commands = -1

    @property
    def descriptor(self) -> int:
        """Its descriptor."""
        return self._commands

    def mount_read_only(self, folder: Path) -> bool:
        """Mount a folder read-only there; return whether the kernel allows it."""
        done: list[bool] = []

        def mount() -> None:
            with self._lock, suppress(OSError):
                self._enter_for_good()
                _mount_read_only(folder)
                done.append(True)

        # In a temporary thread, which cannot leave the namespace again if something fails.
        thread = threading.Thread(target=mount, name="read-only")
        thread.start()
        thread.join()
        return bool(done)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Keep this thread inside during the block."""
        # Entering changes the working directory, which must be this thread's own for that.
        with apart():
            _call("setns", self._commands, _CLONE_NEWNS)
            try:
                yield
            finally:
                _call("setns", self._agents, _CLONE_NEWNS)

    def _enter_for_good(self) -> None:
        _call("unshare", _CLONE_FS)
        if self._commands >= 0:
            _call("setns", self._commands, _CLONE_NEWNS)
            return
        root = Path("/").stat()
        agents = os.open(_OWN_NAMESPACE, _OPEN)
        _call("unshare", _CLONE_NEWNS)
        _mount(None, "/", _MS_REC | _MS_SLAVE)
        commands = os.open(_OWN_NAMESPACE, _OPEN)
        _call("setns", agents, _CLONE_NEWNS)
        if not os.path.samestat(root, Path("/").stat()):
            raise OSError(errno.EPERM, "a namespace leads out of a chroot")
        _call("setns", commands, _CLONE_NEWNS)
        self._agents, self._commands = agents, commands


_commands_place = _CommandsPlace()


def enter_own_namespaces() -> bool:
    """Let a process that is not root mount for its children; return whether it may now.

    Call this while it has one thread. It stays the same user; programs that would change
    that, such as sudo, no longer work for it and its children, as on a worker of the image.
    """
    has_threads = len(list(Path("/proc/self/task").iterdir())) > 1
    if os.geteuid() == 0 or has_threads or not _in_a_child(_enter):
        return False
    _enter()
    return True


def _enter() -> None:
    user, group = os.geteuid(), os.getegid()
    _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNS)
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny", encoding="ascii")
    (own / "uid_map").write_text(f"{user} {user} 1", encoding="ascii")
    (own / "gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    # Refused where the distribution lets users have namespaces without rights in them.
    _mount(None, "/", _MS_REC | _MS_SLAVE)
    _keep_only(_CAP_SYS_CHROOT, _CAP_SYS_ADMIN)


def _keep_only(*capabilities: int) -> None:
    """Drop all capabilities but these: a user must not read here what it cannot elsewhere."""
    kept = sum(1 << number for number in capabilities)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    data = (ctypes.c_uint32 * 6)(kept, kept)
    _call("capset", header, data)


def _in_a_child(step: Callable[[], None]) -> bool:
    """Whether a step that cannot be undone would succeed."""
    pid = os.fork()
    if pid == 0:
        refused = True
        try:
            step()
            refused = False
        finally:  # not one instruction more in a copy of this process, whatever happens
            os._exit(refused)
    return os.waitpid(pid, 0)[1] == 0


def _mount_read_only(folder: Path) -> None:
    _mount(str(folder), str(folder), _MS_BIND)
    # What the mount forbids already must stay forbidden.
    kept = os.statvfs(folder).f_flag & (
        os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME
    )
    _mount(None, str(folder), _MS_REMOUNT | _MS_BIND | _MS_RDONLY | kept)


def _respect_modes() -> None:
    """Where root cannot mount, make at least file modes apply to what it starts."""
    if os.geteuid() == 0:
        _libc.prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0)


def _mount(source: str | None, target: str, flags: int) -> None:
    encoded = source and os.fsencode(source)
    _call("mount", encoded, os.fsencode(target), None, ctypes.c_ulong(flags), None)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
