"""The guards of what is done again, and of what is copied: never an old output for a new one."""

from __future__ import annotations

from tests.mutations.mutation import AGENT, CORE, Mutation

CHANGED = "tools/parallelize/operations/changed.py"
REDO = "tools/parallelize/operations/redo.py"
RECORD = "tools/parallelize/runs/record/run_record.py"
REUSE = "tools/parallelize/runs/record/reuse.py"
SUPERSEDED = "tools/parallelize/runs/results/superseded.py"
CHANGES = "functional/client/test_changed.py::"
COPIES = "functional/client/test_reuse.py::"
SUCCESS = "functional/agent/test_success.py::"
CUT_OFF = "test_wherever_it_is_cut_off_no_result_is_lost_and_no_old_one_counts_as_new"

MUTATIONS = (
    Mutation(
        "content-of-what-ran",
        "a result says what its command was started with, and not what the run is by then",
        f"{AGENT}job/stage_out.py",
        "        # As the command has seen it: run.json may have changed since.\n"
        "        run = ran.staged.run if ran else self.run.current\n",
        "        run = self.run.current\n",
        (f"{SUCCESS}test_a_job_that_began_before_a_change_tells_of_what_it_began_with",),
    ),
    Mutation(
        "renewed-is-remembered",
        "a run that has had another recipe has all results compared from then on",
        RECORD,
        '    kept["renewed"] = there.renewed or not same\n',
        '    kept["renewed"] = False\n',
        (f"{CHANGES}test_outputs_are_kept_if_that_is_said_and_it_is_asked_again_the_next_time",),
    ),
    Mutation(
        "changes-are-asked-about",
        "what is out of date is never handed out unasked",
        CHANGED,
        "    if not found.done:\n        return Decision()\n",
        "    return Decision()\n",
        (f"{CHANGES}test_a_changed_script_is_an_error_that_tells_how_many_files_it_concerns",),
    ),
    Mutation(
        "old-results-are-kept",
        "an old result is written down elsewhere before it is taken away",
        REDO,
        "    superseded.keep(store, layout, [(one, etags[one.key]) for one in good])\n",
        "",
        (f"{CHANGES}test_wherever_it_is_cut_off_no_result_is_lost_and_no_old_one_counts_as_new",),
    ),
    Mutation(
        "redo-of-what-was-compared",
        "only the version of a result that was compared is taken away",
        REDO,
        "    return entry.key, store.delete_version(layout.result(entry.key), etags[entry.key])\n",
        "    store.delete([layout.result(entry.key)])\n    return entry.key, True\n",
        (f"{CHANGES}test_a_result_that_came_meanwhile_is_not_taken_away",),
    ),
    Mutation(
        "surplus-of-the-job",
        "of old outputs only those of this very job are removed",
        SUPERSEDED,
        "        if there and mine and there.etag == output.etag:\n",
        "        if there and there.etag == output.etag:\n",
        (f"{CHANGES}test_an_output_of_another_job_in_the_place_of_an_old_one_stays",),
    ),
    Mutation(
        "copy-of-the-same-work",
        "only a result with the very content key is copied",
        REUSE,
        "        if result.content in contents and _can_be_copied(result):\n",
        "        if contents and _can_be_copied(result):\n",
        (f"{COPIES}test_another_input_is_executed_and_the_rest_is_copied",),
    ),
    Mutation(
        "copy-of-the-version",
        "only the version of an output that the result names is copied",
        f"{CORE}boto_store.py",
        "                    CopySourceIfMatch=f'\"{source.etag}\"',\n",
        "",
        ("functional/core/test_store.py::test_what_is_no_longer_that_version_is_not_copied",),
    ),
)
