"""Unpacks the layers of an image; a separate program, with even fewer rights than a job.

    unpack.py ROOT MAX_BYTES MAX_ENTRIES WORK LAYER...

Each LAYER is a tar file, uncompressed or compressed with gzip or zstd, lowest first. The process
makes ROOT its root before it reads the first one, in a namespace without a network: whatever `..`,
links or absolute names are in the layers, the kernel finds nothing outside. It is an ordinary user,
so nothing gets another owner; devices, pipes and sockets are left out, and so are set-user-ID bits.
All files are readable by everybody, because all jobs share them, and writable by nobody else.

Names and whiteouts: https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

from __future__ import annotations

import bz2
import ctypes
import errno
import functools
import gzip
import io
import lzma
import os
import posixpath
import resource
import shutil
import stat
import sys
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

_NEWNS, _NEWUSER, _NEWNET = 0x20000, 0x10000000, 0x40000000

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"

MEMORY_BYTES = 512 * 1024**2
"""Headers of a tar file are read whole, whatever size they claim."""

COPY_BYTES = 256 * 1024

_FOLDERS = ("proc", "dev", "sys", "sys/devices", "tmp", "var", "var/tmp", "run", "etc")
_FILES = ("etc/resolv.conf", "etc/hosts")
"""`enter` mounts over these: they must exist, and not be links."""


class BadImageError(Exception):
    """The image cannot be unpacked on any machine."""


class Budget:
    """What is left of the limits for one image."""

    def __init__(self, max_bytes: int, max_entries: int) -> None:
        self._max_bytes, self._max_entries = max_bytes, max_entries
        self._bytes = self._entries = 0

    def take(self, size: int) -> None:
        """Count one more entry; raise BadImageError beyond the limits."""
        self._bytes += size
        self._entries += 1
        if self._bytes > self._max_bytes:
            raise BadImageError(
                f"it unpacks to more than the {self._max_bytes:,} bytes allowed here"
            )
        if self._entries > self._max_entries:
            raise BadImageError(f"it has more than {self._max_entries:,} files")


class Layer:
    """One layer while it is unpacked into this process's root folder."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._own: set[str] = set()
        """What this layer has created: its whiteouts only remove from lower ones."""

    def apply(self, archive: tarfile.TarFile) -> None:
        """Apply the entries in order."""
        while (entry := _next(archive)) is not None:
            self._budget.take(entry.size if entry.isreg() else 0)
            path = posixpath.normpath("/" + entry.name).replace("//", "/")
            if path != "/":
                self._apply(archive, entry, path)
            # It would remember every entry, for reading one again.
            archive.members = []  # type: ignore[attr-defined]

    def _apply(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, path: str) -> None:
        folder, name = posixpath.split(path)
        if name == OPAQUE:
            self._hide_all(folder)
        elif name.startswith(WHITEOUT):
            self._hide(folder, name.removeprefix(WHITEOUT))
        elif entry.isdir() or entry.isreg() or entry.issym() or entry.islnk():
            self._make_room(path, entry)
            self._make(archive, entry, path)
            self._own.add(path)

    def _hide_all(self, folder: str) -> None:
        if os.path.isdir(folder):  # noqa: PTH112
            for name in os.listdir(folder):  # noqa: PTH208
                self._hide(folder, name)

    def _hide(self, folder: str, name: str) -> None:
        path = posixpath.join(folder, name)
        if name not in {"", ".", ".."} and path not in self._own:
            _remove(path)

    def _make_room(self, path: str, entry: tarfile.TarInfo) -> None:
        os.makedirs(posixpath.dirname(path), mode=0o755, exist_ok=True)  # noqa: PTH103
        if not (entry.isdir() and _is_folder(path)):
            _remove(path)

    def _make(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, path: str) -> None:
        if entry.isdir():
            os.makedirs(path, mode=0o755, exist_ok=True)  # noqa: PTH103
        elif entry.issym():
            os.symlink(entry.linkname, path)  # noqa: PTH211
        elif entry.islnk():
            os.link(posixpath.normpath("/" + entry.linkname), path, follow_symlinks=False)
        else:
            content = archive.extractfile(entry)
            assert content  # noqa: S101 - it is a regular file
            with content:
                _write(path, content, entry)


