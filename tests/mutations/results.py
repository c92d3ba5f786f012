"""Outputs, results and the messages after them: the order of the writes, and their conditions."""

from __future__ import annotations

from tests.mutations.mutation import AGENT, Mutation

COMMIT, STAGE_OUT = f"{AGENT}job/commit.py", f"{AGENT}job/stage_out.py"
MESSAGES, ACKNOWLEDGER = f"{AGENT}queue/messages.py", f"{AGENT}queue/acknowledger.py"
RECEIVER, WORKER = f"{AGENT}queue/receiver.py", f"{AGENT}worker.py"
MODEL = "model/test_protocol.py::test_a_job_ends_with_one_true_result"
WRITES = "functional/agent/test_commit.py::"
LEASES = "functional/agent/test_leases.py::"
FAILURES = "functional/agent/test_failures.py::"
ORDER = "functional/agent/test_order_of_writes.py::"

MUTATIONS = (
    Mutation(
        "lease-before-output",
        "an output is written under a lease that was just checked",
        COMMIT,
        "            await self._check()\n            key = self.run.output.key(name)",
        "            key = self.run.output.key(name)",
        (f"{ORDER}test_nothing_is_written_after_the_lease_is_lost",),
    ),
    Mutation(
        "lease-before-result",
        "so is a result",
        COMMIT,
        "            await self._check()\n            if etag := await self.records.put(",
        "            if etag := await self.records.put(",
        (f"{LEASES}test_a_lease_lost_while_work_is_stored_leaves_no_result",),
    ),
    Mutation(
        "lease-before-record",
        "so is the record of an attempt",
        COMMIT,
        "        await self._check()\n        place = self.layout.attempt(",
        "        place = self.layout.attempt(",
        (f"{ORDER}test_nothing_is_written_after_the_lease_is_lost",),
    ),
    Mutation(
        "output-if-absent",
        "an output is created only where nothing is",
        COMMIT,
        "        condition = IF_ABSENT\n        for _ in range(_TRIES):\n"
        "            await self._check()\n            key",
        "        condition = Condition()\n        for _ in range(_TRIES):\n"
        "            await self._check()\n            key",
        (f"{WRITES}test_an_object_from_outside_the_run_is_not_overwritten",),
    ),
    Mutation(
        "result-if-absent",
        "a result is created only where none is",
        COMMIT,
        "        condition = IF_ABSENT\n        body = result.encode()",
        "        condition = Condition()\n        body = result.encode()",
        (f"{WRITES}test_a_result_that_another_has_written_stands",),
    ),
    Mutation(
        "output-if-match",
        "an output is replaced only if it is still the one that was looked at",
        COMMIT,
        "                condition = Condition(etag=there.etag)",
        "                condition = Condition()",
        (f"{ORDER}test_an_output_that_changes_while_it_is_replaced_is_looked_at_again", MODEL),
    ),
    Mutation(
        "result-if-match",
        "so is an untrue result",
        COMMIT,
        "            condition = Condition(etag=etag)",
        "            condition = Condition()",
        (f"{ORDER}test_a_true_result_that_comes_while_an_untrue_one_is_replaced_stands", MODEL),
    ),
    Mutation(
        "replaced-is-noted",
        "a worker remembers which outputs it has replaced",
        COMMIT,
        "                self.replaced.append(name)\n",
        "",
        (f"{MODEL}",),
    ),
    Mutation(
        "look-back",
        "a worker that has replaced an output looks, before the delete, whether the result is true",
        COMMIT,
        "        if await self.spoiled():\n            self.check()",
        "        if False:\n            self.check()",
        (f"{MODEL}",),
    ),
    Mutation(
        "own-up",
        "a worker whose lease was lost after it replaced an output has the job done again",
        STAGE_OUT,
        "            await self._reconcile(received, commit)\n            raise",
        "            raise",
        (f"{ORDER}test_a_late_write_that_has_spoiled_a_result_sends_the_job_again", MODEL),
    ),
    Mutation(
        "moments-apart",
        "executions that have replaced each other's outputs are done again at different times",
        STAGE_OUT,
        "    most = max(1, least_seconds) * 2 ** (1 + setbacks)\n",
        "    return least_seconds\n    most = max(1, least_seconds) * 2 ** (1 + setbacks)\n",
        (
            f"{ORDER}test_executions_that_replace_each_others_outputs_are_done_again_at_different_times",
        ),
    ),
    Mutation(
        "no-delete-without-lease",
        "a message whose lease ended while the result was written is not acknowledged",
        COMMIT,
        "        return held\n",
        "        return True\n",
        (
            f"{LEASES}test_a_worker_counts_a_result_that_it_stored_just_before_its_lease_ended",
            MODEL,
        ),
    ),
    Mutation(
        "untrue-result-is-no-end",
        "a result whose outputs were replaced does not end the job",
        COMMIT,
        "return found is not None and await self._is_true(found[1])",
        "return found is not None",
        (f"{MODEL}",),
    ),
    Mutation(
        "untrue-result-is-replaced",
        "an untrue result is replaced by a true one",
        COMMIT,
        "            if await self._is_true(there):\n",
        "            if there:\n",
        (f"{WRITES}test_a_result_is_replaced_if_the_outputs_that_it_names_have_been", MODEL),
    ),
    Mutation(
        "true-result-stands",
        "a true result of another worker stands",
        COMMIT,
        "            if await self._is_true(there):\n",
        "            if False:\n",
        (f"{WRITES}test_a_result_that_another_has_written_stands",),
    ),
    Mutation(
        "clash-is-seen",
        "an output of another input, or of none, is not taken for an earlier execution's",
        COMMIT,
        "        if self._is_ours(there):\n            if await",
        "        if True:\n            if await",
        (f"{WRITES}test_a_clash_of_outputs_names_both_inputs_and_is_not_tried_again",),
    ),
    Mutation(
        "result-before-delete",
        "the result is written before the message is deleted",
        STAGE_OUT,
        "        commit = self._commit(received, run)\n        try:",
        "        commit = self._commit(received, run)\n"
        "        await self.messages.acknowledge(received.lease)\n        try:",
        (f"{MODEL}",),
    ),
    Mutation(
        "result-before-claim-drop",
        "the claim is dropped only after the result is written",
        STAGE_OUT,
        "        commit = self._commit(received, run)\n        try:",
        "        commit = self._commit(received, run)\n"
        "        if received.lease.claim:\n"
        "            await self.messages.claims.drop(received.lease.claim)\n        try:",
        (f"{ORDER}test_a_claim_lasts_until_the_result_is_written", MODEL),
    ),
    Mutation(
        "outputs-before-result",
        "the result is written after the outputs that it names",
        STAGE_OUT,
        "            outputs = await commit.put_outputs(found.files)\n",
        "            await self.open_store(self.config.bucket).put(\n"
        "                self.config.layout.result(received.key),\n"
        "                (await self._result(received, ran, SUCCEEDED)).encode(),\n"
        "            )\n"
        "            outputs = await commit.put_outputs(found.files)\n",
        (
            f"{WRITES}test_outputs_come_before_the_log_the_log_before_the_result_the_result_before_the_delete",
        ),
    ),
    Mutation(
        "fresh-before-delete",
        "the fresh message is sent before the old one is deleted",
        MESSAGES,
        "        await self.lanes.send(lane or self.lanes.own, message.encode(), delay_seconds)\n"
        "        await self.acknowledge(lease)\n",
        "        await self.acknowledge(lease)\n"
        "        await self.lanes.send(lane or self.lanes.own, message.encode(), delay_seconds)\n",
        (f"{ORDER}test_a_job_that_is_tried_again_is_never_without_a_message", MODEL),
    ),
    Mutation(
        "lease-before-fresh-message",
        "a message is replaced only under a lease that holds",
        MESSAGES,
        "        lease.check()\n        await self.lanes.send",
        "        await self.lanes.send",
        (f"{ORDER}test_a_message_whose_lease_is_lost_is_not_replaced",),
    ),
    Mutation(
        "result-before-dead-letter",
        "the failed result is written before the message becomes a dead letter",
        STAGE_OUT,
        "        held = await self._commit(received, run).put_result(result)\n"
        "        await self._drop_checkpoint(received, ran)\n        if held:\n"
        "            await self.messages.dead_letter(received.lease, decision.message)\n",
        "        await self.messages.dead_letter(received.lease, decision.message)\n"
        "        if await self._commit(received, run).put_result(result):\n"
        "            pass\n",
        (f"{ORDER}test_a_failed_result_comes_before_the_dead_letter",),
    ),
    Mutation(
        "dead-letter-before-delete",
        "a dead letter is sent before its message is deleted",
        MESSAGES,
        "        await self.dead_letters.send([letter.encode()])\n"
        "        await self.acknowledge(lease)\n",
        "        await self.acknowledge(lease)\n"
        "        await self.dead_letters.send([letter.encode()])\n",
        (f"{ORDER}test_a_message_that_is_no_job_is_kept_until_it_is_a_dead_letter",),
    ),
    Mutation(
        "lease-kept-until-delete",
        "a lease is kept until its message is deleted",
        ACKNOWLEDGER,
        "        self._pending.append(lease)\n",
        "        self._pending.append(lease)\n        self._release(lease)\n",
        (f"{ORDER}test_a_lease_is_renewed_until_its_message_is_deleted",),
    ),
    Mutation(
        "keeper-outlives-jobs",
        "leases are renewed while a worker drains",
        WORKER,
        "            await self._shut_down(receiving)\n",
        "            tasks[0].cancel()\n            await self._shut_down(receiving)\n",
        (f"{ORDER}test_a_lease_is_renewed_while_its_worker_drains",),
    ),
    Mutation(
        "keeper-outlives-acknowledger",
        "the keeper is stopped only after the last delete",
        WORKER,
        "        await asyncio.wait({asyncio.ensure_future(self.acknowledger.finish())}",
        "        self.keeper._leases.clear()\n"
        "        await asyncio.wait({asyncio.ensure_future(self.acknowledger.finish())}",
        (f"{ORDER}test_the_last_lease_is_renewed_until_the_last_delete",),
    ),
    Mutation(
        "last-deletes",
        "a worker that leaves has deleted the messages of what it finished",
        ACKNOWLEDGER,
        "        self._flush()\n        await asyncio.gather(*self._deleting)\n",
        "        return\n",
        (f"{ORDER}test_the_last_lease_is_renewed_until_the_last_delete",),
    ),
    Mutation(
        "other-runs-messages",
        "a message of another run is not a job of this one",
        RECEIVER,
        "        if job.run != self.config.run:",
        "        if not job.run:",
        (f"{FAILURES}test_a_message_of_another_run_is_no_job_of_this_one",),
    ),
    Mutation(
        "no-job-is-kept",
        "a message that is not a job becomes a dead letter with the reason",
        RECEIVER,
        '            await self.messages.reject(lease, f"{error.what}: {error.why}")\n',
        "            self.messages.let_go(lease)\n",
        (f"{FAILURES}test_a_message_of_another_run_is_no_job_of_this_one",),
    ),
)
