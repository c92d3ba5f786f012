"""Turns into a command inside an image; a separate program, started once per job.

    enter.py ROOT ENVIRON WORK TMP UID GID NETWORK BIND... -- COMMAND...

ROOT holds the image's unpacked files, ENVIRON is the file with its variables (NAME=VALUE, each
followed by a NUL). WORK is the agent's folder: in the image, only the BINDs of it exist,
`rw:PATH` or `ro:PATH`, each at its usual path. Other BINDs bring files from outside that folder, as
SOURCE, a newline and PLACE: `dev:` is a device node with its PLACE in /dev, and hides all other
GPUs; `file:` is a driver's file with its PLACE in /run/driver, and `link:` another name for one.
TMP becomes /tmp and /var/tmp. The command runs as UID and GID; NETWORK is 1 if it may use the
machine's network, otherwise it has a loopback device only. An empty COMMAND is a trial: it
succeeds if a command could be started.

This process becomes the command, so its process id, exit status and signals are the command's.
Nothing in the image takes effect before the last line: its variables are set, and its files looked
at, only once the machine's own files are out of reach and no capability is left. The kernel
resolves every path in the image, with the image as its root.

It only uses what loads within a few milliseconds.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys
from collections.abc import Mapping, Sequence

_NEWNS, _NEWIPC, _NEWUSER, _NEWNET = 0x20000, 0x8000000, 0x10000000, 0x40000000

_NOSUID, _NODEV, _BIND, _REC, _SLAVE = 2, 4, 4096, 16384, 1 << 19
_DETACH = 2

_MOUNT_SETATTR, _AT_FDCWD, _RECURSIVE, _ATTR_RDONLY, _ATTR_NOSUID = 442, -100, 0x8000, 1, 2
"""https://man7.org/linux/man-pages/man2/mount_setattr.2.html; since Linux 5.12."""

_NO_NEW_PRIVS, _CAPBSET_DROP = 38, 24
_CAPABILITY_VERSION = 0x20080522

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The PATH for an image that sets none: https://github.com/moby/moby, `oci.DefaultPathEnv`."""

_DEVICES = {"null", "zero", "full", "random", "urandom", "tty"}
_GPUS = ("nvidia", "kfd", "dri")
_DRIVER = "/run/driver"
"""Where a driver's files are: nobody may write to the image's own folders."""

_DEVICE_LINKS = {
    "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
}  # fmt: skip

_OF_THE_NETWORK = ("/etc/resolv.conf", "/etc/hosts")
"""What a command with a network shares with the machine."""

_PYTHONS_OWN = "LC_CTYPE"
"""Set by Python itself: https://peps.python.org/pep-0538/."""

TRY_AGAIN, NOT_STARTED, NOT_FOUND = 75, 126, 127
"""75 (EX_TEMPFAIL): the start failed, not the command. The others are a shell's."""

_libc = ctypes.CDLL(None, use_errno=True)


def main(words: Sequence[str]) -> int:
    """Become the command; return an exit code if that fails, or if there is no command."""
    end = words.index("--")
    root, environ, work, tmp, uid, gid, network, *binds = words[:end]
    command = words[end + 1 :]
    try:
        with open(environ, "rb") as file:  # noqa: PTH123 - pathlib takes long to load
            variables = _variables(file.read())
        given = _sorted(binds)
        _enter(root, work, tmp, given, with_network=network == "1")
        _become(int(uid), int(gid))
    except OSError as error:
        return _failed(f"the image cannot be entered: {error}", TRY_AGAIN)
    own = {name: value for name, value in os.environ.items() if name != _PYTHONS_OWN}
    if given["file"]:
        _let_find_driver(variables)
    return _start(command, {**variables, **own}) if command else 0


def _sorted(binds: Sequence[str]) -> dict[str, list[list[str]]]:
    """Return the paths of the BINDs, by kind."""
    given: dict[str, list[list[str]]] = {kind: [] for kind in ("rw", "ro", "dev", "file", "link")}
    for bind in binds:
        kind, _, paths = bind.partition(":")
        given[kind].append(paths.split("\n") if kind not in {"rw", "ro"} else [paths])
    return given


def _let_find_driver(variables: dict[str, str]) -> None:
    """Put the driver's libraries before the image's own, and its programs after them."""
    for name, first in (("LD_LIBRARY_PATH", f"{_DRIVER}/lib"), ("PATH", "")):
        folders = (first, variables.get(name, ""), "" if first else f"{_DRIVER}/bin")
        variables[name] = ":".join(folder for folder in folders if folder)


