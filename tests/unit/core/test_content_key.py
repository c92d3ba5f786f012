"""Whatever a pure command's outputs depend on changes the content key; nothing else does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.unit.core.strategies import accepted_key

from parallelize_core.content_key import content_key
from parallelize_core.files import InputFile
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
files = st.builds(
    InputFile, key=accepted_key, size=st.integers(0, 9), etag=etags,
    column=st.sampled_from(["", "reads", "ref"]),
)  # fmt: skip
entries = st.builds(
    Entry,
    key=accepted_key,
    size=st.integers(0, 9),
    etag=etags,
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


OF_A_FILE = ("key", "size", "etag", "column")


def parts(run: Executed, entry: Entry) -> list[Any]:
    """All that a key stands for, as a value that can be compared."""
    plain = entry.files is None
    named = [InputFile(key=entry.key, size=entry.size, etag=entry.etag)] if plain else entry.files
    told = [[getattr(file, name) for name in OF_A_FILE] for file in named or ()]
    # What the merge is given has one ETag in all, and its command is another.
    last = run.then and (run.then.command, run.then.template)
    made = [entry.etag, last] if entry.merge else told
    return [run.recipe, entry.key, plain, made, entry.merge, entry.variables, entry.number]


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


@given(runs, entries.filter(lambda entry: entry.files and not entry.merge), st.data())
def test_each_field_of_each_file_changes_it(
    run: Executed, entry: Entry, data: st.DataObject
) -> None:
    assert entry.files
    place = data.draw(st.integers(0, len(entry.files) - 1))
    name = data.draw(st.sampled_from(OF_A_FILE))
    other = getattr(data.draw(files), name)
    file = entry.files[place]
    assume(getattr(file, name) != other)
    named = list(entry.files)
    named[place] = file.model_copy(update={name: other})
    changed = entry.model_copy(update={"files": tuple(named)})
    assert content_key(run, changed) != content_key(run, entry)


@given(runs, entries, st.lists(files, min_size=2, max_size=3, unique=True).map(tuple))
def test_the_order_of_files_changes_it(
    run: Executed, entry: Entry, several: tuple[InputFile, ...]
) -> None:
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
    plain = entry.model_copy(update={"files": None, "etag": "", "merge": False})
    assert content_key(Executed("recipe"), plain) == ""


def test_what_is_only_joined_is_kept_apart() -> None:
    one = Entry(key="k", size=0, etag="e", files=(), variables={"a": "1b", "c": ""})
    two = one.model_copy(update={"variables": {"a": "1", "bc": ""}})
    assert content_key(Executed("r"), one) != content_key(Executed("r"), two)


def test_the_key_of_a_job_stays_the_same_from_version_to_version() -> None:
    """Else all that anybody has finished would be out of date after an upgrade."""
    entry = Entry(key="a/b.txt", size=3, etag="abc")
    assert content_key(Executed("recipe"), entry)[:16] == "8efa241b8ae2204d"
