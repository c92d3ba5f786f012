"""Which objects and files a run takes, by what can be said of them in the settings."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable

import pytest
from tests.functional.client.conftest import Project

from parallelize.runs.inputs import local_inputs
from parallelize_core.manifest import read_parts

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def lake(project: Project) -> str:
    """A bucket of somebody else with two tables and other things."""
    s3, name = project.context.clients.s3, f"lake-{project.run}"
    s3.create_bucket(Bucket=name)
    for key in ("p/a.csv", "p/b.csv", "p/deep/c.csv", "p/_SUCCESS", "p/a.csv.gz", "p/d[1].csv"):
        s3.put_object(Bucket=name, Key=key, Body=key.encode())
    return name


def prepared(project: Project) -> tuple[str, list[str]]:
    """Where the inputs lie, and their keys."""
    run = json.loads(project.store.get(project.layout.run_json))
    parts = read_parts(project.store, project.layout)
    return run["input"]["prefix"], sorted(entry.key for part in parts for entry in part.entries)


TABLES = ["a.csv", "b.csv", "d[1].csv"]


@pytest.mark.parametrize(
    ("spec", "prefix", "keys"),
    [
        ("s3://{}/p/*.csv", "p/", TABLES),
        ("s3://{}/p/**/*.csv", "p/", [*TABLES, "deep/c.csv"]),
        ("s3://{}/p/[ab].csv", "p/", ["a.csv", "b.csv"]),
        ("s3://{}/p/[!a]*.csv", "p/", ["b.csv", "d[1].csv"]),
        ("s3://{}/*/?.csv", "", ["p/a.csv", "p/b.csv"]),
        ("s3://{}/p/a.csv", "p/", ["a.csv"]),
        ("s3://{}/p/d[1].csv", "p/", ["d[1].csv"]),
        ("s3://{}/p/deep", "p/deep/", ["c.csv"]),
        ("s3://{}/p/de*/", "p/", ["deep/c.csv"]),
    ],
)
def test_a_pattern_an_object_or_a_folder_of_s3_can_be_the_inputs(
    project: Project, lake: str, spec: str, prefix: str, keys: list[str]
) -> None:
    assert project.call("prep", "--inputs", spec.format(lake)) == 0
    assert prepared(project) == (prefix, keys)


def test_a_list_of_objects_can_be_the_inputs_and_can_grow(project: Project, lake: str) -> None:
    file = project.folder / "list"
    file.write_text(f"s3://{lake}/p/deep/c.csv\n")
    assert project.call("prep", "--inputs", "@list") == 0
    file.write_text(f"s3://{lake}/p/deep/c.csv\0s3://{lake}/p/a.csv\0")
    assert project.call("prep", "--inputs", "@list") == 0
    assert prepared(project) == ("", ["p/a.csv", "p/deep/c.csv"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("s3://{0}/p/a.csv\ninputs/x\n", "has names of S3, and inputs/x"),
        ("inputs/x\ns3://{0}/p/a.csv\n", "has files of this machine and of S3"),
        ("s3://{0}/p/a.csv\ns3://other/p/b.csv\n", "names objects of 2 buckets"),
        ("s3://{0}/p/a.csv\ns3://{0}/p/gone.csv\n", "there is no object"),
        ("s3://\n", "is not an S3 location"),
    ],
)
def test_a_list_that_cannot_be_one_run_is_refused_in_a_sentence(
    project: Project, lake: str, capsys: Captured, content: str, said: str
) -> None:
    project.add("x")
    (project.folder / "list").write_text(content.format(lake))
    assert project.call("prep", "--inputs", "@list") == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_name_that_is_both_an_object_and_a_folder_is_asked_about(
    project: Project, lake: str, capsys: Captured
) -> None:
    project.context.store_of(lake).put("p/deep", b"an object")
    assert project.call("prep", "--inputs", f"s3://{lake}/p/deep") == 2
    assert "is both an object and a folder of objects" in " ".join(capsys.readouterr().err.split())
    assert project.call("prep", "--inputs", f"s3://{lake}/p/deep/") == 0


def test_odd_objects_are_named_and_counted_and_the_others_prepared(
    project: Project, lake: str, capsys: Captured
) -> None:
    for key in ("q/a.csv", "q/day1/", "q/x//y"):
        project.context.store_of(lake).put(key, b"content")
    assert project.call("prep", "--inputs", f"s3://{lake}/q/", "--json") == 0
    told = capsys.readouterr()
    assert "2 objects cannot be processed:" in told.err
    assert "day1/: it has content, but its name ends in a slash" in told.err
    assert (json.loads(told.out)["inputs"], json.loads(told.out)["refused"]) == (1, 2)


def test_outputs_below_the_inputs_of_s3_do_not_become_inputs(
    project: Project, lake: str, capsys: Captured
) -> None:
    toml = (project.folder / "parallelize.toml").read_text()

    def send_outputs_to(place: str) -> None:
        text = f'{toml}\n[output]\nto = "s3://{lake}/{place}"\n'
        (project.folder / "parallelize.toml").write_text(text)

    send_outputs_to("p/results/")
    project.context.store_of(lake).put("p/results/a.out", b"an output")
    assert project.call("prep", "--inputs", f"s3://{lake}/p/*/*") == 0
    assert prepared(project)[1] == ["deep/c.csv"]
    send_outputs_to("p")
    assert project.call("prep", "--inputs", f"s3://{lake}/p/", "--run", f"{project.run}-2") == 2
    assert "the outputs would lie among the inputs" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("spec", "to"),
    [("s3://{}/p/", ""), ("s3://{}/p/deep/*", "p/"), ("@list", "p/"), ("@sheet.tsv", "")],
)
def test_no_output_can_take_the_place_of_an_input_of_s3(
    project: Project, lake: str, capsys: Captured, spec: str, to: str
) -> None:
    (project.folder / "list").write_text(f"s3://{lake}/p/a.csv\n")
    (project.folder / "sheet.tsv").write_text(f"day\tfile\n1\ts3://{lake}/p/deep/c.csv\n")
    with (project.folder / "parallelize.toml").open("a") as toml:
        toml.write(f'\n[output]\nto = "s3://{lake}/{to}"\non_clash = "replace"\n')
    capsys.readouterr()
    inputs = ("--inputs", spec.format(lake))
    for more in ((), ("--dry-run",)):
        assert project.call("prep", *inputs, *more) == 2
        assert "outputs could replace inputs" in capsys.readouterr().err
    assert project.store.head(project.layout.run_json) is None
    toml_text = (project.folder / "parallelize.toml").read_text()
    (project.folder / "parallelize.toml").write_text(toml_text.replace("replace", "suffix"))
    assert project.call("prep", *inputs) == 0


def test_a_runs_own_bucket_can_be_the_inputs_without_what_runs_keep_there(
    project: Project,
) -> None:
    project.store.put("a.csv", b"data")
    project.add("other.txt")
    assert project.call("prep", "--run", f"{project.run}-other") == 0
    assert project.call("prep", "--inputs", f"s3://{project.context.bucket}/*.csv") == 0
    assert prepared(project)[1] == ["a.csv"]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def give(content: bytes) -> None:
        local_inputs._stdin.cache_clear()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


@pytest.mark.parametrize("separator", ["\n", "\0"])
def test_a_list_can_come_from_stdin(
    project: Project, typed: Callable[[bytes], None], separator: str
) -> None:
    project.add("a b", "c")
    typed(f"inputs/a b{separator}inputs/c{separator}".encode())
    assert project.call("prep", "--inputs", "@-") == 0
    assert prepared(project)[1] == ["inputs/a b", "inputs/c"]


def test_what_was_left_out_is_told_and_counted(project: Project, capsys: Captured) -> None:
    project.add("a.csv", ".DS_Store", "sub/._b", "sub/.ipynb_checkpoints/c", "sub/d~")
    capsys.readouterr()
    assert project.call("prep", "--json") == 0
    told = capsys.readouterr()
    expected = "left out: .DS_Store, sub/._b, sub/.ipynb_checkpoints/ and 1 more"
    assert expected in " ".join(told.err.split())
    assert json.loads(told.out)["left_out"] == 4
    assert prepared(project)[1] == ["a.csv"]
