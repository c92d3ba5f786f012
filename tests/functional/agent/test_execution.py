"""One command from start to end: what it prints arrives, and it ends when it has to."""

from __future__ import annotations

import os
import resource
import sys
import threading
from pathlib import Path

import pytest
from tests.functional.agent.bench import until

from parallelize_agent.process.capture import Kept
from parallelize_agent.process.command import Command, Ending, Execution, Outcome

MIB = 2**20


def execution(folder: Path, script: str, **limits: float) -> Execution:
    command = Command(
        argv=("sh", "-c", script),
        folder=folder,
        environ={"PATH": os.environ["PATH"], "MARK": str(folder)},
        marker=f"MARK={folder}",
        **limits,  # type: ignore[arg-type]
    )
    return Execution(command, folder / "stdout", folder / "log")


def text(kept: Kept) -> str:
    return (kept if isinstance(kept, bytes) else kept.read_bytes()).decode()


def stopped_when_ready(folder: Path, script: str, grace_seconds: float) -> Outcome:
    """Stop a command once it has made the file `ready`."""
    run = execution(folder, script, grace_seconds=grace_seconds)

    def stop() -> None:
        until((folder / "ready").exists)
        run.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    outcome = run.run()
    stopper.join()
    return outcome


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_command_that_says_a_lot_when_asked_to_end_can_finish_its_checkpoint(
    tmp_path: Path, stream: str
) -> None:
    script = (
        f'trap \'head -c 3000000 /dev/zero | tr "\\0" . >&{stream}; echo done > checkpoint; '
        "exit 5' TERM; touch ready; sleep 1000 & wait"
    )
    outcome = stopped_when_ready(tmp_path, script, grace_seconds=60)
    assert (outcome.ending, outcome.exit_code) == (Ending.STOPPED, 5)
    assert (tmp_path / "checkpoint").read_text() == "done\n"


def test_what_is_said_during_the_grace_is_in_the_log(tmp_path: Path) -> None:
    script = "trap 'seq 30000; echo the end >&2; exit 0' TERM; touch ready; sleep 1000 & wait"
    outcome = stopped_when_ready(tmp_path, script, grace_seconds=60)
    assert outcome.stderr_tail == "the end\n"
    assert "\n29999\n30000\n" in text(outcome.log)


def test_a_command_that_prints_without_end_is_killed_when_its_grace_is_over(tmp_path: Path) -> None:
    script = "trap '' TERM; touch ready; yes"
    outcome = stopped_when_ready(tmp_path, script, grace_seconds=0.2)
    assert (outcome.ending, outcome.exit_code) == (Ending.STOPPED, -9)


def test_a_command_at_its_time_limit_has_its_grace(tmp_path: Path) -> None:
    script = "trap 'head -c 200000 /dev/zero; exit 4' TERM; sleep 1000 & wait"
    outcome = execution(tmp_path, script, timeout_seconds=0.2, grace_seconds=60).run()
    assert (outcome.ending, outcome.exit_code) == (Ending.TIMEOUT, 4)


def test_the_last_words_of_a_command_are_read(tmp_path: Path) -> None:
    for _ in range(30):
        outcome = execution(tmp_path, "head -c 60000 /dev/zero | tr '\\0' .; echo; echo last").run()
        assert text(outcome.stdout).splitlines()[-1] == "last"
        assert len(text(outcome.log)) == 60006


FULL_PIPE = """
import fcntl, os
fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 2**20)
os.write(1, b"".join(b"%07d\\n" % number for number in range(100_000)))
"""


def test_what_is_in_the_pipe_when_the_command_ends_is_read(tmp_path: Path) -> None:
    outcome = execution(tmp_path, f"exec {sys.executable} -c '{FULL_PIPE}'").run()
    assert text(outcome.log).splitlines() == [f"{n:07d}" for n in range(100_000)]


def test_a_process_that_holds_the_pipe_open_and_hides_is_not_waited_for(tmp_path: Path) -> None:
    # Without a marker, in a session of its own: nobody knows whose it is.
    hidden = "touch began; until [ -e over ]; do /bin/sleep 0.02; done"
    script = f"echo said; env -i setsid sh -c '{hidden}' & until [ -e began ]; do :; done"
    outcome = execution(tmp_path, script).run()
    assert outcome.ending is Ending.EXITED
    (tmp_path / "over").touch()
    assert text(outcome.stdout) == "said\n"


def test_one_line_without_end_takes_no_memory(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    script = "head -c 200000000 /dev/zero | tr '\\0' x; echo; echo out"
    outcome = execution(tmp_path, script).run()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 20 * MIB
    assert outcome.stdout_lost == ""
    assert text(outcome.stdout) == "out\n"


def test_three_hundred_thousand_lines_are_kept(tmp_path: Path) -> None:
    outcome = execution(tmp_path, "seq 300000").run()
    assert text(outcome.stdout).split() == [f"{n}" for n in range(1, 300_001)]


def test_a_stop_before_the_start_ends_the_command_at_its_start(tmp_path: Path) -> None:
    run = execution(tmp_path, "sleep 1000", grace_seconds=60)
    run.stop()
    assert run.run().ending is Ending.STOPPED
    run.stop()


def test_a_closed_stdout_does_not_end_the_command(tmp_path: Path) -> None:
    script = "exec >&- 2>&-; echo $$ > began; sleep 0.2; touch made"
    assert execution(tmp_path, script).run().exit_code == 0
    assert (tmp_path / "made").exists()


def test_many_open_descriptors_do_not_matter(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip("this needs 2,000 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    descriptors = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        assert execution(tmp_path, "echo fine").run().exit_code == 0
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