def _variables(content: bytes) -> dict[str, str]:
    pairs = (os.fsdecode(line).partition("=") for line in content.split(b"\0") if line)
    return {"PATH": _DEFAULT_PATH} | {name: value for name, _, value in pairs}


def _start(command: Sequence[str], environ: Mapping[str, str]) -> int:
    program, refused = command[0], None
    folders = [""] if "/" in program else [f"{folder}/" for folder in environ["PATH"].split(":")]
    for folder in folders:
        try:
            # Not os.execvpe: it would import a module, and the machine's are out of reach.
            os.execve(folder + program, [*command], environ)  # noqa: S606
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            refused = refused or error.strerror
    if refused:
        return _failed(f"{program}: {refused}", NOT_STARTED)
    return _failed(f"{program}: not found in the image", NOT_FOUND)


def _failed(why: str, code: int) -> int:
    os.write(2, f"parallelize: {why}\n".encode(errors="backslashreplace"))
    return code


def _enter(
    root: str, work: str, tmp: str, binds: Mapping[str, list[list[str]]], *, with_network: bool
) -> None:
    """Build the command's namespaces, and leave the machine's for good."""
    here, user, group = os.getcwd(), os.getuid(), os.getgid()  # noqa: PTH109
    texts = {path: _content(path) for path in _OF_THE_NETWORK if with_network}
    _call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("unshare", _NEWUSER | _NEWNS | _NEWIPC | (0 if with_network else _NEWNET))
    _map_ids(0, user, 0, group)
    if not with_network:
        _raise_loopback()
    _mount(None, "/", _REC | _SLAVE)
    shared = {path: _folder(path) for path in ("/proc", "/sys/devices")}
    devices, names = _folder("/dev"), _devices(with_gpus=not binds["dev"])
    temporary = _folder(tmp)
    given = [(mode == "rw", path, _folder(path)) for mode in ("rw", "ro") for [path] in binds[mode]]
    nodes, files = _opened(binds["dev"]), _opened(binds["file"])
    old = _folder("/")
    _mount(root, root, _BIND)
    os.chdir(root)
    # The old root then lies over the new one, and goes once nothing in it is needed any more.
    _call("pivot_root", b".", b".")
    for path, folder in shared.items():
        _bind(folder, path, _REC)
        _make_read_only(path)
    _make_devices(devices, names)
    _show(nodes, "/dev")
    for path in ("/tmp", "/var/tmp"):  # noqa: S108
        _bind(temporary, path)
    _mount_memory("/run", "mode=1777")
    if files:
        _show_driver(files, binds["link"])
    for path, text in texts.items():
        _put_over(path, text)
    _show_work(work, given)
    _make_read_only("/", below=False)
    os.fchdir(old)
    _call("umount2", b".", _DETACH)
    os.chdir(here)


def _devices(*, with_gpus: bool) -> list[str]:
    """Return the names of the existing devices that every command may use."""
    return [name for name in os.listdir("/dev")  # noqa: PTH208
            if name in _DEVICES or (with_gpus and name.startswith(_GPUS))]  # fmt: skip


def _opened(pairs: Sequence[Sequence[str]]) -> list[tuple[int, str, str]]:
    """Return each file's opened folder, its name there, and its place."""
    return [(_folder(source.rpartition("/")[0] or "/"), source.rpartition("/")[2], place)
            for source, place in pairs]  # fmt: skip


def _show(files: Sequence[tuple[int, str, str]], below: str) -> None:
    """Mount the machine's files at those of their places that are below a folder."""
    for folder, name, place in files:
        target = place if place.startswith("/") else f"{below}/{place}"
        if not target.startswith(f"{below}/") or "/../" in target:
            continue
        os.makedirs(target.rpartition("/")[0], exist_ok=True)  # noqa: PTH103
        os.close(os.open(target, os.O_CREAT | os.O_CLOEXEC))
        os.fchdir(folder)
        _mount(name, target, _BIND)


def _show_driver(files: Sequence[tuple[int, str, str]], links: Sequence[Sequence[str]]) -> None:
    _show(files, _DRIVER)
    for target, place in links:
        os.symlink(target, f"{_DRIVER}/{place}")  # noqa: PTH211
    _mount(_DRIVER, _DRIVER, _BIND | _REC)
    _make_read_only(_DRIVER)


