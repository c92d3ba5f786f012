"""Files that belong together are one job, in order; a group that lacks one is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.strategies import accepted_key

from parallelize.runs.jobs.groups import Pattern, by_folder, by_pattern, packed
from parallelize.runs.jobs.plan import Entries
from parallelize.runs.jobs.spec import Grouped
from parallelize_core.errors import UsageError
from parallelize_core.files import MAX_JOB_BYTES, InputFile
from parallelize_core.manifest import Entry


def files(*keys: str, size: int = 1) -> list[Entry]:
    return [Entry(key=key, size=size, etag="") for key in keys]


def shown(grouped: Grouped) -> dict[str, list[str]]:
    return {job.name: [file.key for file in job.files] for job in grouped.jobs}


def test_the_pairs_of_batch_shipyard_are_two_jobs() -> None:
    # https://github.com/Azure/batch-shipyard/issues/326
    found = files(
        "SAMPLE1_R1.fastq", "SAMPLE1_R2.fastq", "test/TEST0_R1.fastq", "test/TEST0_R2.fastq"
    )
    grouped = by_pattern(found, Pattern.parse("{sample}_R{n}.fastq"))
    assert shown(grouped) == {
        "SAMPLE1": ["SAMPLE1_R1.fastq", "SAMPLE1_R2.fastq"],
        "test/TEST0": ["test/TEST0_R1.fastq", "test/TEST0_R2.fastq"],
    }
    assert [job.variables for job in grouped.jobs] == [{"sample": "SAMPLE1"}, {"sample": "TEST0"}]


def test_files_are_in_the_order_of_their_numbers_and_not_of_their_names() -> None:
    found = files(*(f"A_{n}.png" for n in (10, 9, 1)))
    assert shown(by_pattern(found, Pattern.parse("{scan}_{n}.png"))) == {
        "A": ["A_1.png", "A_9.png", "A_10.png"]
    }


def test_a_name_may_have_what_stands_between() -> None:
    found = files("a_R1_R1.fq", "a_R1_R2.fq")
    assert list(shown(by_pattern(found, Pattern.parse("{s}_R{n}.fq")))) == ["a_R1"]


def test_several_names_and_folders_make_a_group() -> None:
    found = files("d/A/L1/R1.fq", "d/A/L1/R2.fq", "d/B/L1/R1.fq", "d/B/L1/R2.fq")
    assert list(shown(by_pattern(found, Pattern.parse("{s}/{lane}/R{n}.fq")))) == [
        "d/s=A,lane=L1", "d/s=B,lane=L1",
    ]  # fmt: skip


def test_a_group_without_a_file_that_others_have_is_named() -> None:
    found = files("d/A_R1.fq", "d/A_R2.fq", "d/B_R2.fq")
    with pytest.raises(UsageError) as caught:
        by_pattern(found, Pattern.parse("{sample}_R{n}.fq"))
    assert "d/B" in (caught.value.why or "")
    assert "{n} = 1" in (caught.value.why or "")
    assert "d/A" not in (caught.value.why or "")


def test_with_a_star_groups_may_differ() -> None:
    found = files("A_x.fq", "A_y.fq", "B_y.fq")
    assert shown(by_pattern(found, Pattern.parse("{sample}_*.fq"))) == {
        "A": ["A_x.fq", "A_y.fq"], "B": ["B_y.fq"],
    }  # fmt: skip


def test_files_of_no_group_are_told() -> None:
    found = files("A_R1.fq", "notes.txt")
    assert by_pattern(found, Pattern.parse("{s}_R{n}.fq")).ungrouped == ("notes.txt",)


@pytest.mark.parametrize(
    "text", ["{n}.fq", "{s}.fq", "{s}_{n}_{n}", "{s}_{s}_{n}", "*", "{s}_*_{n}"]
)
def test_a_pattern_that_groups_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="groups no files"):
        Pattern.parse(text)


def test_each_folder_is_a_job() -> None:
    grouped = by_folder(files("top", "a/1", "a/2", "a/b/3"))
    listed = shown(grouped)
    top = next(iter(listed))
    assert top.startswith("top~")
    assert listed == {top: ["top"], "a": ["a/1", "a/2"], "a/b": ["a/b/3"]}
    assert [job.variables["folder"] for job in grouped.jobs] == ["", "a", "a/b"]


def test_packs_have_a_number_of_files() -> None:
    grouped = packed(files("a/1", "a/2", "a/3"), 2, None)
    assert [[f.key for f in job.files] for job in grouped.jobs] == [["a/1", "a/2"], ["a/3"]]
    assert [job.name.partition("~")[0] for job in grouped.jobs] == ["a/1+1", "a/3+0"]


def test_packs_have_a_number_of_bytes_unless_one_file_has_more() -> None:
    found = [*files("a", "b", "c", size=4), *files("d", size=100), *files("e", size=1)]
    grouped = packed(found, None, 10)
    assert [[f.key for f in job.files] for job in grouped.jobs] == [["a", "b"], ["c"], ["d"], ["e"]]


@given(keys=st.lists(accepted_key, unique=True, max_size=40), count=st.integers(1, 7))
def test_every_file_is_in_one_pack(keys: list[str], count: int) -> None:
    jobs = list(packed(files(*keys), count, None).jobs)
    assert sorted(file.key for job in jobs for file in job.files) == sorted(keys)
    assert len({job.name for job in jobs}) == len(jobs)
    assert all(1 <= len(job.files) <= count for job in jobs)


def test_no_pack_is_too_large_for_a_message() -> None:
    keys = [f"{number:06d}" + '"' * 200 for number in range(3000)]
    jobs = packed(files(*keys), None, 10**9).jobs
    versions = {key: InputFile(key=key, size=1, etag="e" * 36) for key in keys}
    sizes = [len(entry.model_dump_json()) for entry in Entries(jobs, versions.__getitem__)]
    assert len(sizes) > 1
    assert max(sizes) <= MAX_JOB_BYTES
