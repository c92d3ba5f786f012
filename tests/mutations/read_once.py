"""The guards of what a command reads once: no answer that is out of date is acted on."""

from __future__ import annotations

from tests.mutations.mutation import CORE, Mutation

OWNERSHIP = "tools/parallelize/runs/record/ownership.py"
RECORD = "tools/parallelize/runs/record/run_record.py"
PREP = "tools/parallelize/operations/prep.py"
ENQUEUE = "tools/parallelize/operations/enqueue.py"
SNAPSHOT = "tools/parallelize/runs/state/snapshot.py"
TOGETHER = "tools/parallelize/together.py"
WIRE = "tools/parallelize/wire.py"
TRIPS = "functional/client/test_meanwhile.py::"
PAUSE = "unit/core/test_pause.py::"
BULK = "functional/bench/test_bulk.py::"
STATUS = "unit/watching/test_run_status.py::"
LOOK = f"{STATUS}test_a_job_that_ends_during_a_look_has_its_result_and_its_mark"

_WAITING = "    waiting = waiting_jobs(run, store, layout, done, places)\n"
_WHY = (
    "    # To read the manifest takes long. "
    "No write is refused because its run has since been paused,\n"
    "    # corrected, begun again, or taken by another project.\n"
)
_HEARTBEATS = "        heartbeats, outlines, sent = self._reported(agents, manifest)\n"
_SPLITS = (
    "        # After the heartbeats: what a worker says that it has done has its result.\n"
    "        splits = [self._layout.result(outline.first) "
    "for outline in outlines[1:] if outline.first]\n"
)
_LISTED = "        listed = list_each(self._store, self._layout.results.prefix, splits)\n"
_RESULTS = "        results = self._versions(run, listed)\n"
_AFTER = "        # After the results: a mark is made before its result, so this misses none.\n"
_MARKS = (
    "        marks, silences = "
    "calls.list(layout.failures.prefix), calls.list(layout.silences.prefix)\n"
)

