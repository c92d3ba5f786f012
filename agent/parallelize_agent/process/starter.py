"""Starts commands in worlds of their own: a program that an agent starts once, and asks each time.

    starter.py SOCKET

Each message on the socket requests one command, and brings open files: where to report the outcome,
then the command's stdin, stdout and stderr, then the request (`Request`), and finally, if the
command must start from another mount namespace than the agent's, that namespace.

For each, the program makes a copy of itself that is the agent's child and not its own. The copy
reports its process id, builds the command's world, and becomes the command: so process id, exit
status and signals are the command's. On failure it reports why. When the agent is gone, the program
ends.

Until it has become the job's user, the copy has the agent's rights; nothing of the job takes effect
until then. It holds no secrets: neither the variables nor the memory of this program have ever
contained one.

It only uses what is built into Python or loads within a millisecond: a small process is copied
fast.
"""

from __future__ import annotations

import _socket
import ctypes
import errno
import marshal
import os
import sys
from collections.abc import Mapping, Sequence

_NEWNS, _NEWIPC, _NEWUSER = 0x20000, 0x8000000, 0x10000000

_NOSUID, _NODEV, _BIND, _REC, _PRIVATE = 2, 4, 4096, 16384, 1 << 18

_CLONE3, _CLONE_PARENT = 435, 0x8000
"""https://man7.org/linux/man-pages/man2/clone.2.html: same number on all machines, since Linux 5.3.
"""

_SET_DUMPABLE, _CAPBSET_DROP, _NO_NEW_PRIVS = 4, 24, 38
_CAPABILITY_VERSION = 0x20080522
"""https://man7.org/linux/man-pages/man2/capset.2.html: two words of 32 bits for each set."""

_SIGPIPE, _SIGXFSZ, _DEFAULT = 13, 25, None
"""Python ignores these two, and the program that it becomes would, too."""

_MEMORY = b"/dev/shm"

_MAX_FILES = 6
_INT_BYTES = 4
_NEVER = 127

Request = tuple[
    tuple[bytes, ...],
    tuple[bytes, ...],
    dict[bytes, bytes],
    bytes,
    tuple[tuple[bytes, bytes], ...],
    tuple[int, int, int],
    tuple[tuple[bytes, bytes], ...] | None,
]
"""The paths to try for the program, its words, its variables, its folder; the files to write to
first, each with a text; the user's number outside, its number and its group inside; what is mounted
where, or None for a command that makes its own namespaces."""

# Not CDLL: with one thread, nobody else could use the interpreter meanwhile.
_libc = ctypes.PyDLL(None, use_errno=True)


def serve(socket: _socket.socket) -> None:
    """Start what is requested, until nobody is left to ask."""
    space = _socket.CMSG_SPACE(_MAX_FILES * _INT_BYTES)
    while True:
        message, ancillary, _, _ = socket.recvmsg(1, space, _socket.MSG_CMSG_CLOEXEC)
        if not message:
            return
        files = [*memoryview(ancillary[0][2]).cast("i")]
        number = _copy()
        if number == 0:
            _be_command(files)
        if number < 0:
            _tell_refused(files[0], os.strerror(ctypes.get_errno()))
        for file in files:
            os.close(file)


def _copy() -> int:
    """Fork, but make the copy a child of this process's parent; return -1 if that is refused."""
    arguments = (ctypes.c_uint64 * 8)(_CLONE_PARENT)
    number: int = _libc.syscall(_CLONE3, arguments, ctypes.c_size_t(ctypes.sizeof(arguments)))
    return number


def _tell_refused(status: int, why: str) -> None:
    try:
        _tell(status, 0)
        _tell(status, 0, f"no process can be started: {why}")
    except BrokenPipeError:  # nobody waits for it any more
        return


def _tell(status: int, number: int, why: str = "") -> None:
    os.write(status, number.to_bytes(_INT_BYTES, sys.byteorder) + os.fsencode(why))


def _be_command(files: Sequence[int]) -> None:
    """Become the command, or report why not; in the copy, which never returns from here."""
    status, *streams = files[:4]
    try:
        _tell(status, os.getpid())
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        _start(_read(files[4]), status, files[5:])
    except BaseException as error:
        _tell(status, 0, str(error) or repr(error))
    finally:  # not one instruction more in a copy of this program, whatever happens
        os._exit(_NEVER)


