"""What a hostile image may hold, and what becomes of it: unpacking harms nothing outside."""

from __future__ import annotations

import gzip
import io
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.functional.container.images import (
    entry,
    folder,
    hard_link,
    layer,
    link,
    needs_root,
    needs_zstd,
    zstd,
)

from parallelize_agent.container import unpack
from parallelize_agent.process.job_users import JobUsers
from parallelize_agent.process.world import COMMANDS, Start, World

Unpack = Callable[..., subprocess.CompletedProcess[str]]

WORK = "/var/lib/parallelize"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder that an image is unpacked into; beside it lies what is nobody's business."""
    (tmp_path / "secret").write_text("untouched")
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def unpacked(root: Path) -> Unpack:
    """Unpack layers as the agent does."""

    def run(
        *layers: bytes, max_bytes: int = 10**8, max_entries: int = 1000
    ) -> subprocess.CompletedProcess[str]:
        files = []
        for number, content in enumerate(layers):
            path = root.parent / f"layer{number}"
            path.write_bytes(content)
            files.append(str(path))
        words = [unpack.__file__, str(root), str(max_bytes), str(max_entries), WORK, *files]
        return subprocess.run(
            [sys.executable, "-I", "-S", *words],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    return run


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done
    assert done.stderr.startswith("error: ")
    return done.stderr


def names(root: Path) -> set[str]:
    """Return all that is there, but for the places that every image gets."""
    made = {"proc", "dev", "sys", "tmp", "var", "run", "etc"}
    return {str(path.relative_to(root)) for path in root.rglob("*")
            if path.relative_to(root).parts[0] not in made}  # fmt: skip


def test_layers_are_put_over_each_other(root: Path, unpacked: Unpack) -> None:
    low = layer(folder("app"), entry("app/a", b"low"), entry("app/b", b"low"))
    high = layer(entry("app/b", b"high", mode=0o755), link("app/c", "b"))
    unpacked(low, high).check_returncode()
    assert (root / "app/a").read_text() == "low"
    assert (root / "app/c").read_text() == "high"
    assert os.access(root / "app/b", os.X_OK)


def test_a_whiteout_hides_what_lower_layers_have(root: Path, unpacked: Unpack) -> None:
    low = layer(entry("app/gone", b"x"), entry("app/stays", b"x"), entry("old/deep/x", b"x"))
    high = layer(entry("app/.wh.gone"), entry(".wh.old"))
    unpacked(low, high).check_returncode()
    assert names(root) == {"app", "app/stays"}


def test_an_opaque_folder_hides_all_of_lower_layers_and_nothing_of_its_own(
    root: Path, unpacked: Unpack
) -> None:
    low = layer(entry("app/gone", b"x"))
    high = layer(entry("app/own", b"x"), entry("app/.wh..wh..opq"), entry("app/later", b"x"))
    unpacked(low, high).check_returncode()
    assert names(root) == {"app", "app/own", "app/later"}


@pytest.mark.parametrize("name", [".wh..", ".wh...", ".wh.", "app/.wh..", "../.wh.secret"])
def test_a_whiteout_of_nothing_or_of_what_is_outside_removes_nothing(
    root: Path, unpacked: Unpack, name: str
) -> None:
    unpacked(layer(entry("app/a", b"x")), layer(entry(name))).check_returncode()
    assert (root / "app/a").exists()
    assert (root.parent / "secret").read_text() == "untouched"


@pytest.mark.parametrize(
    "name", ["../secret", "../../{tmp}/secret", "{tmp}/secret", "a/../../secret"]
)
def test_a_name_cannot_lead_out(root: Path, unpacked: Unpack, name: str) -> None:
    unpacked(layer(entry(name.format(tmp=root.parent), b"overwritten"))).check_returncode()
    assert (root.parent / "secret").read_text() == "untouched"


@pytest.mark.parametrize("target", ["..", "../..", "/", "{tmp}"])
def test_a_link_cannot_lead_out(root: Path, unpacked: Unpack, target: str) -> None:
    """A later entry, or a later layer, is written through the link of an earlier one."""
    way_out = link("way", target.format(tmp=root.parent))
    unpacked(layer(way_out), layer(entry("way/secret", b"overwritten"), entry("way/.wh.secret")))
    assert (root.parent / "secret").read_text() == "untouched"


def test_a_hard_link_cannot_lead_out(root: Path, unpacked: Unpack) -> None:
    done = unpacked(layer(hard_link("mine", f"../..{root.parent}/secret"), entry("mine", b"no")))
    assert "No such file" in refused(done)
    assert (root.parent / "secret").read_text() == "untouched"


def test_a_link_to_a_file_is_replaced_and_not_written_through(root: Path, unpacked: Unpack) -> None:
    low = layer(entry("kept", b"kept"), link("name", "kept"))
    unpacked(low, layer(entry("name", b"new"))).check_returncode()
    assert (root / "kept").read_text() == "kept"
    assert (root / "name").read_text() == "new"


def test_hard_links_within_the_image_are_links(root: Path, unpacked: Unpack) -> None:
    unpacked(layer(entry("a", b"x"), hard_link("b", "a"))).check_returncode()
    assert (root / "a").stat().st_ino == (root / "b").stat().st_ino


def test_set_user_id_bits_devices_and_pipes_are_left_out(root: Path, unpacked: Unpack) -> None:
    device = entry("disk", type=tarfile.BLKTYPE, devmajor=8, devminor=0, mode=0o666)
    memory = entry("memory", type=tarfile.CHRTYPE, devmajor=1, devminor=1, mode=0o666)
    pipe = entry("pipe", type=tarfile.FIFOTYPE)
    su = entry("su", b"#!/bin/sh", mode=0o6755)
    unpacked(layer(device, memory, pipe, su, folder("d", 0o7777))).check_returncode()
    assert names(root) == {"su", "d"}
    assert stat.S_IMODE((root / "su").stat().st_mode) == 0o555
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o755


def test_no_file_has_another_owner_and_all_can_be_read(root: Path, unpacked: Unpack) -> None:
    unpacked(layer(entry("a", b"x", uid=0, gid=0, mode=0o600), entry("b", b"", uid=4242, mode=0)))
    for name in "ab":
        status = (root / name).stat()
        assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
        assert stat.S_IMODE(status.st_mode) == 0o444


def test_a_bomb_of_zeros_ends_at_the_limit(root: Path, unpacked: Unpack) -> None:
    bomb = layer(entry("zeros", bytes(50_000_000)))
    assert len(bomb) < 100_000
    assert "more than the 1,000,000 bytes" in refused(unpacked(bomb, max_bytes=1_000_000))
    assert not (root / "zeros").exists()


def test_a_sparse_file_counts_as_what_it_unpacks_to(root: Path, unpacked: Unpack) -> None:
    header = tarfile.TarInfo("sparse")
    header.pax_headers = {
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "sparse",
        "GNU.sparse.realsize": str(10**15),
    }  # fmt: skip
    header.size = 512
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(header, io.BytesIO(b"0\n".ljust(512, b"\0")))
    assert "bytes" in refused(unpacked(buffer.getvalue()))


def test_millions_of_files_end_at_the_limit(root: Path, unpacked: Unpack) -> None:
    many = layer(*(entry(f"f{number}") for number in range(200)))
    assert "more than 100 files" in refused(unpacked(many, max_entries=100))


def test_a_header_that_wants_all_memory_is_refused(root: Path, unpacked: Unpack) -> None:
    """The size of a header's text is believed by a program that reads it whole."""
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 2 * unpack.MEMORY_BYTES
    zeros = gzip.compress(bytes(16 * 1024**2))
    bomb = gzip.compress(info.tobuf(tarfile.GNU_FORMAT)) + zeros * (info.size // 1024**2 // 16)
    assert "memory" in refused(unpacked(bomb))


def test_a_size_below_nothing_does_not_make_room(root: Path, unpacked: Unpack) -> None:
    info = entry("less")[0]
    start = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    start[124:136] = b"\xff" + (-(10**9)).to_bytes(11, "big", signed=True)
    start[148:156] = b"%06o\0 " % sum(start[:148] + b" " * 8 + start[156:])
    assert "'/less' is incomplete" in refused(unpacked(bytes(start) + bytes(1024)))


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "empty file"), (b"no archive", "truncated header"),
     (gzip.compress(b"no archive"), "truncated header"),
     (layer(entry("a", b"x" * 5000))[:-40], "file ended before"),
     (b"\x28\xb5\x2f\xfd" + bytes(100), "a layer is incomplete")],
    ids=["empty", "garbage", "packed garbage", "broken off", "begins as zstd"],
)  # fmt: skip
def test_a_layer_that_is_none_is_refused(unpacked: Unpack, content: bytes, why: str) -> None:
    assert why in refused(unpacked(content))