def _next(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    """Return the next entry, or None after the last.

    The last may lack the zeros that should fill its block, as umoci writes it; its content
    has been read completely by then.
    """
    try:
        return archive.next()
    except tarfile.ReadError:
        if archive.offset == 0:
            raise
        return None


def _write(path: str, content: IO[bytes], entry: tarfile.TarInfo) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123
        shutil.copyfileobj(content, file, COPY_BYTES)
        if file.tell() != entry.size:
            raise BadImageError(f"{path!a} is incomplete")
        os.fchmod(descriptor, 0o555 if entry.mode & 0o111 else 0o444)
        with suppress(OverflowError, OSError):  # a time that this system cannot represent
            os.utime(descriptor, (entry.mtime, entry.mtime))


def _remove(path: str) -> None:
    if _is_folder(path):
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def make_places(work: str) -> None:
    """Create the mount points for `enter`: real folders, and two real files."""
    parts = Path(work).parts[1:]
    for folder in (*_FOLDERS, *("/".join(parts[: n + 1]) for n in range(len(parts)))):
        if not _is_folder(f"/{folder}"):
            _remove(f"/{folder}")
            os.mkdir(f"/{folder}", mode=0o755)  # noqa: PTH102
    for name in _FILES:
        if not stat.S_ISREG(os.lstat(f"/{name}").st_mode) if os.path.lexists(f"/{name}") else True:
            _remove(f"/{name}")
            os.close(os.open(f"/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444))


def _enter(root: str) -> None:
    """Enter namespaces in which only the folder is left."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_NEWUSER | _NEWNS | _NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "this machine allows no user namespaces")
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny", encoding="ascii")
    (own / "uid_map").write_text(f"0 {user} 1", encoding="ascii")
    (own / "gid_map").write_text(f"0 {group} 1", encoding="ascii")
    os.chroot(root)
    os.chdir("/")


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer: an address, a length, and how much of it was used."""

    _fields_ = (("address", ctypes.c_void_p), ("size", ctypes.c_size_t), ("at", ctypes.c_size_t))


@functools.cache
def _zstd() -> ctypes.CDLL:
    """Load the library with which Debian's dpkg and RPM themselves read packages."""
    try:
        library = ctypes.CDLL("libzstd.so.1")
    except OSError:
        raise BadImageError(
            "a layer is compressed with zstd, and this machine has no libzstd.so.1"
        ) from None
    library.ZSTD_createDStream.restype = ctypes.c_void_p
    library.ZSTD_freeDStream.argtypes = (ctypes.c_void_p,)
    library.ZSTD_decompressStream.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    library.ZSTD_decompressStream.restype = ctypes.c_size_t
    library.ZSTD_isError.argtypes = library.ZSTD_getErrorName.argtypes = (ctypes.c_size_t,)
    library.ZSTD_getErrorName.restype = ctypes.c_char_p
    return library


class ZstdFile(io.RawIOBase):
    """The content of a file compressed with zstd, in one frame or several.

    A frame that needs more than 128 MiB of memory is refused, which is the library's own limit.
    https://facebook.github.io/zstd/zstd_manual.html
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._library = file, _zstd()
        self._stream = self._library.ZSTD_createDStream()
        self._packed, self._in = b"", _Buffer(None, 0, 0)
        self._in_frame = False

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as one step does; 0 at the end, EOFError if that comes early."""
        memory = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        out = _Buffer(ctypes.addressof(memory), len(buffer), 0)
        while not out.at:
            is_end = self._in.at == self._in.size and not self._fetched()
            if is_end and not self._in_frame:
                return 0
            self._step(out)
            # Earlier input may still be held back.
            if is_end and not out.at:
                raise EOFError("a layer is incomplete")
        return int(out.at)

    def _step(self, out: _Buffer) -> None:
        pointers = ctypes.byref(out), ctypes.byref(self._in)
        left = self._library.ZSTD_decompressStream(self._stream, *pointers)
        if self._library.ZSTD_isError(left):
            why = self._library.ZSTD_getErrorName(left).decode()
            raise BadImageError(f"a layer is broken: {why}")
        self._in_frame = left > 0

    def _fetched(self) -> bool:
        self._packed = self._file.read(COPY_BYTES)
        address = ctypes.cast(ctypes.c_char_p(self._packed), ctypes.c_void_p)
        self._in = _Buffer(address, len(self._packed), 0)
        return bool(self._packed)

    def close(self) -> None:
        """Free the library's memory."""
        if not self.closed:
            self._library.ZSTD_freeDStream(self._stream)
        super().close()


def _is_zstd(magic: bytes) -> bool:
    """Whether this begins a frame, or one to be skipped: pzstd begins with one."""
    is_skipped = magic[1:4] == b"\x2a\x4d\x18" and magic[0] >> 4 == 5
    return magic[:4] == b"\x28\xb5\x2f\xfd" or is_skipped


def _uncompressed(file: IO[bytes]) -> IO[bytes]:
    magic = file.read(6)
    file.seek(0)
    if _is_zstd(magic):
        return ZstdFile(file)  # type: ignore[return-value]
    return gzip.GzipFile(fileobj=file) if magic[:2] == b"\x1f\x8b" else file  # type: ignore[return-value]


def _opened(files: Sequence[IO[bytes]]) -> Iterator[tarfile.TarFile]:
    for file in files:
        with _uncompressed(file) as reader:
            yield tarfile.open(fileobj=reader, mode="r|", bufsize=COPY_BYTES, errorlevel=2)  # noqa: SIM115


def unpack(root: str, budget: Budget, work: str, layers: Sequence[str]) -> None:
    """Unpack all layers; raise BadImageError or OSError if that fails."""
    os.umask(0o022)
    files = [open(layer, "rb") for layer in layers]  # noqa: PTH123, SIM115 - out of reach below
    if any(_is_zstd(os.pread(file.fileno(), 4, 0)) for file in files):
        _zstd()  # so is this
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    _enter(root)
    for archive in _opened(files):
        Layer(budget).apply(archive)
    make_places(work)


def main(words: Sequence[str]) -> int:
    """Unpack according to the arguments; return an exit code, with the error on stderr."""
    root, max_bytes, max_entries, work, *layers = words
    try:
        unpack(root, Budget(int(max_bytes), int(max_entries)), work, layers)
    except (BadImageError, tarfile.TarError, EOFError, zlib.error, ValueError) as error:
        return _failed(str(error))
    except MemoryError:
        return _failed(f"its headers need more than {MEMORY_BYTES:,} bytes of memory")
    except OSError as error:
        full = " (increase workers.disk)" if error.errno == errno.ENOSPC else ""
        return _failed(f"{error}{full}")
    return 0


def _failed(why: str) -> int:
    os.write(2, f"error: {why}\n".encode(errors="backslashreplace"))
    return 1


# tarfile loads these when it needs them, and then they are out of reach.
_LOADED = (bz2, lzma)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
