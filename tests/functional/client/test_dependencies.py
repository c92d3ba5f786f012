"""Dependencies of an environment: noticed, locked by uv, and part of what workers get."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.functional.client.conftest import Project
from tests.functional.wheels import Index, serve

from parallelize.operations.repro import as_settings
from parallelize.runs.record.ownership import find_run, load_run
from parallelize_core.run import Dependencies, Run

Captured = pytest.CaptureFixture[str]

LOCK = "pylock.parallelize.toml"
METADATA = '# /// script\n# requires-python = ">=3.11"\n# dependencies = ["greet"]\n# ///\n'
PROJECT = '[project]\nname = "mine"\nversion = "1"\nrequires-python = ">=3.11"\n'
X86, ARM = "py3-none-manylinux_2_17_x86_64", "py3-none-manylinux_2_17_aarch64"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index that has greet 1.0, for both architectures; uv asks it and no other."""
    folder = tmp_path / "index"
    folder.mkdir()
    with serve(folder) as made:
        made.add("greet", "1.0", {"greet.py": "WORD = 'x86'\n"}, X86)
        made.add("greet", "1.0", {"greet.py": "WORD = 'arm'\n"}, ARM)
        monkeypatch.setenv("UV_DEFAULT_INDEX", made.simple)
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
        yield made


@pytest.fixture
def listed(project: Project, index: Index) -> Project:
    """A project with an input; uv has an index to lock things by."""
    project.add("a.txt")
    return project


def write(project: Project, name: str, text: str) -> Path:
    path = project.folder / "env" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def prepared(project: Project, *words: str) -> Run:
    assert project.call("prep", *words) == 0
    return load_run(project.store, project.context)


def archive(project: Project, run: Run) -> zipfile.ZipFile:
    assert run.environment
    return zipfile.ZipFile(io.BytesIO(project.store.get(run.environment.key)))


def lock_of(project: Project, run: Run) -> str:
    assert run.dependencies
    return archive(project, run).read(run.dependencies.lock).decode()


def versions(lock: str) -> dict[str, str]:
    return {one["name"]: one["version"] for one in tomllib.loads(lock)["packages"]}


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        ("requirements.txt", "greet\n", "pylock.requirements.toml"),
        ("job.py", f"#!/usr/bin/env python3\n{METADATA}", "job.py.lock"),
        ("pyproject.toml", f'{PROJECT}dependencies = ["greet"]\n', "uv.lock"),
    ],
    ids=["requirements", "script", "project"],
)
def test_a_list_is_locked_with_every_architectures_wheel_and_a_hash_of_each(
    listed: Project, capsys: Captured, name: str, text: str, kept: str
) -> None:
    write(listed, name, text)
    run = prepared(listed)
    assert run.dependencies
    assert (run.dependencies.installer, run.dependencies.lock) == ("uv", LOCK)
    (package,) = tomllib.loads(lock_of(listed, run))["packages"]
    assert package["version"] == "1.0"
    assert {wheel["url"].rpartition("/")[2] for wheel in package["wheels"]} == {
        f"greet-1.0-{X86}.whl", f"greet-1.0-{ARM}.whl",
    }  # fmt: skip
    assert all(wheel["hashes"]["sha256"] for wheel in package["wheels"])
    assert (listed.folder / "env" / kept).is_file()
    assert f"dependencies: 1 package of env/{name}, installed by uv" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["x86", "arm"])
