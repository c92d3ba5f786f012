"""What jobs share stays as it is, whatever user they run as."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from parallelize_agent.process.read_only import ReadOnlyFolder

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

WAYS_TO_WRITE = (
    "echo x > f",
    "echo x >> f",
    "echo x > new",
    "rm -f f",
    "mv f g",
    "chmod 777 f && echo x > f",
    "chmod 777 . && echo x > new",
    "touch -d 2001-01-01 f",
    "ln f hard",
    "mkdir d",
)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder that all jobs see, as it is when an environment is ready."""
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "f").write_text("as it was")
    (folder / "f").chmod(0o444)
    return folder


def can_mount() -> bool:
    return not subprocess.run(["unshare", "--mount", "true"], check=False).returncode


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        path.name: (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.iterdir()
    }


@needs_root
@pytest.mark.parametrize("way", WAYS_TO_WRITE)
def test_a_command_of_root_cannot_write_there(shared: Path, way: str) -> None:
    if not can_mount():
        pytest.skip("this needs the right to mount")
    before = state(shared)
    with ReadOnlyFolder(shared).enforced():
        done = subprocess.run(["sh", "-c", way], cwd=shared, capture_output=True, check=False)
    assert done.returncode != 0
    assert state(shared) == before


@needs_root
def test_the_agent_can_write_there_before_and_after(shared: Path, tmp_path: Path) -> None:
    folder = ReadOnlyFolder(shared)
    for number in range(2):
        (shared / f"by the agent {number}").touch()
        with folder.enforced():
            subprocess.run(["true"], check=True)
    assert len(list(shared.iterdir())) == 3


def test_other_folders_can_be_written_to(shared: Path, tmp_path: Path) -> None:
    with ReadOnlyFolder(shared).enforced():
        subprocess.run(["touch", "made"], cwd=tmp_path, check=True)
    assert (tmp_path / "made").exists()


def test_the_working_directory_stays(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shared.parent)
    with ReadOnlyFolder(shared).enforced():
        pass
    assert Path.cwd() == shared.parent
    assert Path("shared/f").exists()


def test_an_error_inside_leaves_the_thread_where_it_was(shared: Path) -> None:
    with pytest.raises(FileNotFoundError), ReadOnlyFolder(shared).enforced():
        subprocess.run(["no such program"], check=True)
    (shared / "new").touch()


def test_the_folder_can_be_removed_while_commands_find_it_read_only(shared: Path) -> None:
    with ReadOnlyFolder(shared).enforced():
        subprocess.run(["true"], check=True)
    (shared / "f").unlink()
    shared.rmdir()
    assert not shared.exists()


def test_many_threads_start_commands_at_once(shared: Path) -> None:
    folder = ReadOnlyFolder(shared)
    exits: list[int] = []

    def start() -> None:
        for _ in range(10):
            with folder.enforced():
                exits.append(subprocess.run(["true"], check=False).returncode)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert exits == [0] * 80


def test_a_thread_that_has_started_others_can_start_commands(shared: Path) -> None:
    folder = ReadOnlyFolder(shared)
    goes_on = threading.Event()
    exits = []
    for _ in range(2):
        with folder.enforced():
            exits.append(subprocess.run(["touch", shared / "new"], check=False).returncode)
        threading.Thread(target=goes_on.wait, daemon=True).start()
    goes_on.set()
    assert all(exits), "the folder is read-only for the second command as well"


AS_ROOT_IN_A_CONTAINER = """
import subprocess, sys
from pathlib import Path
from parallelize_agent.process.read_only import ReadOnlyFolder
with ReadOnlyFolder(Path(sys.argv[1])).enforced():
    done = subprocess.run(["sh", "-c", sys.argv[2]], cwd=sys.argv[1], capture_output=True)
Path(sys.argv[1], "f").write_text("the agent may")
sys.exit(done.returncode == 0)
"""


@needs_root
@pytest.mark.parametrize("way", ["echo x > f", "echo x >> f", "echo x > new", "rm -f f", "mv f g"])
def test_where_root_may_not_mount_it_cannot_write_where_the_modes_forbid_it(
    shared: Path, way: str
) -> None:
    shared.chmod(0o555)
    in_a_container = ["setpriv", "--inh-caps=-all", "--bounding-set=-sys_admin"]
    command = [*in_a_container, sys.executable, "-c", AS_ROOT_IN_A_CONTAINER, shared, way]
    assert subprocess.run(command, check=False).returncode == 0
    assert [path.name for path in shared.iterdir()] == ["f"]


AS_A_USER = """
import subprocess, sys
from pathlib import Path
from parallelize_agent.process.read_only import ReadOnlyFolder, enter_own_namespaces
if not enter_own_namespaces():
    sys.exit(77)
Path(sys.argv[1], "locked").touch(mode=0)
try:
    Path(sys.argv[1], "locked").read_bytes()
    sys.exit("it can read what its user cannot")
except PermissionError:
    pass
with ReadOnlyFolder(Path(sys.argv[1])).enforced():
    done = subprocess.run(["sh", "-c", sys.argv[2]], cwd=sys.argv[1], capture_output=True)
Path(sys.argv[1], "by the agent").touch()
sys.exit(done.returncode == 0)
"""


@pytest.fixture(scope="module")
def agent() -> Iterator[Path]:
    """The agent's code where every user may read it; a checkout may be anywhere."""
    with TemporaryDirectory() as folder:
        copy = shutil.copytree(Path(__file__).parents[3] / "agent", Path(folder) / "agent")
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        yield copy


@needs_root
@pytest.mark.parametrize("way", [*WAYS_TO_WRITE, "mount -o remount,rw,bind . && echo x > f"])
def test_a_command_of_the_agents_own_user_cannot_write_there(agent: Path, way: str) -> None:
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    python = "/usr/bin/python3"
    readable = [*user, python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    if subprocess.run(readable, check=False).returncode:
        pytest.skip("this needs a Python that other users can start")
    done = subprocess.run(
        ["sh", "-c", f"""
            folder=$(mktemp -d) && echo x > $folder/f && chmod 444 $folder/f &&
            chown -R 65534:65534 $folder && before=$(stat -c '%a %Y %s' $folder/f) &&
            PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={agent} "$@" $folder '{way}'; code=$?
            [ "$before" = "$(stat -c '%a %Y %s' $folder/f)" ] || code=9
            [ -e "$folder/by the agent" ] || [ $code = 77 ] || code=8
            rm -rf $folder; exit $code""", "sh", *user, python, "-c", AS_A_USER],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip("this kernel gives users no namespaces")
    assert done.returncode == 0, done.stderr
