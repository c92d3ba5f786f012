import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parallelize.project import PROJECT_FILE
from parallelize.runs.environment.environment_zip import (
    LARGE_BYTES,
    check_zip,
    zip_folder,
    zip_remarks,
)
from parallelize.runs.environment.stored_once import MAX_FILES, listed
from parallelize.runs.files.download_record import RECORD
from parallelize.runs.files.written import WRITTEN
from parallelize_core import archive
from parallelize_core.errors import UsageError

NAMES = st.text(alphabet="abcäöü -._", min_size=1, max_size=12).filter(
    lambda name: name.strip(".") and name not in {".parallelizeignore", ".parallelize"}
)


def environment(folder: Path) -> Path:
    env = folder / "env"
    (env / "lib").mkdir(parents=True)
    (env / "job.sh").write_text("#!/bin/sh\n")
    (env / "job.sh").chmod(0o755)
    (env / "lib" / "data.txt").write_text("data")
    (env / "empty").mkdir()
    return env


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as opened:
        return opened.namelist()


def test_the_same_folder_gives_the_same_bytes_whenever_it_is_zipped(tmp_path: Path) -> None:
    first, second = tmp_path / "1.zip", tmp_path / "2.zip"
    env = environment(tmp_path)
    zip_folder(env, first)
    os.utime(env / "job.sh", (0, 1_000_000_000))
    (env / "lib" / "data.txt").unlink()
    (env / "lib" / "data.txt").write_text("data")
    zip_folder(env, second)
    assert first.read_bytes() == second.read_bytes()


def packed_by(path: Path) -> set[int]:
    with zipfile.ZipFile(path) as opened:
        return {info.compress_type for info in opened.infolist()}


def test_what_is_sent_file_by_file_is_packed_once_and_not_in_the_zip_as_well(
    tmp_path: Path,
) -> None:
    env = environment(tmp_path)
    zip_folder(env, tmp_path / "small.zip")
    assert packed_by(tmp_path / "small.zip") == {zipfile.ZIP_DEFLATED}
    with (env / "model.bin").open("wb") as model:
        model.truncate(LARGE_BYTES)
    zip_folder(env, tmp_path / "large.zip")
    assert packed_by(tmp_path / "large.zip") == {zipfile.ZIP_STORED}
    assert listed(tmp_path / "large.zip")


def test_a_large_folder_of_too_many_files_is_one_packed_zip(tmp_path: Path) -> None:
    env = environment(tmp_path)
    with (env / "model.bin").open("wb") as model:
        model.truncate(LARGE_BYTES)
    for number in range(MAX_FILES):
        (env / f"{number}").touch()
    zip_folder(env, tmp_path / "many.zip")
    assert packed_by(tmp_path / "many.zip") == {zipfile.ZIP_DEFLATED}


