"""Where everything of a run lies, and how outputs are named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.strategies import accepted_key, run_name

from parallelize_core import keys, layout
from parallelize_core.errors import UsageError
from parallelize_core.layout import Location, RunLayout, key_hash, with_suffix
from parallelize_core.names import Names
from parallelize_core.run import DEFAULT_OUTPUT_NAME

SQS_QUEUE_NAME_LENGTH = 80
LAYOUT = RunLayout(Location("bucket", "team/"), "scans")


@pytest.mark.parametrize(
    ("uri", "bucket", "prefix"),
    [
        ("s3://b", "b", ""),
        ("s3://b/", "b", ""),
        ("s3://b/x", "b", "x/"),
        ("s3://b/x/y/", "b", "x/y/"),
    ],
)
def test_a_location_is_a_bucket_and_a_folder(uri: str, bucket: str, prefix: str) -> None:
    assert Location.parse(uri) == Location(bucket, prefix)
    assert Location.parse(Location.parse(uri).uri) == Location(bucket, prefix)


@pytest.mark.parametrize("uri", ["", "b/x", "http://b/x", "s3:/b", "s3://", "s3:///x"])
def test_what_is_no_location_is_refused_with_the_form(uri: str) -> None:
    with pytest.raises(UsageError, match="s3://bucket/prefix"):
        Location.parse(uri)


@given(accepted_key)
def test_a_key_below_a_location_is_found_again(key: str) -> None:
    assert LAYOUT.input.relative(LAYOUT.input.key(key)) == key


def test_everything_of_a_run_lies_below_its_root() -> None:
    made = [
        LAYOUT.run_json, LAYOUT.manifest_part(0), LAYOUT.cursor(0), LAYOUT.environment("0" * 64),
        LAYOUT.result("a"), LAYOUT.failure("a"), LAYOUT.claim("a"),
        LAYOUT.attempt("a", 1, "w", "2027-01-15T07:00:00.000Z"), LAYOUT.heartbeat("w"),
        LAYOUT.input.prefix, LAYOUT.output.prefix,
    ]  # fmt: skip
    assert all(key.startswith("team/runs/scans/") for key in made)
    assert len(set(made)) == len(made)


def test_one_runs_root_is_not_the_start_of_anothers() -> None:
    other = RunLayout(Location("bucket", "team/"), "scans2")
    assert not other.run_json.startswith(LAYOUT.root.prefix)


@given(run_name, run_name)
def test_no_two_runs_share_a_queue_and_every_name_is_short_enough(one: str, other: str) -> None:
    runs = {Names(layout.check_run_name(run), "s" * 14) for run in {one, other}}
    names = {name for run in runs for name in (run.queue, run.dead_letter_queue)}
    assert len(names) == 2 * len({one, other})
    assert all(len(name) <= SQS_QUEUE_NAME_LENGTH for name in names)


def test_a_run_named_like_a_dead_letter_queue_is_refused() -> None:
    """The queue of "x-dead" would be the dead-letter queue of "x"."""
    with pytest.raises(UsageError, match="-dead"):
        layout.check_run_name("x-dead")


@pytest.mark.parametrize("run", ["", "-x", "_x", "a/b", "a b", "ü", "x" * 61, "x\n", "..", "a.b"])
def test_a_name_that_no_queue_can_have_is_refused(run: str) -> None:
    with pytest.raises(UsageError, match="cannot name a run"):
        layout.check_run_name(run)


@pytest.mark.parametrize(
    ("template", "key", "printed", "expected"),
    [
        (DEFAULT_OUTPUT_NAME, "a/b/scan.tif", "scan.csv", "a/b/scan.csv"),
        (DEFAULT_OUTPUT_NAME, "scan.tif", "scan.csv", "scan.csv"),
        (DEFAULT_OUTPUT_NAME, "a/scan.tif", "plots/one.png", "a/plots/one.png"),
        (DEFAULT_OUTPUT_NAME, "a/scan.tif", "README", "a/README"),
        ("{run}/{stem}{suffix}", "a/scan.tif", "x.csv", "scans/x.csv"),
    ],
)
def test_an_output_keeps_the_folder_of_its_input(
    template: str, key: str, printed: str, expected: str
) -> None:
    assert layout.output_name(template, "scans", key, printed) == expected


def test_a_hash_in_the_name_tells_inputs_apart() -> None:
    names = {layout.output_name("{hash}{suffix}", "r", key, "a.csv") for key in ("x", "y")}
    assert len(names) == 2


@given(st.lists(accepted_key, min_size=2, max_size=5, unique=True))
def test_the_suffix_for_a_clash_tells_inputs_apart(inputs: list[str]) -> None:
    assert len({layout.with_suffix("a/b.csv", key) for key in inputs}) == len(inputs)


NAMES = st.text(min_size=1, max_size=200).filter(lambda name: keys.refusal(name) is None)
LONG_NAMES = st.builds(
    lambda folders, last, ending: "/".join([*folders, last * 9])[:1020] + ending,
    st.lists(NAMES, max_size=6), NAMES, st.sampled_from(["", ".txt", "." + "x" * 90]),
).filter(lambda name: keys.refusal(name) is None)  # fmt: skip


@given(NAMES | LONG_NAMES, st.sampled_from(["a", "b/c.txt"]), st.integers(300, 1024))
def test_a_suffix_makes_a_name_that_can_be_stored_and_downloaded(
    name: str, key: str, room: int
) -> None:
    made = with_suffix(name, key, room)
    assert keys.refusal(made) is None
    assert len(made.encode()) <= room
    assert made != with_suffix(name, key + "x", room)


@pytest.mark.parametrize("letter", ["n", "é", "日", "😀"])
@pytest.mark.parametrize("ending", [".txt", "", ".tar", "." + "x" * 100])
def test_long_names_that_differ_only_at_their_end_stay_apart_after_a_suffix(
    letter: str, ending: str
) -> None:
    size = (255 - len(ending) - 1) // len(letter.encode())
    names = [f"deep/{letter * size}{number}{ending}" for number in range(3)]
    made = {with_suffix(name, "a") for name in names}
    assert len(made) == 3
    assert all(keys.refusal(name) is None for name in made)


def test_a_name_with_room_keeps_its_whole_stem() -> None:
    assert with_suffix("a/b.txt", "k") == f"a/b-{key_hash('k')}.txt"
