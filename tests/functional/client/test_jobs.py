"""Jobs that are more than a file, from the settings to the queue, and again."""

from __future__ import annotations

import json

import pytest
from tests.functional.client.conftest import Project

from parallelize.context import open_context
from parallelize.operations.check import find_job
from parallelize.options import Common
from parallelize_core.errors import UsageError
from parallelize_core.job import JobMessage
from parallelize_core.layout import shared_inputs
from parallelize_core.manifest import Entry, read_parts
from parallelize_core.run import Run

Captured = pytest.CaptureFixture[str]


def entries(project: Project) -> dict[str, Entry]:
    parts = read_parts(project.store, project.layout)
    return {entry.key: entry for part in parts for entry in part.entries}


def names(project: Project) -> list[str]:
    return [key.partition("~")[0] for key in entries(project)]


def configure(project: Project, *lines: str) -> None:
    file = project.folder / "parallelize.toml"
    file.write_text("\n".join([file.read_text(), *lines, ""]))


def messages(project: Project, patience: int = 0) -> list[JobMessage]:
    """Return what is on the queue, which may have to become visible first, in seconds."""
    queue = project.context.clients.queue(
        project.context.clients.sqs.get_queue_url(QueueName=f"parallelize-{project.run}")[
            "QueueUrl"
        ]
    )
    for _ in range(1 + patience // 10):
        if found := queue.receive(10, min(patience, 10), 1):
            return [JobMessage.decode(message.body) for message in found]
    return []


def pairs(project: Project) -> None:
    project.add("A_R1.fq", "A_R2.fq", "d/B_R1.fq", "d/B_R2.fq")
    configure(project, 'group = "{sample}_R{n}.fq"')


def test_a_group_is_a_job_with_its_files_and_goes_to_the_queue_with_them(project: Project) -> None:
    pairs(project)
    assert project.call("prep") == 0
    assert project.call("enqueue") == 0
    listed = entries(project)
    assert {key: [f.key for f in entry.files or ()] for key, entry in listed.items()} == {
        "A": ["A_R1.fq", "A_R2.fq"], "d/B": ["d/B_R1.fq", "d/B_R2.fq"],
    }  # fmt: skip
    for entry in listed.values():
        for file in entry.files or ():
            head = project.head_of(file.key)
            assert head
            assert (head.etag, head.size) == (file.etag, file.size)
    sent = {message.key: message for message in messages(project)}
    assert sent == {key: entry.message(project.run) for key, entry in listed.items()}


def test_an_old_agent_cannot_read_a_run_of_such_jobs(project: Project) -> None:
    pairs(project)
    project.call("prep")
    record = json.loads(project.store.get(project.layout.run_json))
    assert (record["v"], record["columns"]) == (4, ["sample"])


def test_a_plain_run_over_s3_stays_one_that_an_old_agent_can_read(project: Project) -> None:
    lake = f"lake-{project.run}/"
    project.store.put(f"{lake}a.txt", b"content")
    inputs = f"s3://{project.context.bucket}/{lake}"
    project.call("prep", "--command", "./job.sh {} {/.}.out", "--inputs", inputs)
    assert json.loads(project.store.get(project.layout.run_json))["v"] == 1
    assert json.loads(entries(project)["a.txt"].model_dump_json(exclude_defaults=True)).keys() == {
        "key", "size", "etag",
    }  # fmt: skip


def test_a_sample_without_its_mate_is_named_and_nothing_is_sent(
    project: Project, capsys: Captured
) -> None:
    pairs(project)
    (project.folder / "inputs/A_R1.fq").unlink()
    assert project.call("prep") == 2
    assert "A: has A_R2.fq" in capsys.readouterr().err
    assert not list(project.store.list(project.layout.root.prefix))


def test_files_of_no_group_are_told_and_not_sent(project: Project, capsys: Captured) -> None:
    pairs(project)
    project.add("notes.txt")
    project.call("prep")
    assert "1 file in no group of run.group (left out): notes.txt" in capsys.readouterr().err
    stored = list(project.store.list(shared_inputs(project.layout.base).prefix))
    assert len(stored) == 4


def test_the_same_again_adds_nothing_and_a_new_sample_adds_one(
    project: Project, capsys: Captured
) -> None:
    pairs(project)
    project.call("prep")
    capsys.readouterr()
    project.call("prep")
    assert "2 jobs, 0 new, 0 uploaded" in capsys.readouterr().err
    project.add("C_R1.fq", "C_R2.fq")
    project.call("prep")
    assert "3 jobs, 1 new, 2 uploaded" in capsys.readouterr().err


def test_a_changed_mate_is_taken_unasked_only_if_its_job_is_not_done(
    project: Project, capsys: Captured
) -> None:
    pairs(project)
    project.call("prep")
    before = entries(project)["A"]
    project.finish("A", "A.bam", etag=before.etag)
    (project.folder / "inputs/A_R2.fq").write_text("other")
    assert project.call("prep") == 2
    assert "A" in capsys.readouterr().err
    project.finish("A", failed=True, etag=before.etag)
    assert project.call("prep") == 0
    after = entries(project)["A"]
    assert after.etag != before.etag
    assert after.files
    head = project.head_of("A_R2.fq")
    assert head
    assert after.files[1].etag == head.etag


def test_a_failed_group_is_retried_with_all_its_files(project: Project) -> None:
    pairs(project)
    project.call("prep")
    entry = entries(project)["d/B"]
    project.finish("d/B", failed=True, etag=entry.etag)
    assert project.call("retry", "B") == 0
    assert not project.store.head(project.layout.result("d/B"))
    waiting = messages(project, patience=30)  # delayed until all workers have seen run.json
    assert waiting == [entry.message(project.run)]


def test_what_is_in_a_pack_stays_in_it(project: Project) -> None:
    project.add("a", "c", "d")
    configure(project, "group = 2")
    project.call("prep")
    before = entries(project)
    project.add("b")
    project.call("prep")
    after = entries(project)
    assert before.items() <= after.items()
    assert [[f.key for f in e.files or ()] for e in after.values()] == [["a", "c"], ["d"], ["b"]]


def test_a_changed_file_of_a_pack_is_noticed(project: Project, capsys: Captured) -> None:
    project.add("a", "b")
    configure(project, 'group = "1MiB"')
    project.call("prep")
    [entry] = entries(project).values()
    project.finish(entry.key, "out", etag=entry.etag)
    (project.folder / "inputs/a").write_text("changed")
    assert project.call("prep") == 2
    assert "1 finished file is out of date" in capsys.readouterr().err


def test_rows_are_jobs_with_the_files_that_they_name(project: Project) -> None:
    project.add("A.fq", "B.fq", "ref.fa")
    (project.folder / "jobs.tsv").write_text(
        "sample\treads\tref\nA\tinputs/A.fq\tinputs/ref.fa\nB\tinputs/B.fq\tinputs/ref.fa\n"
    )
    assert project.call("prep", "--inputs", "@jobs.tsv") == 0
    assert names(project) == ["sample=A", "sample=B"]
    one, two = entries(project).values()
    assert [(f.column, f.key) for f in one.files or ()] == [
        ("reads", "inputs/A.fq"), ("ref", "inputs/ref.fa"),
    ]  # fmt: skip
    assert (one.variables, two.variables) == ({"sample": "A"}, {"sample": "B"})
    stored = list(project.store.list(shared_inputs(project.layout.base).prefix))
    assert len(stored) == 3


def test_objects_of_s3_in_a_sheet_are_looked_up_and_not_copied(
    project: Project, capsys: Captured
) -> None:
    etag = project.store.put("elsewhere/x.fa", b"ACGT")
    bucket = project.context.bucket
    sheet = project.folder / "jobs.csv"
    sheet.write_text(f"ref,lr\ns3://{bucket}/elsewhere/x.fa,1\n")
    assert project.call("prep", "--inputs", "@jobs.csv") == 0
    [entry] = entries(project).values()
    assert entry.files
    assert (entry.files[0].etag, entry.files[0].size) == (etag, 4)
    sheet.write_text(f"ref,lr\ns3://{bucket}/elsewhere/x.fa,1\ns3://{bucket}/gone,1\n")
    assert project.call("prep", "--inputs", "@jobs.csv") == 2
    assert "row 3 names it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\tf\n1\tinputs/x\n2\tinputs/gone\n", "row 3, f: inputs/gone"),
        ("a\n1\n2\n1\n", "a=1: row 2, row 4"),
    ],
)
def test_a_row_with_a_missing_file_or_a_twin_is_named_and_nothing_is_sent(
    project: Project, capsys: Captured, text: str, told: str
) -> None:
    project.add("x")
    (project.folder / "jobs.tsv").write_text(text)
    assert project.call("prep", "--inputs", "@jobs.tsv") == 2
    assert told in capsys.readouterr().err
    assert not list(project.store.list(project.layout.root.prefix))


