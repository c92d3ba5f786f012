"""Jobs that are more than a file: several files, variables, places for both in the command."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.functional.agent.conftest import MakeBench

from parallelize_agent.job.stage_in import SMALL_BYTES
from parallelize_core.files import InputFile, joint_etag
from parallelize_core.job import JobMessage
from parallelize_core.manifest import Entry
from parallelize_core.result import Cause

SHOW = 'for word in "$@"; do printf "[%s]" "${word##*/}"; done > shown; echo shown'
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufffe\uffff"), max_size=20)


def test_all_files_of_a_job_are_its_last_arguments_in_their_order(make: MakeBench) -> None:
    bench = make('cat "$@" > all; echo all', version=2)
    bench.add_job("run1/A", {"run1/A_R2.fq": b"2", "run1/A_R1.fq": b"1"}, {"sample": "A"})
    bench.run()
    assert bench.output("run1/A/all") == b"21"
    assert bench.result("run1/A").input_size == 2


def test_files_of_several_folders_keep_them_below_the_one_that_they_share(make: MakeBench) -> None:
    bench = make('cd "$(dirname "$PARALLELIZE_INPUT")/.."; find . -type f | sort', version=2)
    bench.add_job("pair", {"d/a/x.tif": b"", "d/b/x.tif": b""})
    bench.run()
    assert bench.result("pair").log.splitlines() == ["./a/x.tif", "./b/x.tif"]


def test_the_list_of_files_has_a_path_a_line(make: MakeBench) -> None:
    bench = make('while read -r f; do cat "$f"; done < "$PARALLELIZE_FILES"', version=2)
    bench.add_job("pack", {"a b.txt": b"one\n", "c.txt": b"two\n"})
    bench.run()
    assert bench.result("pack").log == "one\ntwo\n"


def test_outputs_of_files_that_were_only_put_together_lie_beside_those_of_plain_jobs(
    make: MakeBench,
) -> None:
    bench = make('for f; do cp "$f" "$(basename "$f").out"; done; ls | grep out', version=2)
    bench.add_job("pack", {"d/a.txt": b"", "d/b.txt": b""})
    bench.run()
    assert bench.outputs() == {"d/a.txt.out", "d/b.txt.out"}


def test_a_file_that_two_columns_name_is_fetched_once(make: MakeBench) -> None:
    bench = make(SHOW, version=2, columns=("left", "right"), template=("{left}", "{right}"))
    bench.add({"x": b"1"}, send=False)
    file = bench.message("x").model_copy(update={"column": ""})
    entry = Entry.model_validate({
        "key": "twice", "size": 1, "etag": "", "files": [
            {"key": "x", "size": 1, "etag": file.etag, "column": "left"},
            {"key": "x", "size": 1, "etag": file.etag, "column": "right"}],
    })  # fmt: skip
    bench.add_entries([entry])
    bench.run()
    assert bench.output("twice/shown") == b"[x][x]"


def test_variables_are_in_the_environment_and_in_their_places(make: MakeBench) -> None:
    bench = make(
        'printf "%s|%s|%s|%s" "$PARALLELIZE_VAR_LR" "$PARALLELIZE_VAR_READS" "$1" "$2" > shown\n'
        "echo shown",
        version=2, columns=("lr", "reads"), template=("--lr={lr}", "{reads/.}.bam"),
    )  # fmt: skip
    bench.add_job("lr=0.1", {"d/x.fq": b""}, {"lr": "0.1"}, columns=("reads",))
    bench.run()
    lr, reads, *words = bench.output("lr=0.1/shown").decode().split("|")
    assert (lr, reads.rpartition("/")[2], words) == ("0.1", "x.fq", ["--lr=0.1", "x.bam"])


def test_a_job_without_files_has_its_values_as_arguments(make: MakeBench) -> None:
    bench = make(f'test -z "$PARALLELIZE_INPUT"; {SHOW}', version=2, columns=("lr", "seed"))
    bench.add_job("lr=0.1,seed=7", {}, {"lr": "0.1", "seed": "7"})
    bench.run()
    assert bench.output("lr=0.1,seed=7/shown") == b"[0.1][7]"


def test_an_output_that_a_variable_names_is_delivered(make: MakeBench) -> None:
    bench = make('echo > "$1"', version=2, columns=("out",), template=("{out}",))
    bench.add_job("one", {}, {"out": "made.txt"})
    bench.add_job("two", {}, {"out": "../../made-outside.txt"})
    bench.run()
    assert bench.outputs() == {"one/made.txt"}
    assert bench.result("two").status == "succeeded"


def test_no_input_of_a_job_is_taken_for_an_output(make: MakeBench) -> None:
    from parallelize_core.run import OutputNaming  # noqa: PLC0415

    bench = make('echo > made; echo > "$(dirname "$1")/beside"', version=2,
                 naming=OutputNaming(collect=("**",)))  # fmt: skip
    bench.add_job("pair", {"a/x": b"", "b/x": b""})
    bench.run()
    assert bench.outputs() == {"made", "a/beside"}


@settings(max_examples=25, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(cell=CELLS, name=st.text(st.sampled_from("a .-'\"$`;&|<>(){}*?!\\#~=é"), min_size=1))
@example(cell="; rm -rf ~ $(id) `id` {} {#} {1} {{cell}} \"'\\\n\t*", name="-n {cell}.txt")
def test_a_hostile_cell_or_name_is_one_argument_as_it_stands(
    make: MakeBench, cell: str, name: str
) -> None:
    name = name if name not in {".", ".."} else "x"
    bench = make(
        'printf "%s\\0" "$#" "$@" > shown; env -0 >> shown; echo shown', version=2,
        columns=("cell",), template=("{cell}", "x={cell}", "{1}", "{}"),
    )  # fmt: skip
    bench.add_job("job", {name: b""}, {"cell": cell})
    bench.run()
    count, *words = bench.output("job/shown").decode().split("\0")
    assert (count, words[:2]) == ("4", [cell, f"x={cell}"])
    assert [word.rpartition("/")[2] for word in words[2:4]] == [name, name]
    assert f"PARALLELIZE_VAR_CELL={cell}" in words[4:]


def test_a_place_for_which_a_job_has_nothing_fails_it_with_the_reason(make: MakeBench) -> None:
    bench = make("true", version=2, template=("{3}",))
    bench.add_job("pair", {"a": b"", "b": b""})
    bench.run()
    result = bench.result("pair")
    assert (result.cause, result.attempt) == (Cause.COMMAND, 1)
    assert "{3}" in result.message


def test_a_file_that_is_gone_fails_its_job_and_no_other(make: MakeBench) -> None:
    bench = make(SHOW, version=2)
    bench.add_job("pair", {"a": b"", "b": b""})
    bench.add_job("whole", {"c": b""})
    bench.store.delete([bench.layout.input.key("b")])
    bench.run()
    assert bench.result("pair").cause is Cause.INPUT
    assert bench.result("whole").status == "succeeded"


def test_the_leader_sends_a_lost_job_again_with_its_files_and_variables(make: MakeBench) -> None:
    bench = make(f"{SHOW}; echo $PARALLELIZE_VAR_SAMPLE", version=2)
    bench.add_job("A", {"x": b"", "y": b""}, {"sample": "A"})
    bench.queue.delete([message.receipt for message in bench.queue.receive(10, 0, 60)])
    bench.run()
    assert bench.output("A/shown") == b"[x][y]"
    assert bench.result("A").log.splitlines()[-1] == "A"


def test_a_failed_job_is_tried_again_with_all_that_it_had(make: MakeBench) -> None:
    bench = make(f'[ "$PARALLELIZE_ATTEMPT" = 2 ] || exit 1; {SHOW}', version=2)
    bench.add_job("A", {"x": b"", "y": b""}, {"sample": "A"})
    bench.run()
    assert bench.output("A/shown") == b"[x][y]"


@pytest.mark.parametrize("entry", [Entry(key="a/b.csv", size=7, etag="e" * 32)])
def test_the_message_of_a_plain_job_is_what_it_was(entry: Entry) -> None:
    message = entry.message("r")
    assert json.loads(message.encode()).keys() == {
        "v", "run", "key", "size", "etag", "attempt", "claimed", "alone", "failed_by",
        "second_opinion", "setbacks",
    }  # fmt: skip
    assert JobMessage.decode(message.encode()) == message


@pytest.mark.parametrize("size", [4, SMALL_BYTES + 1])
def test_an_input_that_runs_share_is_fetched_from_where_its_message_says(
    make: MakeBench, size: int
) -> None:
    bench = make('cp "$1" ./out; echo out', version=3)
    stored = f"{sha256(b'x' * size).hexdigest()}/mark"
    etag = bench.store.put(bench.layout.input.key(stored), b"x" * size)
    bench.add_entries([Entry(key="d/a.txt", size=size, etag=etag or "", stored=stored)])
    bench.run()
    assert bench.result("d/a.txt").status == "succeeded"
    assert bench.output("d/out") == b"x" * size


def test_so_are_the_files_of_a_group_under_their_own_names(make: MakeBench) -> None:
    bench = make(SHOW, version=4)
    files = []
    for name in ("x", "y"):
        stored = f"{sha256(name.encode()).hexdigest()}/mark"
        etag = bench.store.put(bench.layout.input.key(stored), name.encode())
        files.append(InputFile(key=f"d/{name}", size=1, etag=etag or "", stored=stored))
    bench.add_entries([Entry(key="A", size=2, etag=joint_etag(files), files=tuple(files))])
    bench.run()
    assert bench.result("A").status == "succeeded"


@pytest.mark.parametrize("size", [4, SMALL_BYTES + 1])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_an_input_that_is_not_what_its_checksum_says_is_no_input(
    make: MakeBench, size: int, several: bool, shared: bool
) -> None:
    """Else the content key of the result would name what was never looked at."""
    bench = make("echo started >&2", version=4)
    stored = f"{'0' * 64}/mark" if shared else ""
    known = {"stored": stored} if shared else {"sha256": "0" * 64}
    etag = bench.store.put(bench.layout.input.key(stored or "a"), b"x" * size) or ""
    file = InputFile(key="a", size=size, etag=etag, **known)
    bench.add_entries([
        Entry(key="a", size=size, etag=etag, files=(file,))
        if several
        else Entry(key="a", size=size, etag=etag, **known)
    ])  # fmt: skip
    bench.run()
    result = bench.result("a")
    assert (result.status, result.cause, result.exit_code) == ("failed", Cause.INPUT, None)
    assert "has the wrong content: its SHA-256 is " in result.message


def test_an_input_of_the_right_checksum_is_one_whatever_its_place(make: MakeBench) -> None:
    bench = make('cat "$1"; touch out; echo out')
    etag = bench.store.put(bench.layout.input.key("a"), b"x") or ""
    entry = Entry(key="a", size=1, etag=etag, sha256=sha256(b"x").hexdigest())
    bench.add_entries([entry])
    bench.run()
    assert bench.result("a").status == "succeeded"
