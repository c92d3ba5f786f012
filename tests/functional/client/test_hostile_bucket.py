"""Every command that reads a run, over records that somebody else has written."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.functional.client.conftest import Project
from tests.unit.watching.scene import failure
from tests.unit.watching.test_hostile_records import places, spoiled

from parallelize.runs.results.superseded import keep
from parallelize_core.heartbeat import Heartbeat, WorkerState
from parallelize_core.merge import MERGE, MergeRecord, digest_of
from parallelize_core.notify import Delivery
from parallelize_core.result import Result
from parallelize_core.segment import encode_line, pack

PROGRAM = Path(sys.executable).with_name("parallelize")
STEERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
COMMANDS = [
    ["status"], ["status", "--json"], ["failures"], ["failures", "--json"], ["logs", "a.tif"],
    ["logs", "a.tif", "--json"], ["report"], ["report", "--json"], ["runs"], ["runs", "--json"],
    ["download", "out", "--dry-run"], ["download", "out", "--json"], ["retry", "--dry-run"],
    ["enqueue", "--dry-run"], ["prep", "--dry-run"], ["stop", "--dry-run"],
    ["kill", "--dry-run"], ["clean", "--dry-run"], ["report", "--table", "all.csv"],
    ["logs", "--setup"], ["logs", "--setup", "--json"], ["estimate", "--dry-run"],
    ["launch", "1", "--dry-run"], ["scale", "1", "--dry-run"],
]  # fmt: skip
VALUES = ["NaN", "1e300", json.dumps("\x1b[2J\u202e\x9b31m\n\x00")]
"""More of them are tried on what the commands are made of: test_hostile_records."""


READ_BY_REPRO = ["run", "manifest", "correction"]
"""Of the records; it has an agent process the file, which takes a second or more."""


@pytest.fixture
def run(project: Project) -> Project:
    """A run with a success, a failure, and a worker that has left."""
    project.write_script("#!/bin/sh\n")
    project.add("a.tif", "b.tif")
    assert project.call("prep") == 0
    assert project.call("enqueue") == 0
    project.finish("b.tif", "b.csv")
    layout = project.layout
    body = failure("a.tif", run=project.run, log="words\n").encode()
    project.store.put(layout.failure("a.tif"), b"")
    project.store.put(layout.result("a.tif"), body)
    beat = Heartbeat(
        worker="i-1", state=WorkerState.LEFT, started=1.0, seen=2.0, interval_seconds=30.0,
        running=("b.tif",), hourly_usd=0.1, type="c7i.xlarge", reason="drained",
    )  # fmt: skip
    project.store.put(layout.heartbeat("i-1"), beat.encode())
    attempt = layout.attempt("a.tif", 1, "i-1", "2027-01-15T08:00:00.000Z")
    project.store.put(attempt, body)
    project.store.put(layout.setup_log("i-1", "e"), b"installed\n")
    project.store.put(layout.correction(0), project.store.get(layout.manifest_part(0)))
    line = encode_line(Result.decode(body), project.store.head(layout.result("a.tif")).etag)
    project.store.put(layout.segment("i-1", 1, 1), pack([line]))
    return project


def places_of(run: Project) -> dict[str, str]:
    layout = run.layout
    return {
        "run": layout.run_json, "failure": layout.result("a.tif"),
        "success": layout.result("b.tif"), "heartbeat": layout.heartbeat("i-1"),
        "cursor": layout.cursor(0), "origin": layout.origin,
        "attempt": layout.attempt("a.tif", 1, "i-1", "2027-01-15T08:00:00.000Z"),
        "manifest": layout.manifest_part(0), "correction": layout.correction(0),
        "segment": layout.segment("i-1", 1, 1), "setup": layout.setup_log("i-1", "e"),
    }  # fmt: skip


def check_commands(
    run: Project, commands: Sequence[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    for command in commands:
        capsys.readouterr()
        run.call(*command)  # raises what would be a traceback
        said = capsys.readouterr()
        assert not STEERS.search(said.out), command
        assert not STEERS.search(said.err), command


DOCUMENTS = ["run", "failure", "success", "heartbeat", "cursor", "origin", "attempt"]
PACKED = ["manifest", "correction", "segment"]
"""Records of which many are in one object, a line each."""


def rewrite(run: Project, kind: str, change: Callable[[bytes], bytes]) -> None:
    """Put something else in place of a record, or of each line of a packed one."""
    place = places_of(run)[kind]
    body = run.store.get(place)
    if kind in PACKED:
        lines = gzip.decompress(body).splitlines()
        changed = gzip.compress(b"".join(change(line) + b"\n" for line in lines))
    else:
        changed = change(body)
    run.store.put(place, changed)


STEERING = "\x1b[2J\x9b31m\u202e\r\x1b]8;;https://evil.example\x07\u2066\u2028"
KEPT = {
    "v", "key", "name", "status", "state", "cause", "bucket", "on_clash", "prefix", "id", "etag",
}  # fmt: skip
"""What has to stay as it is, so that the record is read at all."""


def steering(value: object, name: str = "") -> object:
    """Return a record of which every text that may be any text steers a terminal."""
    if isinstance(value, dict):
        return {key: steering(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [steering(one, name) for one in value]
    return f"{value}{STEERING}" if isinstance(value, str) and name not in KEPT else value


@pytest.fixture(scope="module")
def own_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where `repro` has the local cloud that it starts; it ends with the tests."""
    state = tmp_path_factory.mktemp("state")
    yield state
    environ = {**os.environ, "XDG_STATE_HOME": str(state)}
    subprocess.run([PROGRAM, "local", "stop"], env=environ, check=True)


