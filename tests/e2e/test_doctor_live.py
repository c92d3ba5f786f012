"""`doctor --live` in the local cloud: its own S3 and SQS, and a real agent as the machine."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Shell, administrator, only_local, start_judged

from parallelize.local.cloud import stop

pytestmark = [only_local, pytest.mark.timeout(400)]


@pytest.fixture
def shell(tmp_path: Path, environ: dict[str, str]) -> Iterator[Shell]:
    """A shell with a local cloud of its own, which nobody else stops and starts without rules."""
    state = tmp_path / "state"
    cloud = start_judged(state / "parallelize" / "local")
    everything = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    }
    # It takes an administrator; the worker has its own rights and no more.
    administrator(cloud, "iam").put_user_policy(
        UserName="local", PolicyName="everything", PolicyDocument=json.dumps(everything)
    )
    folder = tmp_path / "project"
    folder.mkdir()
    yield Shell(folder, environ | {"XDG_STATE_HOME": str(state)})
    stop(cloud)


def rehearse(shell: Shell, *words: str) -> tuple[dict[str, list[str]], list[str]]:
    """Run it; answer what was seen, by check, and the transcript's lines."""
    shell.run("local", "start")
    given = ("doctor", "--live", "--local", "--yes", "--transcript", "live.jsonl", *words)
    findings = shell.json(*given)["findings"]
    assert {one["verdict"] for one in findings} == {"good"}
    seen: dict[str, list[str]] = {}
    for one in findings:
        seen.setdefault(one["check"], []).append(one["text"])
    return seen, Path(shell.folder, "live.jsonl").read_text().splitlines()


def test_a_machine_processes_three_files_and_goes_off_by_itself(shell: Shell) -> None:
    seen, lines = rehearse(shell, "--machine")
    files, metadata, times, end = seen["machine"]
    assert files == "3 of 3 files processed"
    assert metadata == "the metadata service, from a job: closed"
    assert "first file" in times
    assert end.startswith("its last state: terminated")
    assert seen["left"][0].startswith("nothing (looked for")
    assert json.loads(lines[0])["aws"] is False
    said = [one for one in map(json.loads, lines) if "said" in one]
    assert {"step": "machine", "good": True, "said": metadata} in said


def test_everything_else_is_tried_in_the_local_clouds_own_s3_and_sqs(shell: Shell) -> None:
    seen, _ = rehearse(shell)
    assert "a message received once too often: moved" in seen["queues"]
    assert "made again after deletion: QueueDeletedRecently" in seen["queues"]
    assert "used at once after creation: NonExistentQueue" in seen["queues"]
    assert "a bucket with an unexpected owner: AccessDenied" in seen["objects"]
    assert "conditional writes: all as promised" in seen["objects"]
    assert "CreateFleet by dry run: DryRunOperation" in seen["fleets"]
    assert seen["left"][0].startswith("nothing (looked for")


def test_ctrl_c_ends_the_probes_and_not_the_deletion(shell: Shell) -> None:
    shell.run("local", "start")
    process = shell.start("doctor", "--live", "--local", "--yes")
    assert process.stderr is not None
    for line in process.stderr:
        if "a batch" in line:
            process.send_signal(signal.SIGINT)
            break
    _, rest = process.communicate()
    assert process.returncode == 130
    assert "good  left         nothing (looked for" in rest
