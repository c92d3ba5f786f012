"""The worker's life: its parts, its end, and when the run is over."""

from __future__ import annotations

from tests.mutations.mutation import AGENT, CORE, Mutation

WORKER, PIPELINE = f"{AGENT}worker.py", f"{AGENT}job/pipeline.py"
RECEIVER, DRAIN = f"{AGENT}queue/receiver.py", f"{AGENT}queue/drain.py"
ENQUEUE = "tools/parallelize/operations/enqueue.py"
PEERS = f"{AGENT}reporting/peers.py"
SHUTDOWN, COMMAND = f"{AGENT}shutdown.py", f"{AGENT}process/command.py"
RECEIVING, LEAVING = "functional/agent/test_receiving.py::", "functional/agent/test_shutdown.py::"
FAULTS = "functional/agent/test_engine_faults.py::"
GRACE, SUCCESS = "functional/agent/test_execution.py::", "functional/agent/test_success.py::"
TELLER, TELLING = f"{AGENT}notify/teller.py", "functional/agent/test_notify.py::"
SENDING = "unit/client/test_enqueue.py::"

MUTATIONS = (
    Mutation(
        "one-stage-one-job",
        "a stage that raises anything hands back its own job, and no other",
        PIPELINE,
        "            return fault.of_unknown(error)\n",
        "            raise\n",
        (f"{FAULTS}test_one_odd_error_costs_its_own_job_one_try_and_no_other_job_anything",),
    ),
    Mutation(
        "death-of-a-part-is-told",
        "the death of any part is the orderly end of the worker, told in its last heartbeat",
        WORKER,
        "            self.shutdown.decide(words(failure), 0, failure)\n",
        "            pass\n",
        (f"{FAULTS}test_a_part_that_dies_ends_its_worker_and_is_named",),
    ),
    Mutation(
        "notices-survive-errors",
        "a look for a notice that fails is made again",
        f"{AGENT}machine/notices.py",
        '            except Exception as error:\n                log.warning("notices not read"',
        '            except KeyError as error:\n                log.warning("notices not read"',
        (
            "functional/agent/test_metadata.py::test_the_watch_survives_refusals_until_there_is_a_notice",
        ),
    ),
    Mutation(
        "time-limit-while-draining",
        "workers.max_hours holds while a worker drains",
        WORKER,
        "            self._look_at_limits()\n",
        "            if not self.shutdown.decided:\n                self._look_at_limits()\n",
        (f"{FAULTS}test_the_time_limit_holds_while_a_worker_drains",),
    ),
    Mutation(
        "later-decision-is-sooner",
        "a later decision can only shorten the time that is left",
        SHUTDOWN,
        "elif deadline is not None and (first.deadline is None or deadline < first.deadline):",
        "elif deadline is not None:",
        (f"{LEAVING}test_a_later_decision_can_only_shorten_the_time",),
    ),
    Mutation(
        "pipes-during-grace",
        "what a command prints in its grace time is drained",
        COMMAND,
        "            if child.pidfd in self._wait_and_drain(left):",
        "            if child.ends_within(left):",
        (f"{GRACE}test_a_command_that_says_a_lot_when_asked_to_end_can_finish_its_checkpoint",),
    ),
    Mutation(
        "late-messages-are-handed-back",
        "what the last poll brings is handed back, and not begun",
        PIPELINE,
        "        if shutdown:\n            job.stop",
        "        if False:\n            job.stop",
        (
            f"{LEAVING}test_what_comes_late_does_not_begin_in_a_free_slot_while_other_jobs_still_run",
        ),
    ),
    Mutation(
        "time-that-is-left",
        "at the end of the time that is left, running jobs are stopped and handed back",
        WORKER,
        "        await self._await_running()\n",
        "        await self.pipeline.wait_until_empty(60)\n",
        (
            f"{LEAVING}test_at_the_end_of_the_time_running_jobs_are_stopped_handed_back_and_not_charged",
        ),
    ),
    Mutation(
        "last-heartbeat-is-insisted-on",
        "the last heartbeat is tried again until it is written",
        f"{AGENT}reporting/heartbeat.py",
        "                await patiently(self._write_now)",
        "                await self._write_now()",
        (f"{SUCCESS}test_the_last_heartbeat_is_written_although_the_store_refuses_it_at_first",),
    ),
    Mutation(
        "zero-in-several-samples",
        "the truth in S3 is asked when all counts were zero several times",
        DRAIN,
        "        if self._zeros < self._settings.samples:\n            return Step.POLL\n",
        "",
        ("unit/agent/test_drain.py::test_four_samples_of_zero_over_a_minute_ask_for_the_truth",),
    ),
    Mutation(
        "truth-is-in-s3",
        "an empty queue is not the end while results are missing",
        RECEIVER,
        "        if not missing:\n            await self._end",
        "        if True:\n            await self._end",
        (f"{RECEIVING}test_the_keeper_sends_again_what_the_queue_has_lost",),
    ),
    Mutation(
        "only-the-leader-sends-again",
        "only the leader sends again what was lost",
        RECEIVER,
        "        elif await self.peers.leads():\n",
        "        elif await self.peers.leads() or True:\n",
        (f"{RECEIVING}test_one_who_is_not_the_keeper_sends_nothing",),
    ),
    Mutation(
        "one-clock",
        "S3's clock says how old a heartbeat is, not its worker's or its reader's",
        PEERS,
        "                yield beat.as_listed(item, self._now())",
        "                yield beat",
        (
            "unit/agent/test_peers.py::test_a_worker_is_judged_by_s3s_clock_however_wrong_others_are",
        ),
    ),
    Mutation(
        "word-of-another-drain",
        "the word of a leader that left before the queue was empty here is not believed",
        PEERS,
        " and (beat.leaving or 0) >= since:",
        ":",
        (f"{RECEIVING}test_what_a_leader_found_before_is_not_believed",),
    ),
    Mutation(
        "lost-is-sent-again",
        "what has neither result nor message is sent again",
        RECEIVER,
        "            await send_again(self.queue, self.config.run, missing)\n",
        "",
        (f"{RECEIVING}test_messages_that_vanish_while_jobs_run_are_sent_again",),
    ),
    Mutation(
        "sent-again-looks-for-claims",
        "the receiver of what is sent again looks for a claim first",
        RECEIVER,
        "job.message(run).parked().encode()",
        "job.message(run).encode()",
        (f"{FAULTS}test_a_message_that_is_sent_again_makes_its_receiver_look_for_a_claim",),
    ),
    Mutation(
        "unsent-is-not-missing",
        "jobs that were never sent are not missing",
        f"{CORE}manifest.py",
        "        sent = part.entries[: read_cursor(store, layout, part.number).sent]\n"
        "        yield from",
        "        sent = part.entries\n        yield from",
        (f"{RECEIVING}test_jobs_that_were_never_sent_are_not_missing",),
    ),
    Mutation(
        "one-waits-for-the-last",
        "one worker of each lane waits for the leases that others hold there",
        RECEIVER,
        "        elif step is Step.HAND_OVER and not await self.peers.keeps_lane():",
        "        elif step is Step.HAND_OVER:",
        (f"{RECEIVING}test_only_the_keeper_waits_for_leases_that_others_hold",),
    ),
    Mutation(
        "idle-has-a-limit",
        "a worker leaves after `agent.max_idle`, whatever the counts say",
        DRAIN,
        "        if now - self._idle_since >= self._max_idle:",
        "        if now < self._idle_since:",
        (
            "unit/agent/test_drain.py::test_too_long_without_work_is_the_end_whatever_the_counts_say",
        ),
    ),
    Mutation(
        "cursor-before-send",
        "`enqueue` moves its cursor before it sends, so that a crash doubles no message",
        ENQUEUE,
        "        await hold.advance(end)\n"
        "        try:\n            await self._put_on_queue([body for _, body in chunk])\n",
        "        try:\n            await self._put_on_queue([body for _, body in chunk])\n"
        "            await hold.advance(end)\n",
        (f"{SENDING}test_after_a_crash_nothing_is_doubled_and_nothing_is_lost",),
    ),
    Mutation(
        "refused-is-not-sent",
        "what a queue has refused at once is still to be sent",
        ENQUEUE,
        "                await hold.advance(start)\n",
        "                pass\n",
        (f"{SENDING}test_a_queue_that_refuses_has_taken_nothing_so_all_is_still_to_be_sent",),
    ),
    Mutation(
        "finished-is-not-sent",
        "`enqueue` sends no job that has a result",
        ENQUEUE,
        "for job in jobs if self.layout.result(job[0]) not in self.done]",
        "for job in jobs]",
        (f"{SENDING}test_finished_jobs_are_not_sent_and_do_not_count_towards_the_limit",),
    ),
    Mutation(
        "told-once",
        "of all workers that see the end of a run one tells people",
        TELLER,
        "Delivery(worker=self.worker).encode(), IF_ABSENT\n",
        "Delivery(worker=self.worker).encode(), Condition()\n",
        (f"{TELLING}test_people_are_told_once_that_a_run_is_paused_and_why",),
    ),
    Mutation(
        "told-although-the-teller-died",
        "what a worker that died had begun to tell is told by another",
        TELLER,
        "                condition = Condition(etag=seen)\n",
        "                return None\n",
        (f"{TELLING}test_what_a_worker_that_died_had_begun_to_tell_is_told_by_another",),
    ),
    Mutation(
        "told-before-the-others-leave",
        "the leader tells that the run is finished before the others hear of it and leave",
        RECEIVER,
        "        await self.teller.tell_finished()\n",
        "        asyncio.ensure_future(self.teller.tell_finished())\n",
        (f"{TELLING}test_the_leader_tells_before_the_others_hear_of_it_and_leave",),
    ),
    Mutation(
        "no-webhook-leads-to-the-machine",
        "a webhook may not lead to what only the worker can reach",
        f"{AGENT}notify/webhook.py",
        "        check_address(connection.sock.getpeername()[0], on_loopback=on_loopback)\n",
        "",
        (f"{TELLING}test_a_webhook_whose_name_leads_to_this_machine_gets_nothing",),
    ),
)