@needs_zstd
@pytest.mark.parametrize("flags", [["-3"], ["-19", "--long=27"], ["--fast=5", "--no-check"]])
def test_a_layer_compressed_with_zstd_is_unpacked(
    root: Path, unpacked: Unpack, flags: list[str]
) -> None:
    content = os.urandom(3 * 10**6) + bytes(10**6)
    packed = zstd(layer(folder("d"), entry("d/a", content), compressed=False), *flags)
    unpacked(layer(entry("b", b"y")), packed, layer(entry("c", b"z"))).check_returncode()
    assert (root / "d/a").read_bytes() == content
    assert names(root) == {"d", "d/a", "b", "c"}


@needs_zstd
def test_several_frames_of_zstd_with_some_to_be_skipped_are_one_layer(
    root: Path, unpacked: Unpack
) -> None:
    """As `zstd:chunked` and pzstd write it."""
    whole = layer(entry("a", b"x" * 5000), compressed=False)
    skipped = b"\x50\x2a\x4d\x18" + (7).to_bytes(4, "little") + b"ignored"
    unpacked(skipped + zstd(whole[:700]) + skipped + zstd(whole[700:]) + skipped).check_returncode()
    assert (root / "a").read_bytes() == b"x" * 5000


@needs_zstd
def test_a_layer_of_zstd_that_breaks_off_anywhere_is_refused(unpacked: Unpack) -> None:
    packed = zstd(layer(entry("a", os.urandom(300_000)), compressed=False))
    for length in (5, 17, 1000, len(packed) // 2, len(packed) - 20, len(packed) - 5):
        assert "Traceback" not in refused(unpacked(packed[:length])), length


@needs_zstd
def test_a_layer_of_zstd_that_was_changed_is_refused(unpacked: Unpack) -> None:
    packed = bytearray(zstd(layer(entry("a", os.urandom(300_000)), compressed=False)))
    packed[-1] ^= 1
    assert "checksum" in refused(unpacked(bytes(packed)))


@needs_zstd
def test_a_bomb_of_zstd_is_refused_before_it_fills_the_disk(root: Path, unpacked: Unpack) -> None:
    packed = zstd(layer(entry("a", bytes(10**9)), compressed=False))
    assert len(packed) < 10**5
    assert "more than the 1,000,000 bytes" in refused(unpacked(packed, max_bytes=10**6))
    assert names(root) == set()


@needs_zstd
def test_a_header_in_zstd_that_wants_all_memory_is_refused(unpacked: Unpack) -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 2 * unpack.MEMORY_BYTES
    assert "memory" in refused(unpacked(zstd(info.tobuf(tarfile.GNU_FORMAT) + bytes(info.size))))


@needs_zstd
def test_a_layer_of_zstd_that_wants_all_memory_is_refused(unpacked: Unpack) -> None:
    content = layer(entry("a", os.urandom(10**5)), compressed=False) + bytes(2**28)
    packed = zstd(content, "--long=31")
    assert "too much memory" in refused(unpacked(packed))


def test_a_layer_whose_last_block_is_not_filled_is_whole(root: Path, unpacked: Unpack) -> None:
    """As umoci writes it, and others read it."""
    whole = layer(entry("a", b"x" * 600), compressed=False)
    start = whole.index(b"x" * 600)
    unpacked(whole[: start + 600]).check_returncode()
    assert (root / "a").read_bytes() == b"x" * 600


def test_a_file_that_is_not_whole_is_refused(unpacked: Unpack) -> None:
    whole = layer(entry("a", b"x" * 600), compressed=False)
    start = whole.index(b"x" * 600)
    assert "unexpected end of data" in refused(unpacked(whole[: start + 599]))


@pytest.mark.parametrize(
    "entries",
    [
        [link("tmp", "/etc"), link("var", "{tmp}"), link("proc", "..")],
        [entry("tmp", b"file"), entry("dev", b"file"), entry("var/lib", b"file")],
        [link("etc/resolv.conf", "{tmp}/secret"), folder("etc/hosts")],
        [link("var", "run"), link("run", "var")],
    ],
    ids=["links", "files", "inside etc", "circle"],
)
def test_what_is_mounted_over_is_a_real_folder_or_file_whatever_the_image_has(
    root: Path, unpacked: Unpack, entries: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    for info, _ in entries:
        info.linkname = info.linkname.format(tmp=root.parent)
    unpacked(layer(*entries)).check_returncode()
    for name in ("proc", "dev", "sys/devices", "tmp", "var/tmp", "run", "var/lib/parallelize"):
        assert stat.S_ISDIR((root / name).lstat().st_mode), name
    for name in ("etc/resolv.conf", "etc/hosts"):
        assert stat.S_ISREG((root / name).lstat().st_mode), name
    assert (root.parent / "secret").read_text() == "untouched"


@needs_root
def test_it_is_done_with_the_rights_of_a_job(machine: Path) -> None:
    """As on a machine of the image: not even a fault of the unpacking could reach the agent."""
    user = JobUsers.named("daemon").take()
    (machine / "layer").write_bytes(layer(entry("a", b"x"), entry("su", b"", mode=0o4755)))
    for name in ("root", "tmp"):
        (machine / name).mkdir()
        os.chown(machine / name, user.number, user.number)
    words = [unpack.__file__, f"{machine}/root", "1000", "10", WORK, f"{machine}/layer"]
    start = Start(
        (sys.executable, "-I", "-S", *words), machine, {}, World.of_job(user, machine / "tmp")
    )
    with COMMANDS.start(start) as child:
        assert child.reap()[0] == 0
    assert (machine / "root" / "a").stat().st_uid == user.number