def test_another_architecture_gets_its_own_wheel_of_the_same_version(
    listed: Project, tmp_path: Path, word: str
) -> None:
    write(listed, "requirements.txt", "greet\n")
    lock = tmp_path / "pylock.toml"
    lock.write_text(lock_of(listed, prepared(listed)))
    platform = {"x86": "x86_64", "arm": "aarch64"}[word] + "-manylinux_2_28"
    uv = Path(sys.executable).with_name("uv")
    asked = [uv, "pip", "install", "--python-platform", platform, "--target", tmp_path / "t"]
    subprocess.run([*asked, "--requirement", lock], check=True, capture_output=True)
    assert (tmp_path / "t" / "greet.py").read_text() == f"WORD = '{word}'\n"


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml", "job.py"])
def test_versions_stay_until_the_list_changes(listed: Project, index: Index, name: str) -> None:
    texts = {
        "requirements.txt": ("greet\n", "greet>1\n"),
        "pyproject.toml": (f'{PROJECT}dependencies = ["greet"]\n',
                           f'{PROJECT}dependencies = ["greet>1"]\n'),
        "job.py": (METADATA, METADATA.replace("greet", "greet>1")),
    }[name]  # fmt: skip
    write(listed, name, texts[0])
    first = prepared(listed)
    index.add("greet", "2.0", {"greet.py": ""})
    assert prepared(listed).environment == first.environment
    write(listed, name, texts[1])
    second = prepared(listed)
    assert versions(lock_of(listed, second)) == {"greet": "2.0"}
    assert second.environment != first.environment


