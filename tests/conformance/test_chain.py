"""A whole run with the shipped commands, on any server that speaks SQS and S3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import boto3
import pytest

from parallelize_core.clients import Clients
from parallelize_core.config import AgentConfig, DrainSettings
from parallelize_core.dead_letter import DeadLetter
from parallelize_core.errors import MissingError
from parallelize_core.manifest import finished, read_parts
from parallelize_core.queue import Queue

BIN = Path(sys.executable).parent
NAMES = ("a.txt", "d/b.txt", "d/ü ñ.txt", "fails.txt")
COMMAND_SECONDS = 120
"""A command that takes longer is stuck; what it has said until then is part of the report."""
UNUSUAL = (
    "-rf", " a  b ", "100%", "%2e%2e%2Fc+d", "back\\slash", "quote'\"<&>]]>", "key=value;x",
    "$(touch pwned)`id`|*?[a]", "#fragment?query", "~", "...", "CASE", "case",
    "\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT}",
    "line\N{LINE SEPARATOR}end", "\N{DNA DOUBLE HELIX}" * 63, "/".join(["abcd" * 60] * 4),
    "result/run.json",
)  # fmt: skip
JOB = """#!/bin/sh
case $1 in *fails*) exit 3 ;; esac
tr a-z A-Z < "$1" > out-"$(basename "$1")"
echo out-"$(basename "$1")"
"""
FOLDER_JOB = """#!/bin/sh
case ${1##*/} in *e*) [ -e mended ] || exit 3 ;; esac
mkdir made
tr a-z A-Z < "$1" > "made/${1##*/}"
echo made
"""
SETTINGS = """schema = 1
[run]
command = "./job.sh"
env = "env/"
attempts = 2
"""


@dataclass
class Project:
    """A project folder, and the environment that leads its commands to the server."""

    folder: Path
    environ: dict[str, str]

    def run(self, *words: str, program: str = "parallelize") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / program), *words],
            check=False,
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )

    def must(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, names: Iterable[str], job: str) -> None:
        """Write the inputs, the command and the settings."""
        for name in names:
            path = self.folder / "inputs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"content of {name}")
        (self.folder / "env").mkdir()
        (self.folder / "env/job.sh").write_text(job)
        (self.folder / "env/job.sh").chmod(0o755)
        (self.folder / "parallelize.toml").write_text(SETTINGS)

    def work(self) -> None:
        """Have an agent process what is on the queue."""
        (self.folder / "agent.json").write_text(agent_config(self).encode())
        agent = self.run("--config", "agent.json", program="parallelize-agent")
        sys.stdout.write(agent.stderr)
        assert agent.returncode == 0, agent.stderr

    def fetched(self) -> dict[str, str]:
        """What `download` has written, by name."""
        out = self.folder / "out"
        files = (path for path in out.rglob("*") if path.is_file())
        return {str(path.relative_to(out)): path.read_text() for path in files}


@pytest.fixture
def project(endpoint: str, secret: str, tmp_path: Path) -> Project:
    environ = os.environ | {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PARALLELIZE_RUN": f"chain-{uuid4().hex}",
        "PARALLELIZE_BUCKET": f"conformance-{uuid4()}",
    }
    return Project(tmp_path / "project", environ)


def agent_config(project: Project) -> AgentConfig:
    """The configuration as it is printed, with waits that suit a test."""
    config = AgentConfig.decode(project.must("launch", "--print-config"), "stdout")
    drain = DrainSettings(samples=2, interval_seconds=0.5, in_flight_margin_seconds=1)
    return config.model_copy(
        update={"slots": 2, "lease_seconds": 6, "poll_seconds": 1, "drain": drain}
    )


def bodies(queue: Queue) -> list[str]:
    found = []
    while messages := queue.receive(10, 1, 60):
        found += [message.body for message in messages]
    return found


@pytest.mark.timeout(300)
def test_a_run_ends_with_a_result_for_every_file_and_its_reasons_for_every_failure(
    project: Project, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(NAMES, JOB)
    project.must("prep")
    project.must("enqueue")
    config = agent_config(project)
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, project.environ[name])
    clients = Clients.make(boto3.Session(region_name="us-east-1"))
    store = clients.store(config.bucket)
    queue, dead = clients.queue(config.queue_url), clients.queue(config.dead_letter_queue_url)
    first = next(read_parts(store, config.layout)).entries[0]
    # One message comes twice, and one is no message.
    queue.send([first.message(config.run).encode(), "no message"])

    project.work()

    assert finished(store, config.layout) == {config.layout.result(name) for name in NAMES}
    assert queue.counts().total == 0
    letters = [DeadLetter.decode(body) for body in bodies(dead)]
    assert sorted(letter.body == "no message" for letter in letters) == [False, True]
    with pytest.raises(MissingError):
        store.get(config.layout.claim("a.txt"))
    [failure] = json.loads(project.must("failures", "--json"))
    assert (failure["key"], failure["exit_code"], failure["attempts"]) == ("fails.txt", 3, 2)
    assert project.run("download", "out").returncode == 1
    assert project.fetched() == {
        "out-a.txt": "CONTENT OF A.TXT",
        "d/out-b.txt": "CONTENT OF D/B.TXT",
        "d/out-ü ñ.txt": upper("content of d/ü ñ.txt"),
    }


@pytest.mark.timeout(300)
def test_unusual_names_come_back_as_they_went_also_after_a_failure_and_its_retry(
    project: Project,
) -> None:
    project.write(UNUSUAL, FOLDER_JOB)
    project.environ["PARALLELIZE_RUN_ATTEMPTS"] = "1"
    failing = sorted(name for name in UNUSUAL if "e" in Path(name).name)
    project.must("prep")
    project.must("enqueue")
    project.work()
    assert sorted(one["key"] for one in json.loads(project.must("failures", "--json"))) == failing
    (project.folder / "env/mended").touch()
    project.must("retry", "--", failing[0])
    project.must("retry")
    project.work()
    project.must("download", "out")
    assert project.fetched() == {
        str(Path(name).with_name("made") / Path(name).name): upper(f"content of {name}")
        for name in UNUSUAL
    }


def upper(text: str) -> str:
    done = subprocess.run(
        ["tr", "a-z", "A-Z"], input=text, capture_output=True, text=True, check=True
    )
    return done.stdout