def test_rows_that_are_added_are_jobs_that_are_added(project: Project, capsys: Captured) -> None:
    sheet = project.folder / "jobs.tsv"
    sheet.write_text("a\n1\n2\n")
    project.call("prep", "--inputs", "@jobs.tsv")
    sheet.write_text("a\n0\n1\n2\n3\n")
    capsys.readouterr()
    project.call("prep", "--inputs", "@jobs.tsv")
    assert "4 jobs, 2 new" in capsys.readouterr().err
    assert names(project) == ["a=1", "a=2", "a=0", "a=3"]


def test_a_grid_alone_needs_no_inputs(project: Project) -> None:
    assert project.call("prep", "--grid", "lr=0.1,0.01", "seed=1..2") == 0
    assert names(project) == ["lr=0.1,seed=1", "lr=0.1,seed=2", "lr=0.01,seed=1", "lr=0.01,seed=2"]


def test_a_grid_times_files_is_each_file_with_each_combination(project: Project) -> None:
    project.add("a.csv", "d/b.csv")
    assert project.call("prep", "--inputs", "inputs/", "--grid", "lr=1,2") == 0
    assert names(project) == ["a.csv/lr=1", "a.csv/lr=2", "d/b.csv/lr=1", "d/b.csv/lr=2"]
    assert [f.key for f in entries(project)["d/b.csv/lr=2"].files or ()] == ["d/b.csv"]