def _make_devices(devices: int, names: Sequence[str]) -> None:
    _mount_memory("/dev", "mode=755,size=1m")
    for name in names:
        target = f"/dev/{name}"
        os.fchdir(devices)
        if os.path.isdir(name):  # noqa: PTH112
            os.mkdir(target)  # noqa: PTH102
        else:
            os.close(os.open(target, os.O_CREAT | os.O_CLOEXEC))
        _mount(name, target, _BIND | _REC)
    for folder in ("/dev/pts", "/dev/shm"):  # noqa: S108
        os.mkdir(folder)  # noqa: PTH102
    _mount("devpts", "/dev/pts", _NOSUID, "devpts", "newinstance,ptmxmode=0666,mode=620")
    _mount_memory("/dev/shm", "mode=1777")  # noqa: S108
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"/dev/{name}")  # noqa: PTH211


def _show_work(work: str, given: Sequence[tuple[bool, str, int]]) -> None:
    """Mount the parts of the agent's folder that the command may see."""
    os.makedirs(work, exist_ok=True)  # noqa: PTH103
    _mount_memory(work, "mode=755,size=1m")
    for _, path, _ in given:
        os.makedirs(path, exist_ok=True)  # noqa: PTH103
    for writable, path, folder in given:
        _bind(folder, path)
        if not writable:
            _make_read_only(path)
    _make_read_only(work, below=False)


def _put_over(path: str, content: bytes) -> None:
    """Replace the content of a file of the image."""
    own = f"/run/{os.path.basename(path)}"  # noqa: PTH119
    with open(own, "wb") as file:  # noqa: PTH123
        file.write(content)
    _mount(own, path, _BIND)


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read()
    except FileNotFoundError:
        return b""


def _become(uid: int, gid: int) -> None:
    """Become a user that cannot undo any of this, with the number that the command sees."""
    _call("unshare", _NEWUSER)
    _map_ids(uid, 0, gid, 0)
    capability = 0
    while _libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    _call("capset", header, (ctypes.c_uint32 * 6)())


def _map_ids(uid: int, outer_uid: int, gid: int, outer_gid: int) -> None:
    status = _own_status()
    texts = {
        "setgroups": "deny",
        "uid_map": f"{uid} {outer_uid} 1",
        "gid_map": f"{gid} {outer_gid} 1",
    }
    for name, text in texts.items():
        descriptor = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=status)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


_status: list[int] = []


def _own_status() -> int:
    """Return this process's folder in /proc, opened once and writable from then on."""
    if not _status:
        _status.append(_folder("/proc/self"))
    return _status[0]


def _raise_loopback() -> None:
    """Bring up the loopback device, which exists but is down."""
    descriptor = _libc.socket(2, 2, 0)  # AF_INET, SOCK_DGRAM
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "no socket for the loopback device")
    request = b"lo".ljust(16, b"\0") + _IFF_UP.to_bytes(2, sys.byteorder) + bytes(22)
    try:
        fcntl.ioctl(descriptor, _SIOCSIFFLAGS, request)
    finally:
        os.close(descriptor)


def _folder(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _bind(folder: int, target: str, flags: int = 0) -> None:
    os.fchdir(folder)
    _mount(".", target, _BIND | flags)


def _mount_memory(path: str, options: str) -> None:
    _mount("tmpfs", path, _NOSUID | _NODEV, "tmpfs", options)


def _make_read_only(path: str, *, below: bool = True) -> None:
    """Make a folder read-only, and everything `below` it; set-user-ID bits have no effect."""
    attributes = (ctypes.c_uint64 * 4)(_ATTR_RDONLY | _ATTR_NOSUID)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    target = os.fsencode(path)
    _call("syscall", _MOUNT_SETATTR, _AT_FDCWD, target, _RECURSIVE * below, attributes, size)


def _mount(
    source: str | None, target: str, flags: int, kind: str | None = None, options: str = ""
) -> None:
    encoded = (text and os.fsencode(text) for text in (source, target, kind))
    try:
        _call("mount", *encoded, ctypes.c_ulong(flags), options.encode() or None)
    except OSError as error:
        raise OSError(error.errno, f"{target}: {os.strerror(error.errno or 0)}") from None


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