@pytest.mark.parametrize("kind", READ_BY_REPRO)
def test_repro_bears_hostile_texts_too(
    run: Project, kind: str, own_cloud: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_STATE_HOME", str(own_cloud))
    rewrite(run, kind, lambda body: json.dumps(steering(json.loads(body))).encode())
    check_commands(run, [["repro", "a.tif"]], capsys)


@pytest.mark.parametrize("raw", VALUES)
@pytest.mark.parametrize("kind", DOCUMENTS + PACKED)
def test_a_record_with_one_value_everywhere_ends_no_command_in_a_traceback(
    run: Project, kind: str, raw: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(body: bytes) -> bytes:
        return spoiled(body, dict.fromkeys(range(len(places(json.loads(body)))), raw))

    rewrite(run, kind, spoil)
    check_commands(run, COMMANDS, capsys)


@pytest.mark.parametrize("kind", DOCUMENTS + PACKED)
def test_texts_that_steer_a_terminal_reach_none(
    run: Project, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(run, kind, lambda body: json.dumps(steering(json.loads(body))).encode())
    check_commands(run, COMMANDS, capsys)


def test_what_a_set_up_has_printed_steers_no_terminal(
    run: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(run, "setup", lambda _: b"\x1b]0;title\x07\xff\xc2\x9b31m\xe2\x80\xae\n\x00\r")
    check_commands(run, [["logs", "--setup"], ["logs", "--setup", "--json"]], capsys)


@pytest.mark.parametrize("body", [b"", b"[" * 100_000])
@pytest.mark.parametrize("kind", DOCUMENTS)
def test_garbage_in_place_of_a_record_ends_no_command_in_a_traceback(
    run: Project, kind: str, body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    run.store.put(places_of(run)[kind], body)
    check_commands(run, COMMANDS, capsys)


@pytest.mark.parametrize("body", [b"\x1f\x8bnonsense", gzip.compress(b"[" * 100_000)])
@pytest.mark.parametrize("kind", PACKED)
def test_garbage_in_place_of_a_packed_record_ends_no_command_in_a_traceback(
    run: Project, kind: str, body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    run.store.put(places_of(run)[kind], body)
    check_commands(run, COMMANDS, capsys)


OF_CHAINS = [
    ["status"], ["report", "--json"], ["explain", "b.tif"], ["prep", "--changed", "keep"],
    ["download", "out"], ["logs", MERGE],
]  # fmt: skip
"""What reads the records that runs with a last job, with notifications and with changes have."""


@pytest.fixture
def chained(run: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A run with a last job that has failed, somebody to tell, and a result that gave way."""
    monkeypatch.setenv("PARALLELIZE_RUN_THEN", "./job.sh")
    monkeypatch.setenv("PARALLELIZE_RUN_NOTIFY", "./job.sh")
    assert run.call("prep", "--changed", "keep") == 0
    store, layout = run.store, run.layout
    digest = digest_of(layout, ((o.key, o.etag) for o in store.list(layout.results.prefix)))
    record = MergeRecord(digest=digest, listed="ab" * 32, outputs=1, size=3)
    store.put(layout.merge, record.encode())
    store.put(layout.result(MERGE), failure(MERGE, run=run.run, input_etag="ab" * 32).encode())
    old = Result.decode(store.get(layout.result("b.tif")))
    keep(store, layout, [(old, "another")])
    store.put(layout.delivery("finished-1"), Delivery(worker="w").encode())
    run.write_script("#!/bin/sh\n# changed\n")
    return run


@pytest.mark.parametrize("kind", ["merge.json", "notify.json", "recipe/", "superseded/", "told/"])
@pytest.mark.parametrize("body", [b"[" * 100_000, b"steer"], ids=["deep", "steering"])
def test_records_of_a_chain_that_are_garbage_hide_nothing_of_the_run(
    chained: Project, kind: str, body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    store, root = chained.store, chained.layout.root.prefix
    for place in [item.key for item in store.list(root) if item.key.startswith(root + kind)]:
        steered = body == b"steer" and place.endswith(".json")
        store.put(place, _steered(store.get(place)) if steered else body)
    check_commands(chained, OF_CHAINS, capsys)
    assert chained.call("status") == 0
    assert chained.call("prep", "--changed", "keep") == 0
    assert chained.call("download", "elsewhere", "--json") in {0, 1}
    assert "b.csv" in {path.name for path in Path("elsewhere").iterdir()}


ODD_OUTPUTS = ["../x", "", "a\nb", "x" * 2000, "/etc/passwd", "\x1b[2J", "a/"]


def test_odd_outputs_of_the_run_before_are_named_and_the_others_are_inputs(
    run: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    place = run.layout.result("b.tif")
    made = Result.decode(run.store.get(place))
    (good,) = made.outputs
    odd = [good.model_copy(update={"key": key}) for key in ODD_OUTPUTS]
    less = good.model_copy(update={"key": "less.csv", "size": -1})
    spoiled = made.model_copy(update={"outputs": (*odd, good, less)})
    run.store.put(place, spoiled.encode())
    words = ("prep", "--run", f"{run.run}-next", "--inputs", f"run:{run.run}")
    assert run.call(*words) == 0
    said = capsys.readouterr().err
    assert "1 input, 1 new" in said
    assert f"{len(odd) + 1} objects cannot be processed" in said
    assert not STEERS.search(said)


def _steered(body: bytes) -> bytes:
    return json.dumps(steering(json.loads(body))).encode()


@pytest.mark.parametrize("encoding", ["ascii", "utf-16"])
@pytest.mark.parametrize("command", [["status"], ["failures"], ["logs", "ü.tif"], ["runs"]])
def test_a_terminal_that_takes_no_unicode_gets_what_it_takes(
    run: Project, command: list[str], encoding: str
) -> None:
    run.add("ü.tif")
    assert run.call("prep") == 0
    run.finish("ü.tif", failed=True)
    done = _call(command, encoding)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert done.stdout.decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_json_is_json_whatever_the_terminal_takes(run: Project, encoding: str) -> None:
    run.add("界.tif")
    assert run.call("prep") == 0
    run.finish("界.tif", failed=True)
    done = _call(["failures", "--json"], encoding)
    keys = [one["key"] for one in json.loads(done.stdout.decode(encoding))]
    assert "界.tif" in keys


def _call(command: list[str], encoding: str) -> subprocess.CompletedProcess[bytes]:
    environ = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run([PROGRAM, *command], capture_output=True, env=environ, check=False)