@pytest.mark.parametrize("change", ["mode", "content", "name"])
def test_another_mode_content_or_name_gives_other_bytes(tmp_path: Path, change: str) -> None:
    env = environment(tmp_path)
    zip_folder(env, tmp_path / "1.zip")
    if change == "mode":
        (env / "job.sh").chmod(0o644)
    elif change == "content":
        (env / "job.sh").write_text("#!/bin/bash\n")
    else:
        (env / "job.sh").rename(env / "job2.sh")
    zip_folder(env, tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() != (tmp_path / "2.zip").read_bytes()


def test_what_a_worker_unpacks_is_the_folder(tmp_path: Path) -> None:
    env = environment(tmp_path)
    zip_folder(env, tmp_path / "z.zip")
    archive.extract(tmp_path / "z.zip", tmp_path / "out", 10**6)
    assert (tmp_path / "out/lib/data.txt").read_text() == "data"
    assert (tmp_path / "out/empty").is_dir()
    assert stat.S_IMODE((tmp_path / "out/job.sh").stat().st_mode) & 0o100


def test_a_link_is_stored_as_what_it_points_to(tmp_path: Path) -> None:
    env = environment(tmp_path)
    (tmp_path / "outside.txt").write_text("outside")
    (env / "file").symlink_to(tmp_path / "outside.txt")
    (env / "more").symlink_to(env / "lib")
    zip_folder(env, tmp_path / "z.zip")
    with zipfile.ZipFile(tmp_path / "z.zip") as opened:
        assert opened.read("file") == b"outside"
        assert opened.read("more/data.txt") == b"data"


def test_ignored_files_stay_here(tmp_path: Path) -> None:
    env = environment(tmp_path)
    (env / ".parallelizeignore").write_text("# caches\n*.pyc\n/lib/\n!keep.pyc\n")
    for name in ("a.pyc", "keep.pyc"):
        (env / name).touch()
    zip_folder(env, tmp_path / "z.zip")
    assert names(tmp_path / "z.zip") == ["empty/", "job.sh", "keep.pyc"]


def test_what_is_ours_stays_here_whatever_the_user_ignores(tmp_path: Path) -> None:
    env = environment(tmp_path)
    ours = (PROJECT_FILE, f"{PROJECT_FILE}.new", RECORD, f"a{RECORD}", WRITTEN)
    for name in ours:
        (env / name).touch()
        (env / "lib" / name).touch()
    zip_folder(env, tmp_path / "z.zip")
    (env / ".parallelizeignore").write_text("".join(f"!{name}\n" for name in ours))
    zip_folder(env, tmp_path / "other.zip")
    assert names(tmp_path / "z.zip") == names(tmp_path / "other.zip")
    assert [name for name in names(tmp_path / "z.zip") if "/" not in name] == ["job.sh"]
    assert {f"lib/{name}" for name in ours} < set(names(tmp_path / "z.zip"))


def test_an_ignored_link_need_not_lead_anywhere(tmp_path: Path) -> None:
    env = environment(tmp_path)
    (env / "gone").symlink_to("/nonexistent")
    with pytest.raises(UsageError, match="gone: No such file"):
        zip_folder(env, tmp_path / "z.zip")
    (env / ".parallelizeignore").write_text("/gone\n")
    zip_folder(env, tmp_path / "z.zip")


def test_a_link_in_a_circle_is_refused(tmp_path: Path) -> None:
    env = environment(tmp_path)
    (env / "lib" / "up").symlink_to(env)
    with pytest.raises(UsageError, match="links to a folder that contains it"):
        zip_folder(env, tmp_path / "z.zip")


def test_a_missing_environment_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        zip_folder(tmp_path / "env", tmp_path / "z.zip")
    with pytest.raises(UsageError, match="does not exist"):
        check_zip(tmp_path / "env.zip")


def test_the_workers_own_name_is_refused(tmp_path: Path) -> None:
    env = environment(tmp_path)
    (env / ".parallelize").mkdir()
    with pytest.raises(UsageError, match=r'cannot hold "\.parallelize"'):
        zip_folder(env, tmp_path / "z.zip")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(contents=st.dictionaries(NAMES, st.binary(max_size=200), max_size=6))
def test_any_folder_survives_the_way_to_a_worker(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("env")
    for name, content in contents.items():
        (folder / "env").mkdir(exist_ok=True)
        (folder / "env" / name).write_bytes(content)
    (folder / "env").mkdir(exist_ok=True)
    zip_folder(folder / "env", folder / "z.zip")
    check_zip(folder / "z.zip")
    archive.extract(folder / "z.zip", folder / "out", 10**6)
    assert {path.name: path.read_bytes() for path in (folder / "out").iterdir()} == contents


def sound_zip(folder: Path) -> Path:
    path = folder / "env.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr("job.sh", "#!/bin/sh\n" + "x" * 500)
    return path


def test_a_sound_zip_of_the_users_own_is_taken(tmp_path: Path) -> None:
    check_zip(sound_zip(tmp_path))


def test_a_zip_with_the_workers_own_name_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "env.zip", "w") as archive:
        archive.writestr(".parallelize/x", "mine")
    with pytest.raises(UsageError, match=r'cannot hold "\.parallelize"'):
        check_zip(tmp_path / "env.zip")


def test_a_cut_zip_is_refused(tmp_path: Path) -> None:
    path = sound_zip(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UsageError, match=r"env\.zip"):
        check_zip(path)


def test_a_zip_with_damaged_content_is_refused(tmp_path: Path) -> None:
    path = sound_zip(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"xxxx", b"xyxx", 1))
    with pytest.raises(UsageError, match="is corrupt") as caught:
        check_zip(path)
    assert caught.value.why == "at job.sh"


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b"])
def test_a_zip_whose_entries_lead_out_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "env.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr(name, "x")
    with pytest.raises(UsageError, match=r"env\.zip"):
        check_zip(path)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = sound_zip(tmp_path)
    content = bytearray(path.read_bytes())
    # The first of the general purpose bits says that an entry is encrypted.
    directory = content.index(b"PK\x01\x02")
    for place in (6, directory + 8):
        struct.pack_into("<H", content, place, 1)
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        check_zip(path)
    assert "encrypted" in str(caught.value)


def a_zip(path: Path, entries: dict[str, bytes], *, system: int, mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = system, mode << 16 | 0x20
            archive.writestr(info, content)
    return path


DOS, NTFS, UNIX = 0, 10, 3


@pytest.mark.parametrize("system", [DOS, NTFS])
@pytest.mark.parametrize("name", ["env\\job.sh", "a\\b\\c.txt"])
def test_a_zip_with_the_folders_of_windows_is_refused_with_what_to_do(
    tmp_path: Path, system: int, name: str
) -> None:
    path = a_zip(tmp_path / "env.zip", {name: b"x"}, system=system)
    with pytest.raises(UsageError, match="made on Windows") as caught:
        check_zip(path)
    assert "give the folder itself" in (caught.value.fix or "")


def test_a_backslash_in_a_name_from_linux_is_part_of_it(tmp_path: Path) -> None:
    check_zip(a_zip(tmp_path / "env.zip", {"a\\b": b"x"}, system=UNIX, mode=0o100644))


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ({"job.sh": b"#!/bin/sh\n", "tool.sh": b"#!/bin/sh\n", "data.txt": b"x"}, "tool.sh"),
        ({"job.sh": b"#!/bin/sh\n", "bin/tool": b"\x7fELF..."}, "bin/tool"),
    ],
)
@pytest.mark.parametrize(("system", "mode"), [(DOS, 0), (UNIX, 0o100644)])
def test_programs_of_a_zip_that_marks_none_as_executable_are_named(
    tmp_path: Path, entries: dict[str, bytes], named: str, system: int, mode: int
) -> None:
    path = a_zip(tmp_path / "env.zip", entries, system=system, mode=mode)
    said = " ".join(zip_remarks(path, "./job.sh"))
    assert f"but not {named}" in said
    assert zip_remarks(a_zip(path, entries, system=UNIX, mode=0o100755), "./job.sh") == []


def test_a_zip_without_modes_that_has_one_program_needs_no_remark(tmp_path: Path) -> None:
    path = a_zip(tmp_path / "env.zip", {"x/job.sh": b"#!/bin/sh\n", "a": b"x"}, system=DOS)
    assert zip_remarks(path, "x/./job.sh") == []
