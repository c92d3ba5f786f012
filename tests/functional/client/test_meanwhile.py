"""What `prep` and `enqueue` do if what they have read changes meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.functional.client.conftest import Project, with_store

from parallelize.context import Context, open_context
from parallelize.operations.enqueue import send_jobs
from parallelize.operations.prep import Prepared, prepare
from parallelize.options import Common
from parallelize.runs.inputs.local_inputs import LocalInput
from parallelize.runs.jobs.wanted import Asked, read_asked
from parallelize.runs.record.ownership import OthersRunError, find_run, load_run
from parallelize_core.errors import NoRunError, ServiceError, UsageError
from parallelize_core.job import JobMessage
from parallelize_core.manifest import read_entries
from parallelize_core.pause import pause
from parallelize_core.run import Run
from parallelize_core.store import Store


def keys(project: Project) -> list[str]:
    return [entry.key for entry in read_entries(project.store, project.layout)]


def interrupted(project: Project, meanwhile: Callable[[], object]) -> Context:
    """Return a context whose first remark comes when something else has happened.

    `prep` makes one between the look at what is there and its first write.
    """
    waiting = [meanwhile]

    def tell(_: str) -> None:
        while waiting:
            waiting.pop()()

    project.add(".DS_Store")
    return replace(open_context(Common()), tell=tell)


def prepare_while(project: Project, moment: str, meanwhile: Callable[[], None]) -> Prepared:
    """Prepare a new run while something else happens, before or after it was made ours."""
    if moment == "before":
        return prepare(interrupted(project, meanwhile))
    return prepare(open_context(Common()), before_sending=lambda _: meanwhile())


@pytest.fixture
def prepared(project: Project) -> Project:
    """A project whose run has one input, and is prepared."""
    project.add("a.txt")
    prepare(open_context(Common()))
    return project


@pytest.mark.parametrize("moment", ["before", "after"])
def test_two_first_preps_of_a_project_at_once_add_each_input_once(
    project: Project, moment: str
) -> None:
    project.add("a.txt", "b.txt")

    def other() -> None:
        prepare(open_context(Common()))
        pause(project.store, project.layout, "stop")

    made = prepare_while(project, moment, other)
    assert (made.inputs, keys(project)) == (2, ["a.txt", "b.txt"])
    assert load_run(project.store, project.context).paused == "stop", "what happened to it is kept"


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("OUTPUT_TO", "s3://auto/elsewhere/"),
        ("RUN_COMMAND", "./job.sh --other"),
        ("RUN_THEN", "./job.sh"),
        ("RUN_TIMEOUT", "7m"),
    ],
)
def test_of_two_first_preps_with_other_settings_the_second_replaces_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, moment: str
) -> None:
    project.add("a.txt")
    theirs: list[Run] = []

    def other() -> None:
        with monkeypatch.context() as patch:
            patch.setenv(f"PARALLELIZE_{setting}", value)
            prepare(open_context(Common()))
        theirs.append(load_run(project.store, project.context))

    with pytest.raises(ServiceError, match="another client changed"):
        prepare_while(project, moment, other)
    assert [load_run(project.store, project.context)] == theirs


def test_inputs_that_another_prep_has_added_meanwhile_are_not_added_twice(
    prepared: Project,
) -> None:
    prepared.add("b.txt")

    def other() -> None:
        prepared.add("c.txt")
        prepare(open_context(Common()))

    made = prepare(interrupted(prepared, other))
    assert (made.inputs, keys(prepared)) == (3, ["a.txt", "b.txt", "c.txt"])


def test_a_pause_during_a_prep_that_changes_the_run_is_kept(prepared: Project) -> None:
    prepared.write_script("#!/bin/sh\n# another\n")
    before = load_run(prepared.store, prepared.context)
    prepare(interrupted(prepared, lambda: pause(prepared.store, prepared.layout, "stop")))
    after = load_run(prepared.store, prepared.context)
    assert (after.paused, after.recipe == before.recipe) == ("stop", False)


def test_a_run_that_is_cleaned_during_a_prep_is_not_called_complete(
    prepared: Project,
) -> None:
    def other() -> None:
        assert prepared.call("clean", "--yes") == 0

    with pytest.raises(ServiceError, match="another client changed") as caught:
        prepare(interrupted(prepared, other))
    assert caught.value.fix == "try again"
    assert find_run(prepared.store, prepared.layout.run_json) is None


def again(project: Project, *names: str) -> None:
    """Do what another client of the project may do meanwhile: begin the run again, with these."""
    assert project.call("clean", "--yes") == 0
    shutil.rmtree(project.folder / "inputs")
    project.add(*names)
    prepare(open_context(Common()))


def test_a_run_that_is_begun_again_during_a_prep_stays_as_it_is_then(project: Project) -> None:
    project.add("a.txt", "b.txt")
    prepare(open_context(Common()))
    theirs: list[list[tuple[str, str]]] = []

    def other() -> None:
        again(project, "c.txt")
        theirs.append(_objects(project))

    with pytest.raises(ServiceError, match="another client changed") as caught:
        prepare(interrupted(project, other))
    assert caught.value.fix == "try again"
    assert (_objects(project), keys(project)) == (theirs[0], ["c.txt"])


@pytest.mark.parametrize("there", [False, True], ids=["new", "cleaned meanwhile"])
def test_a_run_that_another_project_takes_meanwhile_is_left_to_it(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    project.add("a.txt")
    if there:
        prepare(open_context(Common()))
        project.add("c.txt")
    theirs = copied(project, tmp_path / "theirs")
    theirs.add("b.txt")
    owned: list[list[tuple[str, str]]] = []

    def other() -> None:
        if there:
            assert project.call("clean", "--yes") == 0
        monkeypatch.chdir(theirs.folder)
        prepare(open_context(Common()))
        monkeypatch.chdir(project.folder)
        owned.append(_objects(project))

    with pytest.raises(OthersRunError):
        prepare(interrupted(project, other))
    assert _objects(project) == owned[0]


def copied(project: Project, folder: Path) -> Project:
    """Make another project whose run has the same name."""
    folder.mkdir()
    shutil.copy(project.folder / "parallelize.toml", folder)
    shutil.copytree(project.folder / "env", folder / "env")
    return Project(folder, project.run, project.call)


def _objects(project: Project) -> list[tuple[str, str]]:
    return [(item.key, item.etag) for item in project.store.list(project.layout.root.prefix)]


class MeanwhileStore:
    """A bucket in which something happens once, after a key is read or before it is written."""

    def __init__(
        self, store: Store, meanwhile: Callable[[], object], *, read: str = "-", written: str = "-"
    ) -> None:
        self._store = store
        self._read, self._written = read, written
        self._waiting = [meanwhile]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, key: str) -> bytes:
        found = self._store.get(key)
        self._go_on(key.startswith(self._read))
        return found

    def put(self, key: str, *words: Any, **more: Any) -> str | None:
        self._go_on(key.startswith(self._written))
        return self._store.put(key, *words, **more)

    def _go_on(self, now: bool) -> None:
        if now and self._waiting:
            self._waiting.pop()()


def send_while(project: Project, meanwhile: Callable[[], object]) -> None:
    """Send the jobs while something else happens, just after the first look."""
    parts = project.layout.manifest.prefix
    store = MeanwhileStore(project.store, meanwhile, read=parts)
    send_jobs(with_store(open_context(Common()), store))


def prepare_before_writing(project: Project, key: str, meanwhile: Callable[[], object]) -> Prepared:
    """Prepare the run; something else happens just before the first key like this is written."""
    store = MeanwhileStore(project.store, meanwhile, written=key)
    return prepare(with_store(open_context(Common()), store))


def test_a_run_that_is_begun_again_once_its_inputs_are_sent_keeps_its_record(
    prepared: Project,
) -> None:
    prepared.add("b.txt")
    prepared.write_script("#!/bin/sh\n# another\n")
    theirs: list[Run] = []

    def other() -> None:
        again(prepared, "c.txt")
        theirs.append(load_run(prepared.store, prepared.context))

    with pytest.raises(ServiceError, match="another client changed"):
        prepare_before_writing(prepared, prepared.layout.manifest.prefix, other)
    assert [load_run(prepared.store, prepared.context)] == theirs


def test_a_pause_once_inputs_are_sent_is_kept(prepared: Project) -> None:
    prepared.add("b.txt")
    prepared.write_script("#!/bin/sh\n# another\n")

    def other() -> None:
        pause(prepared.store, prepared.layout, "stop")

    prepare_before_writing(prepared, prepared.layout.manifest.prefix, other)
    after = load_run(prepared.store, prepared.context)
    assert (after.paused, after.renewed, keys(prepared)) == ("stop", True, ["a.txt", "b.txt"])


def test_a_record_that_is_written_just_before_is_not_replaced(prepared: Project) -> None:
    prepared.write_script("#!/bin/sh\n# another\n")

    def other() -> None:
        prepare(open_context(Common()))
        pause(prepared.store, prepared.layout, "stop")

    with pytest.raises(ServiceError, match="another client changed"):
        prepare_before_writing(prepared, prepared.layout.run_json, other)
    assert load_run(prepared.store, prepared.context).paused == "stop"


def test_a_pause_while_a_run_of_a_former_version_is_adopted_is_kept(prepared: Project) -> None:
    former = load_run(prepared.store, prepared.context).model_copy(
        update={"origin": "", "owner": ""}
    )
    prepared.store.put(prepared.layout.run_json, former.encode())
    prepared.store.delete([prepared.layout.origin])

    def other() -> None:
        pause(prepared.store, prepared.layout, "stop")

    prepare_before_writing(prepared, prepared.layout.run_json, other)
    after = load_run(prepared.store, prepared.context)
    assert (after.paused, bool(after.origin)) == ("stop", True)


def test_a_first_prep_that_finds_no_record_after_all_is_not_called_complete(
    project: Project,
) -> None:
    project.add("a.txt")

    class Vanishing(MeanwhileStore):
        """A record comes just before the write, and is gone after it."""

        def put(self, key: str, *words: Any, **more: Any) -> str | None:
            written = super().put(key, *words, **more)
            if key == project.layout.run_json:
                self.delete([key])
            return written

    store = Vanishing(
        project.store, lambda: prepare(open_context(Common())), written=project.layout.run_json
    )
    with pytest.raises(ServiceError, match="another client changed"):
        prepare(with_store(open_context(Common()), store))


def test_a_run_that_another_project_takes_just_before_its_record_is_not_ours(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.add("a.txt")

    def other() -> None:
        project.store.delete([project.layout.origin])
        theirs = copied(project, tmp_path / "theirs")
        theirs.add("a.txt")
        monkeypatch.chdir(theirs.folder)
        prepare(open_context(Common()))
        monkeypatch.chdir(project.folder)

    with pytest.raises(OthersRunError):
        prepare_before_writing(project, project.layout.run_json, other)


@dataclass(frozen=True)
class SlowInputs(Sequence[LocalInput]):
    """Inputs during whose first look something else happens."""

    found: Sequence[LocalInput]
    waiting: list[Callable[[], object]]

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, at: Any) -> Any:
        while self.waiting:
            self.waiting.pop()()
        return self.found[at]


def test_a_result_that_comes_while_inputs_are_read_is_compared_with_them(prepared: Project) -> None:
    send_jobs(open_context(Common()))
    etag = next(read_entries(prepared.store, prepared.layout)).etag
    (prepared.folder / "inputs" / "a.txt").write_text("another")
    context = open_context(Common())
    found = read_asked(context).found
    assert found is not None
    inputs = SlowInputs([*found.inputs], [lambda: prepared.finish("a.txt", "a.out", etag=etag)])
    with pytest.raises(UsageError, match="1 finished file is out of date"):
        prepare(context, asked=Asked(found._replace(inputs=inputs)))


def test_a_run_that_is_cleaned_once_its_inputs_are_sent_gets_no_record(prepared: Project) -> None:
    prepared.add("b.txt")
    with pytest.raises(ServiceError, match="another client changed"):
        prepare_before_writing(
            prepared, prepared.layout.manifest.prefix, lambda: prepared.call("clean", "--yes")
        )
    assert find_run(prepared.store, prepared.layout.run_json) is None


def test_a_run_that_is_paused_while_its_manifest_is_read_is_resumed(prepared: Project) -> None:
    send_while(prepared, lambda: pause(prepared.store, prepared.layout, "stop"))
    assert not load_run(prepared.store, prepared.context).paused


def test_an_input_that_is_corrected_while_the_manifest_is_read_is_sent_as_it_is_then(
    prepared: Project,
) -> None:
    def other() -> None:
        (prepared.folder / "inputs" / "a.txt").write_text("corrected")
        prepare(open_context(Common()))

    send_while(prepared, other)
    (message,) = prepared.context.queues.main.receive(10, 0, 60)
    entry = next(read_entries(prepared.store, prepared.layout))
    assert JobMessage.decode(message.body).etag == entry.etag
    assert prepared.content_of("a.txt") == b"corrected"


def test_jobs_of_a_run_that_another_project_takes_while_the_manifest_is_read_are_left_to_it(
    prepared: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned: list[list[tuple[str, str]]] = []

    def other() -> None:
        assert prepared.call("clean", "--yes") == 0
        theirs = copied(prepared, tmp_path / "theirs")
        theirs.add("a.txt")
        monkeypatch.chdir(theirs.folder)
        prepare(open_context(Common()))
        monkeypatch.chdir(prepared.folder)
        owned.append(_objects(prepared))

    with pytest.raises(OthersRunError):
        send_while(prepared, other)
    assert _objects(prepared) == owned[0], "not even a cursor is written"


def test_jobs_of_a_run_that_is_begun_again_while_its_manifest_is_read_are_not_sent(
    project: Project,
) -> None:
    project.add("a.txt", "b.txt")
    prepare(open_context(Common()))
    project.finish("a.txt")
    with pytest.raises(ServiceError, match="another client changed"):
        send_while(project, lambda: again(project, "a.txt", "b.txt"))
    # Its result of before says nothing of the job of now.
    assert send_jobs(open_context(Common())).sent == 2


def test_a_run_that_is_cleaned_while_its_manifest_is_read_does_not_begin_again(
    prepared: Project,
) -> None:
    with pytest.raises(NoRunError):
        send_while(prepared, lambda: prepared.call("clean", "--yes"))
    assert _objects(prepared) == []


def test_a_run_that_is_paused_is_resumed_by_enqueue_and_keeps_what_was_forgiven(
    project: Project,
) -> None:
    project.add("a.txt", "b.txt")
    prepare(open_context(Common()))
    send_jobs(open_context(Common()), limit=1)
    project.finish("a.txt", failed=True)
    pause(project.store, project.layout, "stop")
    send_jobs(open_context(Common()))
    run = load_run(project.store, project.context)
    assert (run.paused, run.forgiven) == ("", 1)
