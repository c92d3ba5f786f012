"""Leases, claims and the looks before a job begins."""

from __future__ import annotations

from tests.mutations.mutation import AGENT, Mutation

LEASES, CLAIMS = f"{AGENT}queue/leases.py", f"{AGENT}queue/claims.py"
STAGE_IN = f"{AGENT}job/stage_in.py"
UNIT, WHOLE = "unit/agent/test_lease.py::", "functional/agent/test_leases.py::"
LONG = "functional/agent/test_long_jobs.py::"
KEEPER = "unit/agent/test_keeper.py::"
MODEL = "model/test_protocol.py::test_a_job_ends_with_one_true_result"

BETWEEN = """\
        # A message that comes for the first time is rarely a duplicate, and the result's
        # condition finds out in any case.
"""

MUTATIONS = (
    Mutation(
        "lease-from-request",
        "a lease counts from the moment the receive was requested",
        LEASES,
        "begun = max(asked, self.clock() - self._terms.renew_after)",
        "begun = self.clock()",
        (f"{UNIT}test_a_message_that_was_on_its_way_for_long_is_asked_about_at_once",),
    ),
    Mutation(
        "renewal-from-request",
        "a renewal counts from the moment it was requested, not from its answer",
        LEASES,
        "                lease.renew(asked)\n\n",
        "                lease.renew(self.clock())\n\n",
        (f"{KEEPER}test_a_renewal_counts_from_the_moment_it_was_asked_for",),
    ),
    Mutation(
        "claim-renewal-from-request",
        "so does the renewal of a claim",
        LEASES,
        "            lease.renew(asked)\n        else:",
        "            lease.renew(self.clock())\n        else:",
        (f"{KEEPER}test_a_claims_renewal_counts_from_the_moment_it_was_asked_for",),
    ),
    Mutation(
        "lease-margin",
        "a lease counts as lost a twelfth of its length before its end",
        LEASES,
        "return self.seconds * (1 - MARGIN_PER_LEASE)",
        "return self.seconds",
        (f"{UNIT}test_a_lease_that_is_not_kept_is_lost_before_the_message_is_seen_again",),
    ),
    Mutation(
        "expiry-after-each-call",
        "after each renewal of a batch it is looked which leases have run out meanwhile",
        LEASES,
        "            self._renewing.pop(receipt, None)\n"
        "        # After each call: others must not run out unnoticed until the next round.\n"
        "        self._give_up_expired()",
        "            self._renewing.pop(receipt, None)",
        (f"{KEEPER}test_a_lease_that_ran_out_during_a_renewal_is_given_up_with_its_answer",),
    ),
    Mutation(
        "expiry-each-round",
        "a lease that cannot be renewed is given up although no call answers",
        LEASES,
        "                self.begin_renewals()\n                self._give_up_expired()",
        "                self.begin_renewals()",
        (f"{KEEPER}test_a_lease_runs_out_although_no_renewal_is_answered",),
    ),
    Mutation(
        "queue-has-the-last-word",
        "a message that the queue calls somebody else's is given up",
        LEASES,
        "            if receipt in lost:",
        "            if not lost:",
        (f"{WHOLE}test_the_queue_has_the_last_word_on_whose_a_message_is",),
    ),
    Mutation(
        "loss-stops-the-work",
        "the command of a lost lease is ended",
        LEASES,
        "        if self._on_lost:\n            self._on_lost()\n\n",
        "\n",
        (f"{UNIT}test_whoever_works_under_a_lease_hears_of_its_loss_once",),
    ),
    Mutation(
        "renewals-side-by-side",
        "one slow call of a renewal or a claim delays no other",
        LEASES,
        "                self.begin_renewals()\n                self._give_up_expired()",
        "                await self.renew_due()",
        (f"{KEEPER}test_a_claim_that_hangs_costs_no_other_lease",),
    ),
    Mutation(
        "renewal-has-a-limit",
        "a renewal that hangs is made again in time",
        LEASES,
        "async with asyncio.timeout(self._terms.call_seconds):",
        "async with asyncio.timeout(None):",
        (f"{KEEPER}test_a_renewal_that_hangs_is_made_again_in_time",),
    ),
    Mutation(
        "message-renewed-before-claim",
        "a claim is made only after the queue has said that the message is still ours",
        LEASES,
        "            await self._renew([lease])\n            if lease.valid:",
        "            if lease.valid:",
        (f"{KEEPER}test_a_message_that_the_queue_has_given_to_another_is_not_claimed",),
    ),
    Mutation(
        "claim-before-parked",
        "the claim is written before the fresh message is parked",
        LEASES,
        "        claim = await self._claims.make(job.key)\n"
        "        # The fresh message first: a job must never be without one.\n"
        "        await self._queue.send([job.parked().encode()], MAX_DELAY_SECONDS)\n",
        "        await self._queue.send([job.parked().encode()], MAX_DELAY_SECONDS)\n"
        "        claim = await self._claims.make(job.key)\n",
        (f"{MODEL}",),
    ),
    Mutation(
        "parked-before-delete",
        "the fresh message is parked before the old one is deleted",
        LEASES,
        "        await self._queue.send([job.parked().encode()], MAX_DELAY_SECONDS)\n"
        "        await self._queue.delete([lease.message.receipt])\n",
        "        await self._queue.delete([lease.message.receipt])\n"
        "        await self._queue.send([job.parked().encode()], MAX_DELAY_SECONDS)\n",
        (f"{MODEL}",),
    ),
    Mutation(
        "parked-message-is-marked",
        "the parked message says that there is a claim",
        LEASES,
        "send([job.parked().encode()]",
        "send([job.encode()]",
        (f"{UNIT}test_a_job_that_outlives_its_message_is_claimed_and_its_message_parked",),
    ),
    Mutation(
        "claim-renewed-if-match",
        "a claim that was taken over cannot be renewed",
        CLAIMS,
        "Condition(etag=claim.etag))",
        "ALWAYS)",
        (f"{UNIT}test_a_stale_claim_is_taken_over_and_its_former_owner_loses",),
    ),
    Mutation(
        "fresh-claim-is-heeded",
        "a job whose claim is fresh is left to its owner",
        CLAIMS,
        "if self._now() < record.until + SKEW_SECONDS:",
        "if self._now() < 0:",
        (f"{UNIT}test_who_receives_the_parked_message_sees_that_the_claim_is_kept_fresh",),
    ),
    Mutation(
        "clock-skew",
        "a claim holds for longer than it says, as clocks differ",
        CLAIMS,
        "if self._now() < record.until + SKEW_SECONDS:",
        "if self._now() < record.until:",
        (f"{KEEPER}test_a_claim_is_believed_although_the_readers_clock_is_ahead",),
    ),
    Mutation(
        "claim-taken-over-if-match",
        "of two that take over a stale claim one succeeds",
        CLAIMS,
        "Condition(etag=head.etag)) is not None",
        "ALWAYS) is not None",
        (f"{KEEPER}test_a_claim_that_was_renewed_meanwhile_is_not_taken_over",),
    ),
    Mutation(
        "own-claim-at-work",
        "a worker that receives its own parked message does not begin again",
        CLAIMS,
        "return record.worker == self._worker and place not in self._at_work",
        "return record.worker == self._worker",
        (f"{LONG}test_a_worker_that_gets_its_own_parked_message_does_not_begin_again",),
    ),
    Mutation(
        "claim-is-looked-at",
        "a message that says `claimed` is looked up before its job begins",
        STAGE_IN,
        "if message.claimed and not await self.claims.take_over(message.key):",
        "if False:",
        (f"{LONG}test_a_parked_message_waits_on_for_as_long_as_the_claim_is_kept",),
    ),
    Mutation(
        "claim-before-result",
        "the claim is looked at before the result",
        STAGE_IN,
        "        if message.claimed and not await self.claims.take_over(message.key):\n"
        "            return PARKED\n"
        f"{BETWEEN}"
        "        if not received.first and await self._is_finished(received):\n"
        "            return FINISHED\n",
        "        if not received.first and await self._is_finished(received):\n"
        "            return FINISHED\n"
        "        if message.claimed and not await self.claims.take_over(message.key):\n"
        "            return PARKED\n",
        (
            f"{LONG}test_a_claim_that_is_dropped_while_its_message_is_looked_at_is_no_reason_to_begin_again",
        ),
    ),
    Mutation(
        "finished-is-not-repeated",
        "a job that has a true result is acknowledged and not run",
        STAGE_IN,
        "        if not received.first and await self._is_finished(received):",
        "        if False:",
        (
            "functional/agent/test_failures.py::test_a_job_that_is_finished_is_acknowledged_and_not_run",
        ),
    ),
    Mutation(
        "receives-have-a-limit",
        "a message that ten workers took and none answered fails, and does not circulate",
        STAGE_IN,
        "if received.lease.message.receives > self.config.max_receives:",
        "if False:",
        (
            "functional/agent/test_failures.py::test_a_job_that_takes_its_workers_down_is_not_tried_for_ever",
        ),
    ),
    Mutation(
        "input-has-the-listed-size",
        "no command runs on an input that has another size than `prep` listed",
        STAGE_IN,
        "        if size != received.message.size:",
        "        if size < 0:",
        ("functional/agent/test_engine_faults.py::test_a_short_read_is_never_taken_for_the_input",),
    ),
)