def _read(file: int) -> Request:
    request: Request = marshal.loads(os.pread(file, os.fstat(file).st_size, 0))  # noqa: S302 - the agent's own
    return request


def _start(request: Request, status: int, namespace: Sequence[int]) -> None:
    paths, words, environ, folder, entries, (number, uid, gid), mounts = request
    os.setsid()
    for place, text in entries:
        _write(place, text)
    if namespace:
        _call("setns", namespace[0], _NEWNS)
    os.chdir(folder)
    _become(number)
    if mounts is not None:
        _make_world(number, uid, gid, mounts)
    for ignored in (_SIGPIPE, _SIGXFSZ):
        _libc.signal(ignored, _DEFAULT)
    _tell(status, _execute(paths, words, environ), "exec")


def _become(number: int) -> None:
    """Become a user for good: without groups or rights, and with no program that gives any."""
    os.setgroups([])
    _drop_bounding()
    os.setresgid(number, number, number)
    os.setresuid(number, number, number)
    _drop_capabilities()
    _call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
    # Otherwise /proc/self would be root's. Now only this user, which has no process, may look in.
    _call("prctl", _SET_DUMPABLE, 1, 0, 0, 0)


def _make_world(number: int, uid: int, gid: int, mounts: Sequence[tuple[bytes, bytes]]) -> None:
    """Put the user into namespaces of its own, in which it is `uid` and `gid`."""
    # Only root mounts, so first it becomes root, in a namespace of its own ...
    _call("unshare", _NEWUSER | _NEWNS | _NEWIPC)
    own = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    _map_ids(own, (0, number), (0, number))
    _mount(None, b"/", _REC | _PRIVATE)
    for source, place in mounts:
        _mount(source, place, _BIND)
    _mount(b"job", _MEMORY, _NOSUID | _NODEV, b"tmpfs", b"mode=1777")
    # ... and then, in an inner namespace that cannot undo that, the second user.
    _call("unshare", _NEWUSER)
    _map_ids(own, (uid, 0), (gid, 0))
    _drop_bounding()
    _drop_capabilities()


def _execute(
    paths: Sequence[bytes], words: tuple[bytes, ...], environ: Mapping[bytes, bytes]
) -> int:
    """Become the first of `paths` that can be started, as execvp(3) does; return errno."""
    refused = errno.ENOENT
    for path in paths:
        try:
            os.execve(path, words, environ)  # noqa: S606
        except OSError as error:
            number = error.errno or 0
        if number == errno.ENOEXEC:  # a script that does not name its shell
            os.execve("/bin/sh", [b"/bin/sh", path, *words[1:]], environ)  # noqa: S606
        if number not in {errno.ENOENT, errno.ENOTDIR, errno.EACCES}:
            return number
        if number == errno.EACCES:
            refused = number
    return refused


def _drop_bounding() -> None:
    capability = 0
    while _libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    if not capability:
        raise PermissionError(errno.EPERM, "no right to give up capabilities")


def _drop_capabilities() -> None:
    """Empty all other sets: what is not permitted cannot be ambient."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    _call("capset", header, (ctypes.c_uint32 * 6)())


def _map_ids(own: int, user: tuple[int, int], group: tuple[int, int]) -> None:
    """Map a user and a group of the outer namespace to ids in here; `own` is /proc/self."""
    texts = {
        "setgroups": b"deny",
        "uid_map": b"%d %d 1" % user,
        "gid_map": b"%d %d 1" % group,
    }
    for name, text in texts.items():
        _write(name, text, own)


def _write(path: str | bytes, text: bytes, folder: int | None = None) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.write(file, text)
    finally:
        os.close(file)


def _mount(
    source: bytes | None,
    target: bytes,
    flags: int,
    kind: bytes | None = None,
    options: bytes | None = None,
) -> None:
    try:
        _call("mount", source, target, kind, ctypes.c_ulong(flags), options)
    except OSError as error:
        raise OSError(error.errno, f"mount: {os.strerror(error.errno or 0)}", target) from None


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    _own = int(sys.argv[1])
    os.set_inheritable(_own, False)  # noqa: FBT003
    serve(_socket.socket(fileno=_own))
