"""The guards of the merge: once on the queue, over the results that are there."""

from __future__ import annotations

from tests.mutations.mutation import AGENT, Mutation

MERGING = f"{AGENT}queue/merging.py"
COMMIT = f"{AGENT}job/commit.py"
MODEL = "model/test_merge.py::test_there_is_one_true_merge_over_the_results_that_are_there"
WHOLE = "functional/agent/test_merge.py::"

MUTATIONS = (
    Mutation(
        "merge-if-unchanged",
        "the merge is put on the queue only if nobody else has done so since the look",
        MERGING,
        "self.layout.merge, record.encode(), condition)",
        "self.layout.merge, record.encode())",
        (MODEL,),
    ),
    Mutation(
        "merge-by-one",
        "only the worker that has written it down sends it",
        MERGING,
        "        if await self._store(seen, record, body):",
        "        if await self._store(seen, record, body) or True:",
        (MODEL,),
    ),
    Mutation(
        "merge-sent-again",
        "a merge that has neither result nor message is sent again",
        MERGING,
        "        if record:\n            message",
        "        if None:\n            message",
        (f"{WHOLE}test_a_merge_whose_message_was_lost_is_sent_again", MODEL),
    ),
    Mutation(
        "merge-when-all-are-there",
        "it is not due while a job has no result",
        MERGING,
        "        return Seen(Standing.EARLY)\n    digest",
        "        pass\n    digest",
        (f"{WHOLE}test_jobs_that_were_never_sent_keep_it_waiting",),
    ),
    Mutation(
        "merge-waits-for-failed",
        "nor while one has failed, unless that is wanted",
        MERGING,
        "    if not then.partial and has_failed(",
        "    if False and has_failed(",
        (f"{WHOLE}test_it_waits_for_jobs_that_have_failed",),
    ),
    Mutation(
        "merge-is-current",
        "a merge that is out of date stores nothing",
        COMMIT,
        "            await self.merge.check()",
        "            pass",
        (f"{WHOLE}test_a_merge_that_is_out_of_date_while_it_runs_writes_nothing",),
    ),
    Mutation(
        "merge-of-its-list",
        "a result of another list does not end a merge",
        COMMIT,
        "        if self.merge and result and not self.merge.made(result):",
        "        if False:",
        (f"{WHOLE}test_a_job_that_is_done_again_has_it_done_again",),
    ),
)
