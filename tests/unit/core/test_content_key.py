"""Whatever a pure command's outputs depend on changes the content key; nothing else does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.unit.core.strategies import accepted_key

from parallelize_core.content_key import content_key, content_keys, content_of
from parallelize_core.files import InputFile, files_of
from parallelize_core.job import JobMessage
from parallelize_core.manifest import Entry, first_messages
from parallelize_core.run import Then


@dataclass(frozen=True)
class Executed:
    """As much of a run as a content key is made of."""

    recipe: str
    then: Then | None = None


texts = st.text(st.characters(codec="utf-8"), max_size=8)
etags = st.text("0123456789abcdef-", min_size=1, max_size=8)
checksums = st.sampled_from(["", "0a" * 32, "0b" * 32])
places = st.sampled_from(["", f"{'0a' * 32}/x", f"{'0a' * 32}/y", f"{'0b' * 32}/x"])
files = st.builds(
    InputFile, key=accepted_key, size=st.integers(0, 9), etag=etags, stored=places,
    sha256=checksums, column=st.sampled_from(["", "reads", "ref"]),
)  # fmt: skip
entries = st.builds(
    Entry,
    key=accepted_key,
    size=st.integers(0, 9),
    etag=etags,
    stored=places,
    sha256=checksums,
    files=st.none() | st.lists(files, max_size=3).map(tuple),
    variables=st.dictionaries(texts, texts, max_size=3),
    number=st.none() | st.integers(1, 9),
    merge=st.booleans(),
)
thens = st.builds(
    Then,
    command=st.lists(texts, min_size=1, max_size=2).map(tuple),
    template=st.booleans(),
    partial=st.booleans(),
)
runs = st.builds(
    Executed, recipe=st.text("0123456789abcdef", min_size=1, max_size=4), then=st.none() | thens
)


OF_A_FILE = ("key", "size", "etag", "stored", "sha256", "column")


def told_of(file: InputFile) -> list[Any]:
    """All that a key says of a file: of its content its checksum, or else its ETag."""
    checksum = file.stored[:64] or file.sha256
    return [file.key, file.size, [checksum] if checksum else file.etag, file.column]


def parts(run: Executed, entry: Entry) -> list[Any]:
    """All that a key stands for, as a value that can be compared."""
    told = list(map(told_of, files_of(entry)))
    # What the merge is given has one ETag in all, and its command is another.
    last = run.then and (run.then.command, run.then.template)
    made = [entry.etag, last] if entry.merge else told
    return [
        run.recipe,
        entry.key,
        entry.files is None,
        made,
        entry.merge,
        entry.variables,
        entry.number,
    ]


@given(runs, entries, runs, entries)
def test_two_jobs_have_one_key_only_if_they_are_the_same(
    run: Executed, one: Entry, other_run: Executed, other: Entry
) -> None:
    same = parts(run, one) == parts(other_run, other)
    assert (content_key(run, one) == content_key(other_run, other)) == same


@given(runs, entries, st.data())
def test_each_field_of_a_job_changes_its_key(
    run: Executed, entry: Entry, data: st.DataObject
) -> None:
    other = data.draw(entries)
    name = data.draw(st.sampled_from(sorted(Entry.model_fields)))
    changed = entry.model_copy(update={name: getattr(other, name)})
    assume(parts(run, changed) != parts(run, entry))
    assert content_key(run, changed) != content_key(run, entry)


@given(runs, entries, st.lists(files, min_size=1, max_size=3), st.data())
def test_each_field_of_each_file_changes_it(
    run: Executed, entry: Entry, several: list[InputFile], data: st.DataObject
) -> None:
    entry = entry.model_copy(update={"files": tuple(several), "merge": False})
    place = data.draw(st.integers(0, len(several) - 1))
    name = data.draw(st.sampled_from(OF_A_FILE))
    other = getattr(data.draw(files), name)
    named = list(several)
    named[place] = several[place].model_copy(update={name: other})
    assume(told_of(named[place]) != told_of(several[place]))
    changed = entry.model_copy(update={"files": tuple(named)})
    assert content_key(run, changed) != content_key(run, entry)


@given(runs, entries, st.lists(files, min_size=2, max_size=3, unique=True).map(tuple))
def test_the_order_of_files_changes_it(
    run: Executed, entry: Entry, several: tuple[InputFile, ...]
) -> None:
    assume(list(map(told_of, several)) != list(map(told_of, several[::-1])))
    entry = entry.model_copy(update={"files": several, "merge": False})
    turned = entry.model_copy(update={"files": several[::-1]})
    assert content_key(run, turned) != content_key(run, entry)


@given(runs, entries)
def test_a_worker_computes_from_its_message_what_the_client_does_from_the_manifest(
    run: Executed, entry: Entry
) -> None:
    assume(
        not (entry.plain and (entry.variables or entry.merge))
    )  # a job with variables has files, or none
    [body] = first_messages("run", [entry])
    message = JobMessage.decode(body).with_more_memory(1).with_failure_on("w").parked()
    assert content_key(run, message) == content_key(run, entry)


@given(entries)
def test_without_a_recipe_or_with_any_version_of_a_file_it_is_not_known(entry: Entry) -> None:
    assert content_key(Executed(""), entry) == ""
    plain = entry.model_copy(
        update={"files": None, "etag": "", "stored": "", "sha256": "", "merge": False}
    )
    assert content_key(Executed("recipe"), plain) == ""


def test_what_is_only_joined_is_kept_apart() -> None:
    one = Entry(key="k", size=0, etag="e", files=(), variables={"a": "1b", "c": ""})
    two = one.model_copy(update={"variables": {"a": "1", "bc": ""}})
    assert content_key(Executed("r"), one) != content_key(Executed("r"), two)


def test_the_key_of_a_job_stays_the_same_from_version_to_version() -> None:
    """Else all that anybody has finished would be out of date after an upgrade."""
    entry = Entry(key="a/b.txt", size=3, etag="abc")
    assert content_key(Executed("recipe"), entry)[:16] == "8efa241b8ae2204d"
    known = entry.model_copy(update={"stored": f"{'0a' * 32}/mark"})
    assert content_key(Executed("recipe"), known)[:16] == "f284b6c69345b7fd"


@given(runs, entries)
def test_a_result_of_a_former_version_is_compared_by_the_etags_of_its_files(
    run: Executed, entry: Entry
) -> None:
    bare = [f.model_copy(update={"stored": "", "sha256": ""}) for f in entry.files or ()]
    update = {"stored": "", "sha256": "", "files": None if entry.files is None else tuple(bare)}
    former = content_key(run, entry.model_copy(update=update))
    assert content_keys(run, entry) == tuple(dict.fromkeys([content_key(run, entry), former]))


@given(runs, files, etags, st.sampled_from("xyz"))
def test_the_same_bytes_are_the_same_wherever_and_in_however_many_parts_they_lie(
    run: Executed, file: InputFile, etag: str, mark: str
) -> None:
    checksum = "0a" * 32
    one = file.model_copy(update={"stored": f"{checksum}/0", "sha256": ""})
    for update in (
        {"etag": etag, "stored": f"{checksum}/{mark}"},
        {"stored": "", "sha256": checksum},
    ):
        other = one.model_copy(update=update)
        assert content_of(one) == content_of(other)
        jobs = [Entry(key="k", size=1, etag="e", files=(f,)) for f in (one, other)]
        assert content_key(run, jobs[0]) == content_key(run, jobs[1])


def test_no_etag_is_taken_for_a_checksum() -> None:
    checksum = "0a" * 32
    one = Entry(key="k", size=1, etag=checksum)
    assert content_key(Executed("r"), one) != content_key(
        Executed("r"), one.model_copy(update={"sha256": checksum})
    )
