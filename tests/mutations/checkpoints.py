"""Memory and checkpoints: how many jobs run, and what an attempt goes on from."""

from __future__ import annotations

from tests.mutations.mutation import AGENT, Mutation

CHECKPOINTS, SNAPSHOT = f"{AGENT}job/checkpoints.py", f"{AGENT}job/snapshot.py"
STAGE_OUT, ADMISSION = f"{AGENT}job/stage_out.py", f"{AGENT}memory/admission.py"
ORDERS = "model/test_checkpoints.py::test_a_checkpoint_is_whole_and_never_an_older_one"
KEPT, PACKED = "functional/agent/test_checkpoints.py::", "unit/agent/test_snapshot.py::"
ADMITTED = "unit/agent/test_memory_admission.py::"

MUTATIONS = (
    Mutation(
        "marker-condition",
        "a marker is written only over the one that its attempt knows",
        CHECKPOINTS,
        "condition = Condition(etag=kept.marker) if kept.marker else IF_ABSENT",
        "condition = Condition()",
        (ORDERS,),
    ),
    Mutation(
        "marker-under-lease",
        "a marker is written under a lease that was just checked",
        CHECKPOINTS,
        "        for _ in range(TRIES):\n            kept.lease.check()\n",
        "        for _ in range(TRIES):\n",
        (ORDERS,),
    ),
    Mutation(
        "checksum-before-unpacking",
        "an archive is compared with its checksum before anything is unpacked",
        SNAPSHOT,
        "        if _sha256(archive) != sha256:\n",
        "        if False:\n",
        (f"{PACKED}test_an_archive_that_is_not_whole_is_never_unpacked",),
    ),
    Mutation(
        "same-file-after-reading",
        "a file that changes while it is packed makes the archive void",
        SNAPSHOT,
        "    if facts(entry.status) != facts(now):\n",
        "    if False:\n",
        (f"{PACKED}test_a_file_that_changes_while_it_is_packed_makes_no_snapshot",),
    ),
    Mutation(
        "own-checkpoint",
        "a checkpoint of another command or input is not restored",
        CHECKPOINTS,
        "        if checkpoint.identity != kept.identity:\n",
        "        if False:\n",
        (f"{KEPT}test_a_checkpoint_of_another_command_is_not_restored",),
    ),
    Mutation(
        "gone-with-the-result",
        "a job that has its result has no checkpoint",
        STAGE_OUT,
        "        await self._drop_checkpoint(received, ran)\n        if held:\n"
        "            await self.messages.acknowledge",
        "        if held:\n            await self.messages.acknowledge",
        (
            f"{KEPT}test_what_is_left_at_exit_76_is_there_at_the_next_attempt_and_gone_with_the_result",
        ),
    ),
    Mutation(
        "promise-counts",
        "what a run promises of its jobs' memory fits the machine",
        ADMISSION,
        "        if least := max(need.promised, need.room):\n",
        "        if least := need.room:\n",
        (f"{ADMITTED}test_what_is_promised_fits_nine_tenths_of_the_machine",),
    ),
)
