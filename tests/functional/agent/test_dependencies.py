"""Packages from a lock: installed once on each worker, and found by the jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.functional.agent.bench import Bench
from tests.functional.agent.conftest import MakeBench
from tests.functional.wheels import Index, serve

from parallelize_core.errors import SetupError
from parallelize_core.run import Dependencies, Setup

BY_UV = Dependencies(installer="uv", lock="pylock.toml", python=">=3.11")
SCRIPT = (
    "#!/usr/bin/env python3\nimport greet\nopen('said', 'w').write(greet.WORD)\nprint('said')\n"
)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    folder = tmp_path / "index"
    folder.mkdir()
    with serve(folder) as made:
        yield made


def locked(index: Index, word: str = "hello") -> str:
    return index.locked(index.add("greet", "1.0", {"greet.py": f"WORD = {word!r}\n"}))


def bench_with(make: MakeBench, lock: str, **more: Any) -> Bench:
    """Make a bench with a lock, a script that needs it, and one job."""
    files = {"pylock.toml": lock, "job.py": SCRIPT, **more.pop("files", {})}
    script = more.pop("script", 'exec python job.py "$1"')
    bench = make(script, files=files, **({"dependencies": BY_UV} | more))
    bench.add({"x": b""})
    return bench


@pytest.mark.parametrize("script", ['exec python job.py "$1"', 'exec ./job.py "$1"'])
def test_a_job_finds_the_packages_by_python_and_by_the_first_line_of_a_script(
    make: MakeBench, index: Index, script: str
) -> None:
    bench = bench_with(make, locked(index), script=script)
    bench.run()
    assert bench.output("said") == b"hello"


def test_a_command_that_is_python_itself_has_the_packages(make: MakeBench, index: Index) -> None:
    bench = bench_with(make, locked(index))
    run = bench.read_run().model_copy(update={"command": ("python", "job.py")})
    bench.store.put(bench.layout.run_json, run.encode())
    bench.run()
    assert bench.output("said") == b"hello"


def test_they_are_installed_once_for_all_jobs_of_a_worker(make: MakeBench, index: Index) -> None:
    bench = bench_with(make, locked(index), script="stat -c %i .venv/pyvenv.cfg >a; echo a")
    bench.add({f"{name}/x": b"" for name in "abc"})
    bench.run()
    assert len({bench.output(name) for name in bench.outputs()}) == 1
    assert len(bench.outputs()) == 4


def test_the_set_up_finds_them_too(make: MakeBench, index: Index) -> None:
    setup = Setup(command=("./setup.sh",))
    files = {"setup.sh": "#!/bin/sh -e\npython -c 'import greet; print(greet.WORD)' >made\n"}
    script = "cat made >m; echo m"
    bench = bench_with(make, locked(index), files=files, setup=setup, script=script)
    bench.run()
    assert bench.output("m") == b"hello\n"


def test_another_lock_is_installed_for_itself(make: MakeBench, index: Index) -> None:
    bench = bench_with(make, locked(index))
    bench.run()
    bench.files["pylock.toml"] = index.locked(
        index.add("greet", "2.0", {"greet.py": "WORD = 'again'\n"})
    )
    bench.use(bench.script)
    bench.add({"y/x": b""})
    bench.run()
    assert bench.output("y/said") == b"again"


def test_a_wheel_that_is_not_the_locked_one_is_refused(make: MakeBench, index: Index) -> None:
    lock = locked(index)
    index.add("greet", "1.0", {"greet.py": "WORD = 'evil'\n"})
    bench = bench_with(make, lock)
    departure = bench.run()
    assert isinstance(departure.error, SetupError)
    assert departure.error.what.startswith("the installation of the dependencies in pylock.toml")
    assert "Hash mismatch" in (departure.error.why or "")
    assert not bench.has_result("x")


def test_what_the_installer_printed_is_kept(make: MakeBench, index: Index) -> None:
    bench = bench_with(make, locked(index))
    bench.run()
    (name,) = [name for name in bench.setups if name.endswith(".dependencies.log")]
    assert "greet==1.0" in bench.setups[name]


def test_a_job_cannot_change_the_packages(make: MakeBench, index: Index) -> None:
    bench = bench_with(
        make, locked(index), script="touch .venv/x; echo; stat -c %a .venv/bin >m; echo m"
    )
    bench.run()
    assert bench.output("m") == b"555\n"


def test_an_installer_that_the_worker_does_not_have_is_named(make: MakeBench, index: Index) -> None:
    lock = Dependencies(installer="pixi", lock="pixi.lock")
    bench = bench_with(make, locked(index), dependencies=lock)
    departure = bench.run()
    assert isinstance(departure.error, SetupError)
    assert bench.heartbeat().reason == (
        "the dependencies in pixi.lock cannot be installed: pixi is not on this worker"
    )


@pytest.mark.parametrize(
    ("installer", "lock", "prefix"),
    [("micromamba", "conda-lock.yml", ".conda"), ("pixi", "pixi.lock", ".pixi/envs/default")],
)
def test_a_conda_lock_is_installed_by_what_reads_it(
    make: MakeBench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    installer: str,
    lock: str,
    prefix: str,
) -> None:
    stand_in = tmp_path / "programs" / installer
    stand_in.parent.mkdir()
    stand_in.write_text(f'#!/bin/sh -e\nmkdir -p {prefix}/bin\necho "$@" >asked\n'
                        f'printf "#!/bin/sh\\necho \\$CONDA_PREFIX\\n" >{prefix}/bin/tool\n'
                        f"chmod +x {prefix}/bin/tool\n")  # fmt: skip
    stand_in.chmod(0o755)
    monkeypatch.setenv("MAMBA_EXE" if installer == "micromamba" else "PIXI_EXE", str(stand_in))
    found = Dependencies(installer=installer, lock=lock)  # type: ignore[arg-type]
    bench = make("tool >where; cat asked >>where; echo where", files={lock: ""}, dependencies=found)
    bench.add({"x": b""})
    bench.run()
    where, asked = bench.output("where").decode().splitlines()
    assert where.endswith(f"/{prefix}")
    assert ("--file conda-lock.yml" if installer == "micromamba" else "install --frozen") in asked