def test_a_lock_of_requirements_is_not_asked_of_the_index_again(
    listed: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(listed, "requirements.txt", "greet\n")
    first = prepared(listed)
    monkeypatch.setenv("UV", "/nonexistent/uv")
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert prepared(listed).environment == first.environment


def test_a_requirement_that_is_included_counts_as_part_of_the_list(
    listed: Project, index: Index
) -> None:
    write(listed, "requirements.txt", "-r more/base.txt\n")
    write(listed, "more/base.txt", "greet==1.0\n")
    first = prepared(listed)
    index.add("greet", "2.0", {"greet.py": ""})
    write(listed, "more/base.txt", "greet==2.0\n")
    assert versions(lock_of(listed, prepared(listed))) == {"greet": "2.0"}
    assert versions(lock_of(listed, first)) == {"greet": "1.0"}


def test_without_uv_it_is_said_what_to_do(
    listed: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(listed, "requirements.txt", "greet\n")
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert listed.call("prep") == 2
    said = capsys.readouterr().err
    assert "requirements.txt lists dependencies, but uv is not installed here" in said
    assert "pip install uv" in said
    assert find_run(listed.store, listed.layout.run_json) is None


def test_a_list_that_cannot_be_locked_is_told_with_uvs_own_reason(
    listed: Project, capsys: Captured
) -> None:
    write(listed, "requirements.txt", "greet==9\n")
    assert listed.call("prep") == 2
    said = capsys.readouterr().err
    assert "uv cannot lock the dependencies in requirements.txt" in said
    assert "no version of greet==9" in said


def test_a_dry_run_leaves_no_lock(listed: Project, capsys: Captured) -> None:
    write(listed, "requirements.txt", "greet\n")
    assert listed.call("prep", "--dry-run") == 0
    assert "1 package of env/requirements.txt" in capsys.readouterr().err
    assert {path.name for path in (listed.folder / "env").iterdir()} == {
        "job.sh", "requirements.txt",
    }  # fmt: skip


def test_a_lock_that_the_environment_brings_is_used_as_it_is(listed: Project, index: Index) -> None:
    (wheel,) = (index.folder / "simple" / "greet").glob(f"*{X86}.whl")
    text = index.locked(wheel)
    write(listed, "pylock.toml", text)
    run = prepared(listed)
    assert run.dependencies == Dependencies(installer="uv", lock="pylock.toml")
    assert lock_of(listed, run) == text


@pytest.mark.parametrize("words", [(), ("--dry-run",)], ids=["prep", "dry run"])
@pytest.mark.parametrize("place", ["requirements.txt", "requirements/base.txt"])
def test_a_lock_of_the_users_own_beside_a_list_is_not_written_over(
    listed: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch, place: str,
    words: tuple[str, ...],
) -> None:  # fmt: skip
    monkeypatch.setenv("PARALLELIZE_RUN_DEPENDENCIES", place)
    path = write(listed, place, "greet\n")
    own = path.with_name(f"pylock.{path.stem}.toml")
    own.write_text("# locked by hand\n")
    assert listed.call("prep", *words) == 2
    said = capsys.readouterr().err
    assert own.read_text() == "# locked by hand\n"
    assert f"{own.name} was not made by parallelize" in said
    assert f'run.dependencies = "{place.replace(path.name, own.name)}"' in said


@pytest.mark.parametrize(
    ("name", "installer"), [("conda-lock.yml", "micromamba"), ("pixi.lock", "pixi")]
)
def test_a_lock_of_conda_packages_goes_to_its_installer(
    listed: Project, name: str, installer: str
) -> None:
    write(listed, name, "version: 1\n")
    run = prepared(listed)
    assert run.dependencies == Dependencies(installer=installer, lock=name)  # type: ignore[arg-type]


def test_a_conda_list_that_is_no_lock_is_told(listed: Project, capsys: Captured) -> None:
    write(listed, "environment.yml", "dependencies: [gdal]\n")
    assert prepared(listed).dependencies is None
    assert "environment.yml of the environment is not a lock" in capsys.readouterr().err


def test_two_lists_are_not_guessed_between(listed: Project, capsys: Captured) -> None:
    write(listed, "requirements.txt", "greet\n")
    write(listed, "pixi.lock", "version: 6\n")
    assert listed.call("prep") == 2
    said = capsys.readouterr().err
    assert "it has pixi.lock and requirements.txt" in said
    assert 'run.dependencies = "pixi.lock"' in said


def test_the_script_that_the_command_names_is_the_one_that_counts(listed: Project) -> None:
    write(listed, "requirements.txt", "nonesuch\n")
    write(listed, "job.py", METADATA)
    run = prepared(listed, "--command", "python job.py --fast")
    assert versions(lock_of(listed, run)) == {"greet": "1.0"}


@pytest.mark.parametrize(("wanted", "installs"), [("none", False), ("requirements.txt", True)])
def test_a_setting_says_which_list_or_none(
    listed: Project, monkeypatch: pytest.MonkeyPatch, wanted: str, installs: bool
) -> None:
    write(listed, "requirements.txt", "greet\n")
    write(listed, "pixi.lock", "version: 6\n")
    monkeypatch.setenv("PARALLELIZE_RUN_DEPENDENCIES", wanted)
    run = prepared(listed)
    assert bool(run.dependencies) is installs
    assert (LOCK in archive(listed, run).namelist()) is installs


def test_a_setting_that_names_nothing_is_refused(
    listed: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARALLELIZE_RUN_DEPENDENCIES", "requirement.txt")
    assert listed.call("prep") == 2
    assert "names requirement.txt, which is not in the environment" in capsys.readouterr().err


def test_a_set_up_of_the_runs_own_installs_what_nobody_names(
    listed: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(listed, "requirements.txt", "greet\n")
    write(listed, "setup.sh", "#!/bin/sh\n")
    monkeypatch.setenv("PARALLELIZE_RUN_SETUP", "./setup.sh")
    assert prepared(listed).dependencies is None
    assert "requirements.txt of the environment is left to run.setup" in capsys.readouterr().err


def test_a_pyproject_without_dependencies_is_only_settings(listed: Project) -> None:
    write(listed, "pyproject.toml", "[tool.ruff]\nline-length = 100\n")
    assert prepared(listed).dependencies is None


def test_a_virtual_environment_of_this_machine_is_not_sent(listed: Project) -> None:
    write(listed, "requirements.txt", "greet\n")
    write(listed, ".venv/pyvenv.cfg", "home = /usr/bin\n")
    run = prepared(listed)
    assert not [n for n in archive(listed, run).namelist() if n.startswith(".venv")]


@pytest.mark.parametrize(
    ("command", "started"),
    [
        ("uv run job.py --fast", ("python", "job.py", "--fast")),
        ("uv run --script job.py", ("python", "job.py")),
        ("./job.py", ("python", "./job.py")),
        ("uv run tool", ("tool",)),
    ],
)
def test_uv_run_becomes_what_it_would_start(
    listed: Project, command: str, started: tuple[str, ...]
) -> None:
    write(listed, "job.py", f"#!/usr/bin/env -S uv run --script\n{METADATA}")
    assert prepared(listed, "--command", command).command == started


def test_packages_in_the_command_itself_are_refused(listed: Project, capsys: Captured) -> None:
    write(listed, "job.py", METADATA)
    assert listed.call("prep", "--command", "uv run --with greet job.py") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "makes uv install packages for each file" in said


def test_a_program_of_the_virtual_environment_may_be_the_command(listed: Project) -> None:
    write(listed, "requirements.txt", "greet\n")
    assert prepared(listed, "--command", ".venv/bin/python job.sh").command[0] == ".venv/bin/python"


def zip_of(project: Project, *names: str) -> None:
    with zipfile.ZipFile(project.folder / "own.zip", "w") as made:
        for name in ("job.sh", *names):
            made.write(project.folder / "env" / name, f"inside/{name}")


def test_a_zip_with_a_lock_is_sent_with_what_workers_install(
    listed: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(listed, "requirements.txt", "greet\n")
    prepared(listed)
    zip_of(listed, "requirements.txt", "pylock.requirements.toml")
    monkeypatch.setenv("PARALLELIZE_RUN_ENV_PREFIX", "inside")
    run = prepared(listed, "--env", "own.zip")
    assert versions(archive(listed, run).read(f"inside/{LOCK}").decode()) == {"greet": "1.0"}


def test_a_zip_without_a_lock_is_told_so(
    listed: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(listed, "requirements.txt", "greet\n")
    zip_of(listed, "requirements.txt")
    monkeypatch.setenv("PARALLELIZE_RUN_ENV_PREFIX", "inside")
    assert listed.call("prep", "--env", "own.zip") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "own.zip has requirements.txt, but no lock for it" in said


def test_prep_answers_in_json_all_the_same(listed: Project, capsys: Captured) -> None:
    write(listed, "requirements.txt", "greet\n")
    assert listed.call("prep", "--json") == 0
    assert json.loads(capsys.readouterr().out)["inputs"] == 1


@pytest.mark.parametrize(
    ("first", "started"),
    [
        ("#!/usr/bin/python3", ("python", "./job.py")),
        ("#!/usr/bin/env python3", ("./job.py",)),
        ("#!/bin/sh", ("./job.py",)),
    ],
)
def test_a_script_for_a_certain_python_is_started_by_the_one_with_the_packages(
    listed: Project, first: str, started: tuple[str, ...]
) -> None:
    write(listed, "job.py", f"{first}\n{METADATA}")
    assert prepared(listed, "--command", "./job.py").command == started


@pytest.mark.parametrize("command", ["./alone.py", "python3 -u alone.py {}", "uv run alone.py"])
def test_a_script_that_is_all_of_the_environment_has_its_packages_too(
    listed: Project, command: str
) -> None:
    settings = listed.folder / "parallelize.toml"
    settings.write_text(settings.read_text().replace('env = "env/"\n', ""))
    script = listed.folder / "alone.py"
    script.write_text(f"#!/usr/bin/env python3\n{METADATA}")
    script.chmod(0o755)
    run = prepared(listed, "--command", command)
    assert versions(lock_of(listed, run)) == {"greet": "1.0"}
    assert sorted(archive(listed, run).namelist()) == ["alone.py", LOCK]


def test_a_job_is_repeated_with_the_lock_of_its_run(listed: Project) -> None:
    write(listed, "requirements.txt", "greet\n")
    run = prepared(listed)
    assert as_settings(listed.context.resolved, run, None).settings.run.dependencies == LOCK
    unpacked = run.model_copy(update={"dependencies": None})
    assert as_settings(listed.context.resolved, unpacked, None).settings.run.dependencies == "none"
