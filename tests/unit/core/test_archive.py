"""Zip files from outside: what is refused, and that nothing gets out of the folder."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize_core import archive
from parallelize_core.errors import UsageError

MEGABYTE = 1_000_000
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a zip of (name, content, mode) entries."""

    def write(*entries: tuple[str, bytes, int]) -> Path:
        path = tmp_path / "environment.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content, mode in entries:
                info = zipfile.ZipInfo(name)
                info.external_attr = mode << 16
                file.writestr(info, content, zipfile.ZIP_DEFLATED)
        return path

    return write


def text(name: str, content: bytes = b"text") -> tuple[str, bytes, int]:
    return name, content, stat.S_IFREG | 0o644


def link(name: str, target: str) -> tuple[str, bytes, int]:
    return name, target.encode(), stat.S_IFLNK | 0o777


def refusal(path: Path, tmp_path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        archive.extract(path, tmp_path / "out", MEGABYTE)
    return str(caught.value)


def test_files_folders_modes_and_links_arrive(make: Make, tmp_path: Path) -> None:
    path = make(
        ("job.sh", b"#!/bin/sh\n", stat.S_IFREG | 0o755),
        ("empty/", b"", stat.S_IFDIR | 0o755),
        text("data/deep/a.txt"),
        link("latest", "data/deep/a.txt"),
        link("data/up", "../job.sh"),
    )
    archive.extract(path, tmp_path / "out", MEGABYTE)
    out = tmp_path / "out"
    assert (out / "empty").is_dir()
    assert (out / "latest").read_bytes() == b"text"
    assert (out / "data/up").resolve() == out / "job.sh"
    assert (out / "job.sh").stat().st_mode & 0o111
    assert not (out / "data/deep/a.txt").stat().st_mode & 0o111


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a//b", "a\nb", "./a"])
def test_a_name_that_is_no_plain_path_is_refused(make: Make, tmp_path: Path, name: str) -> None:
    assert "refused" in refusal(make(text(name)), tmp_path)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "..", "../x", "a/../../x", "b/../..", ""])
def test_a_link_that_leads_out_is_refused(make: Make, tmp_path: Path, target: str) -> None:
    assert "leads out" in refusal(make(link("link", target)), tmp_path)


def test_links_that_lead_out_together_are_refused(make: Make, tmp_path: Path) -> None:
    """Each is harmless by its letters: a/b/c is the folder itself, so a/b/c/.. is above it."""
    path = make(text("a/b/file"), link("a/b/c", "../.."), link("out", "a/b/c/../secret"))
    assert "leads out" in refusal(path, tmp_path)


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join),
            st.lists(st.sampled_from(["a", "b", "c", "..", "."]), min_size=1, max_size=5).map(
                "/".join
            ),
        ),
        max_size=5,
        unique_by=lambda pair: pair[0],
    )
)
def test_no_set_of_links_leads_out(
    tmp_path_factory: pytest.TempPathFactory, links: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("zip")
    path = folder / "environment.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, target in links:
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(info, target)
    out = folder / "out"
    try:
        archive.extract(path, out, MEGABYTE)
    except UsageError:
        return
    for name, _ in links:
        try:
            resolved = (out / name).resolve(strict=False)
        except RuntimeError:  # a circle of links leads nowhere
            continue
        assert resolved.is_relative_to(out)


def test_a_file_below_a_link_is_refused(make: Make, tmp_path: Path) -> None:
    path = make(text("real/file"), link("door", "real"), text("door/evil"))
    assert "both a file and a folder" in refusal(path, tmp_path)


def test_two_entries_of_one_name_are_refused(make: Make, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        path = make(text("a"), text("a", b"other"))
    assert "same name" in refusal(path, tmp_path)


def test_special_files_are_refused(make: Make, tmp_path: Path) -> None:
    assert "special" in refusal(make(("pipe", b"", stat.S_IFIFO | 0o644)), tmp_path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_than_deflate_are_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "environment.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a", b"text")
    assert "deflate" in refusal(path, tmp_path)


def test_a_bomb_is_refused_before_it_is_unpacked(make: Make, tmp_path: Path) -> None:
    assert "allowed" in refusal(make(text("zeros", bytes(MEGABYTE + 1))), tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_bomb_that_lies_about_its_size_is_not_unpacked_beyond_it(
    make: Make, tmp_path: Path
) -> None:
    path = make(text("zeros", bytes(MEGABYTE)))
    honest = MEGABYTE.to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(honest, (10).to_bytes(4, "little")))
    refusal(path, tmp_path)
    assert all(file.stat().st_size <= 10 for file in (tmp_path / "out").iterdir())


@given(st.binary(max_size=300))
def test_garbage_is_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("zip") / "environment.zip"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="cannot be used"):
        archive.read_members(path, MEGABYTE)


def test_a_broken_entry_is_refused(make: Make, tmp_path: Path) -> None:
    path = make(text("a", bytes(range(256))))
    body = bytearray(path.read_bytes())
    body[40:60] = bytes(20)
    path.write_bytes(body)
    assert "cannot be used" in refusal(path, tmp_path)


@given(st.data())
def test_a_zip_with_any_broken_byte_is_unpacked_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("zip")
    path = folder / "environment.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/b.txt", b"text" * 20)
        file.writestr("c.txt", b"more")
    body = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] = data.draw(st.integers(0, 255))
    path.write_bytes(body)
    try:
        archive.extract(path, folder / "out", MEGABYTE)
    except UsageError:
        return
    for found in (folder / "out").rglob("*"):
        assert found.resolve().is_relative_to(folder / "out")