MUTATIONS = (
    Mutation(
        "run-of-nobody-if-absent",
        "a run that nobody has started becomes a project's only if nobody has started it since",
        OWNERSHIP,
        "mine, IF_ABSENT) is None",
        "mine) is None",
        (f"{TRIPS}test_a_run_that_another_project_takes_meanwhile_is_left_to_it",),
    ),
    Mutation(
        "part-if-absent",
        "no part of a manifest is replaced",
        "tools/parallelize/runs/jobs/plan.py",
        "encode_lines(part), IF_ABSENT)",
        "encode_lines(part))",
        (f"{TRIPS}test_inputs_that_another_prep_has_added_meanwhile_are_not_added_twice",),
    ),
    Mutation(
        "parts-read-again",
        "a manifest to which another client has added is read again, and nothing added twice",
        PREP,
        "        known = KnownJobs(store, layout)\n",
        "",
        (f"{TRIPS}test_inputs_that_another_prep_has_added_meanwhile_are_not_added_twice",),
    ),
    Mutation(
        "record-if-absent",
        "the first record of a run is written only if there is none",
        RECORD,
        "if found.read else IF_ABSENT\n",
        "if found.read else Condition()\n",
        (f"{TRIPS}test_two_first_preps_of_a_project_at_once_add_each_input_once",),
    ),
    Mutation(
        "record-of-another-project",
        "a `prep` whose record was refused is not complete if another project has written one",
        RECORD,
        "    check_origin(context, found)\n    if before.read",
        "    if before.read",
        (f"{TRIPS}test_a_run_that_another_project_takes_just_before_its_record_is_not_ours",),
    ),
    Mutation(
        "record-gone-again",
        "a first `prep` whose record was refused is not complete if there is none",
        RECORD,
        "    if before.read or not found.run:\n",
        "    if before.read:\n",
        (f"{TRIPS}test_a_first_prep_that_finds_no_record_after_all_is_not_called_complete",),
    ),
    Mutation(
        "record-of-another-client",
        "a `prep` whose record was refused does not take another client's for its own",
        RECORD,
        "    if before.read or not found.run:\n",
        "    if not found.run:\n",
        (f"{TRIPS}test_a_record_that_is_written_just_before_is_not_replaced",),
    ),
    Mutation(
        "record-if-match",
        "no record is replaced but the one that was read",
        RECORD,
        "Condition(etag=found.read[1]) if found.read",
        "Condition() if found.read",
        (f"{TRIPS}test_a_record_that_is_written_just_before_is_not_replaced",),
    ),
    Mutation(
        "adopted-if-match",
        "what others write is kept when a run of a former version becomes a project's",
        OWNERSHIP,
        "        change_run(store, layout, adopted, found.read)\n",
        "        store.put(layout.run_json, adopted(run).encode())\n",
        (f"{TRIPS}test_a_pause_while_a_run_of_a_former_version_is_adopted_is_kept",),
    ),
    Mutation(
        "change-if-match",
        "a pause or a resumption replaces only the record that was read",
        f"{CORE}pause.py",
        "Condition(etag=etag)):",
        "Condition()):",
        (f"{PAUSE}test_what_was_read_a_moment_ago_is_not_written_over_what_is_there_now",),
    ),
    Mutation(
        "marks-counted-again",
        "the marks that a resumption forgives are counted after each read of the record",
        f"{CORE}pause.py",
        "    def resumed(run: Run) -> Run:\n",
        "    early = sum(1 for _ in store.list(layout.failures.prefix))\n\n"
        "    def resumed(run: Run) -> Run:\n        if run.paused:\n"
        '            return run.model_copy(update={"paused": "", "forgiven": early})\n',
        (f"{PAUSE}test_failures_that_came_while_another_changed_the_run_are_forgiven_too",),
    ),
    Mutation(
        "etag-before-content",
        "the ETag of a record is read before its content, so that it is not newer",
        f"{CORE}pause.py",
        "    found = store.head(layout.run_json)\n"
        '    return store.get(layout.run_json), found.etag if found else ""\n',
        "    body = store.get(layout.run_json)\n    found = store.head(layout.run_json)\n"
        '    return body, found.etag if found else ""\n',
        (f"{PAUSE}test_what_is_written_during_a_look_is_not_lost",),
    ),
    Mutation(
        "version-before-content",
        "so is the ETag of a version that is read together with other objects",
        TOGETHER,
        "    there, body = store.head(key), get_if_there(store, key)\n",
        "    body, there = get_if_there(store, key), store.head(key)\n",
        (f"{BULK}test_without_a_loop_a_version_that_changes_during_a_look_is_not_written_over",),
    ),
    Mutation(
        "answer-is-made-once",
        "an answer stays what it was, however often it is needed",
        TOGETHER,
        "        if not made:\n            made.append(call())\n        return made[0]\n",
        "        return call()\n",
        (f"{BULK}test_without_a_loop_each_call_is_made_once_where_its_answer_is_needed",),
    ),
    Mutation(
        "error-is-no-answer",
        "a call that has failed is made again, and its answer is not taken for none",
        TOGETHER,
        "self.is_made = self.error, None, False\n",
        "self.is_made = self.error, None, True\n",
        (f"{BULK}test_an_error_is_raised_where_its_answer_is_needed_and_does_not_touch_others",),
    ),
    Mutation(
        "listing-to-its-end",
        "the first page of a long listing is not taken for all of it",
        TOGETHER,
        "            if page and not page.token:\n                return iter(page.found)\n",
        "            if page:\n                return iter(page.found)\n",
        (f"{BULK}test_a_long_listing_that_was_begun_is_read_to_its_end",),
    ),
    Mutation(
        "error-cancels-the-others",
        "nothing that was begun beside a call that fails goes on",
        WIRE,
        "        for task in tasks:\n            task.cancel()\n",
        "        return []\n",
        (f"{BULK}test_what_was_begun_beside_a_call_that_fails_does_not_go_on",),
    ),
    Mutation(
        "run-begun-again-meanwhile",
        "a run that was cleaned and prepared again since it was read counts as another",
        OWNERSHIP,
        "    if there is None or there.created_at != before.created_at:\n",
        "    if there is None:\n",
        (f"{TRIPS}test_a_run_that_is_begun_again_during_a_prep_stays_as_it_is_then",),
    ),
    Mutation(
        "results-read-late",
        "`prep` compares the results that there are once the inputs are read",
        PREP,
        "    results = look.results() if there.run is None else None\n",
        "    results = look.results()\n",
        (f"{TRIPS}test_a_result_that_comes_while_inputs_are_read_is_compared_with_them",),
    ),
    Mutation(
        "run-gone-while-sending",
        "a run that `clean` has deleted while inputs were sent gets no record",
        PREP,
        "read=record())\n        check_still(context, draft, before, there.run)\n",
        "read=record())\n        _ = before\n",
        (f"{TRIPS}test_a_run_that_is_cleaned_once_its_inputs_are_sent_gets_no_record",),
    ),
    Mutation(
        "record-read-after-sending",
        "what others have written to a record while inputs were sent is kept",
        PREP,
        "        there = replace(there, read=record())\n"
        "        check_still(context, draft, before, there.run)\n",
        "        check_still(context, draft, before, there.run)\n        _ = record\n",
        (f"{TRIPS}test_a_pause_once_inputs_are_sent_is_kept",),
    ),
    Mutation(
        "jobs-of-a-run-taken-meanwhile",
        "`enqueue` looks once more whose run it is, when it has read the manifest",
        ENQUEUE,
        "    there, corrections = look_up(calls, store, layout), list_corrections(calls, layout)\n",
        "    corrections = list_corrections(calls, layout)\n",
        (
            f"{TRIPS}test_jobs_of_a_run_that_another_project_takes_while_the_manifest_is_read_are_left_to_it",
        ),
    ),
    Mutation(
        "jobs-of-a-run-begun-again",
        "`enqueue` sends no jobs of a run that was begun again since it read the results",
        ENQUEUE,
        "    check_same(before, run)\n",
        "    _ = before\n",
        (f"{TRIPS}test_jobs_of_a_run_that_is_begun_again_while_its_manifest_is_read_are_not_sent",),
    ),
    Mutation(
        "corrections-read-late",
        "`enqueue` reads the corrections once more, when it has read the manifest",
        ENQUEUE,
        f"{_WAITING}{_WHY}    calls, before = Together(store), run\n"
        "    there, corrections = look_up(calls, store, layout), list_corrections(calls, layout)\n",
        f"    early = list_corrections(calls, layout)()\n{_WAITING}"
        "    calls, before = Together(store), run\n"
        "    there, corrections = look_up(calls, store, layout), lambda: early\n",
        (
            f"{TRIPS}test_an_input_that_is_corrected_while_the_manifest_is_read_is_sent_as_it_is_then",
        ),
    ),
    Mutation(
        "results-after-heartbeats",
        "`status` lists the results after it has read the heartbeats",
        SNAPSHOT,
        f"{_HEARTBEATS}{_SPLITS}{_LISTED}{_RESULTS}",
        f"{_LISTED.replace('splits', '()')}{_RESULTS}{_HEARTBEATS}",
        (LOOK,),
    ),
    Mutation(
        "marks-after-results",
        "`status` lists the marks after the results",
        SNAPSHOT,
        f"{_LISTED}{_RESULTS}{_AFTER}{_MARKS}",
        f"{_MARKS}        early = [*marks()]\n        marks = lambda: early\n{_LISTED}{_RESULTS}",
        (LOOK,),
    ),
)