def test_lines_are_jobs(project: Project) -> None:
    (project.folder / "args").write_text("chr1\nchr 2\n")
    assert project.call("prep", "--inputs", "lines:args") == 0
    assert names(project) == ["chr1", "chr_2"]
    assert [e.variables for e in entries(project).values()] == [{"line": "chr1"}, {"line": "chr 2"}]


def test_other_columns_are_another_run(project: Project, capsys: Captured) -> None:
    project.call("prep", "--grid", "lr=1")
    assert project.call("prep", "--grid", "lr=1", "seed=1") == 2
    assert "now they would have the columns lr, seed" in capsys.readouterr().err


def test_a_place_for_a_column_that_is_not_there_is_refused(
    project: Project, capsys: Captured
) -> None:
    assert project.call("prep", "--grid", "lr=1", "--command", "./job.sh {lt}") == 2
    assert "no such column" in capsys.readouterr().err


def test_jobs_have_numbers_if_the_command_has_a_place_for_them(project: Project) -> None:
    project.add("a", "b")
    project.call("prep", "--command", "./job.sh {} {#}")
    project.add("c")
    project.call("prep", "--command", "./job.sh {} {#}")
    assert {key: entry.number for key, entry in entries(project).items()} == {
        "a": 1,
        "b": 2,
        "c": 3,
    }
    project.call("enqueue")
    assert {m.key: m.number for m in messages(project)} == {"a": 1, "b": 2, "c": 3}


def test_jobs_without_numbers_get_none_later(project: Project, capsys: Captured) -> None:
    project.add("a")
    project.call("prep")
    assert project.call("prep", "--command", "./job.sh {#} {}") == 2
    assert "have no numbers" in capsys.readouterr().err


def test_a_dry_run_counts_jobs_and_sends_nothing(project: Project, capsys: Captured) -> None:
    assert project.call("prep", "--grid", "n=1..7", "--dry-run") == 0
    assert "would add 7 jobs" in capsys.readouterr().err
    assert not list(project.store.list(project.layout.root.prefix))


def test_groups_of_objects_in_s3_are_listed_where_they_lie(project: Project) -> None:
    for name in ("A_R1.fq", "A_R2.fq"):
        project.store.put(f"data/{name}", b"x")
    configure(project, 'group = "{sample}_R{n}.fq"')
    assert project.call("prep", "--inputs", f"s3://{project.context.bucket}/data/") == 0
    run = Run.decode(project.store.get(project.layout.run_json))
    assert run.input.prefix == "data/"
    assert [f.key for f in entries(project)["A"].files or ()] == ["A_R1.fq", "A_R2.fq"]


@pytest.mark.parametrize("named", ["d/B", "B", "inputs/d/B_R2.fq"])
def test_check_finds_the_job_by_its_name_or_by_one_of_its_files(
    project: Project, named: str
) -> None:
    pairs(project)
    job, files = find_job(open_context(Common()), named)
    assert job.name == "d/B"
    assert set(files) == {"d/B_R1.fq", "d/B_R2.fq"}


def test_check_names_a_job_that_is_not_there(project: Project) -> None:
    pairs(project)
    with pytest.raises(UsageError):
        find_job(open_context(Common()), "C")
