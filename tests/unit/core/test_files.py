"""The files of a job: where each is staged, and where what is made of them goes."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.unit.core.strategies import accepted_key

from parallelize_core.files import (
    InputFile,
    files_of,
    joint_etag,
    output_folder,
    staged_names,
    variable_name,
)
from parallelize_core.layout import Location
from parallelize_core.manifest import (
    Entry,
    cut,
    decode_part,
    encode_lines,
    encode_part,
    first_messages,
)

KEYS = st.lists(st.one_of(accepted_key, accepted_key.map(lambda key: f"s3://other/{key}")))


def files(*names: str, columns: tuple[str, ...] = ()) -> tuple[InputFile, ...]:
    named = (*columns, *[""] * len(names))
    return tuple(InputFile(key=n, size=1, column=c) for n, c in zip(names, named, strict=False))


def job(key: str, *names: str, columns: tuple[str, ...] = (), **variables: str) -> Entry:
    listed = files(*names, columns=columns)
    return Entry(key=key, size=len(listed), etag="", files=listed, variables=variables)


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["A_R1.fq", "A_R2.fq"], ["A_R1.fq", "A_R2.fq"]),
        (["d/x.bam", "d/x.bam.bai"], ["x.bam", "x.bam.bai"]),
        (["d/a/x", "d/b/x"], ["a/x", "b/x"]),
        (["d/x", "d/x"], ["x", "x"]),
        (["ref/x.fa", "s3://other/ref/x.fa"], ["ref/x.fa", "other/ref/x.fa"]),
        (["a", "a/b"], ["1/a", "2/b"]),
        ([], []),
    ],
)
def test_files_keep_their_names_below_the_folder_that_they_share(
    keys: list[str], names: list[str]
) -> None:
    assert staged_names(files(*keys)) == tuple(names)


@given(keys=KEYS)
@example(keys=["other/x", "s3://other/x"])
def test_each_file_has_a_place_of_its_own_that_a_disk_can_have(keys: list[str]) -> None:
    names = staged_names(files(*keys))
    assert len(set(zip(keys, names, strict=True))) == len(set(keys)) == len(set(names))
    assert all(not name.startswith("/") and ".." not in name.split("/") for name in names)
    assert not any(other.startswith(f"{name}/") for name in names for other in names)
    assert [posixpath.basename(n) for n in names] == [posixpath.basename(k) for k in keys]


@pytest.mark.parametrize(
    ("entry", "folder"),
    [
        (Entry(key="a/b.csv", size=1, etag=""), "a"),
        (job("a/p+1~x", "a/p", "a/q"), "a"),
        (job("p+1~x", "a/p", "b/q"), ""),
        (job("a/A", "a/A_R1", "a/A_R2", sample="A"), "a/A"),
        (job("left=x,right=y~1", "x", "y", columns=("left", "right")), "left=x,right=y~1"),
        (job("lr=0.1", lr="0.1"), "lr=0.1"),
    ],
)
def test_outputs_lie_beside_the_inputs_or_in_a_folder_of_the_job(entry: Entry, folder: str) -> None:
    assert output_folder(entry) == folder


def test_a_plain_job_is_named_after_its_file() -> None:
    [file] = files_of(Entry(key="a/b", size=3, etag="e"))
    assert (file.key, file.size, file.etag) == ("a/b", 3, "e")
    assert file.place(Location("bucket", "in/")) == ("bucket", "in/a/b")


def test_a_whole_name_of_s3_is_where_it_says() -> None:
    [file] = files("s3://other/d/x")
    assert file.place(Location("bucket", "in/")) == ("other", "d/x")


@pytest.mark.parametrize("key", ["s3://", "s3:///x", "s3://b", "s3://b/../x", "../x", "/x", ""])
def test_a_file_that_could_lead_elsewhere_is_refused(key: str) -> None:
    with pytest.raises(ValidationError):
        InputFile(key=key, size=1)


def test_the_joint_etag_tells_each_change() -> None:
    one, two = (InputFile(key=k, size=1, etag=e) for k, e in (("a", "1"), ("b", "2")))
    changed = two.model_copy(update={"etag": "3"})
    assert len({joint_etag(listed) for listed in ([one, two], [two, one], [one, changed])}) == 3


@pytest.mark.parametrize(
    ("column", "name"), [("lr", "LR"), ("Sample_ID", "SAMPLE_ID"), ("a-b", "A_B"), ("é", "_")]
)
def test_a_column_is_a_variable(column: str, name: str) -> None:
    assert variable_name(column) == f"PARALLELIZE_VAR_{name}"


def test_a_line_of_a_former_manifest_is_a_plain_job() -> None:
    line = '{"key":"a","size":1,"etag":"e"}'
    entry = Entry.model_validate_json(line)
    assert entry.plain
    assert entry.model_dump_json(exclude_defaults=True) == line


def test_jobs_of_all_kinds_come_back_from_the_manifest_and_from_their_messages() -> None:
    listed = (
        Entry(key="a", size=1, etag="e"),
        job("A", "x", "y", columns=("left",), sample="A\nB"),
        job("lr=1", lr="1"),
        Entry(key="n", size=1, etag="e", number=7),
    )
    assert decode_part(encode_part(listed)) == listed
    for claimed in (False, True):
        sent = first_messages("r", listed, claimed=claimed)
        wanted = [entry.message("r") for entry in listed]
        assert sent == [(m.parked() if claimed else m).encode() for m in wanted]


def test_a_part_has_no_more_of_jobs_with_many_files_than_can_be_read() -> None:
    names = [f"{number:04d}-{'x' * 200}" for number in range(800)]
    large = [job(f"j{number}", *names) for number in range(60)]
    parts = list(cut(large))
    assert [line for part in parts for line in part] == [entry.line for entry in large]
    assert len(parts) > 1
    assert all(len(decode_part(encode_lines(part))) == len(part) for part in parts)
