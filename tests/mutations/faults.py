"""Whose fault a failure is: second opinions, sick workers, outages, and the circuit breaker."""

from __future__ import annotations

from tests.mutations.mutation import AGENT, Mutation

JUDGE, FAULT = f"{AGENT}job/judge.py", f"{AGENT}job/fault.py"
STAGE_IN, JOB = f"{AGENT}job/stage_in.py", f"{AGENT}job/job.py"
BREAKER, FITNESS = f"{AGENT}reporting/circuit_breaker.py", f"{AGENT}reporting/fitness.py"
PEERS, OUTAGE = f"{AGENT}reporting/peers.py", f"{AGENT}queue/outage.py"
RECEIVER, WORKER = f"{AGENT}queue/receiver.py", f"{AGENT}worker.py"
ASSEMBLY = f"{AGENT}assembly.py"
OUTPUTS = f"{AGENT}job/outputs.py"
ROWS = "functional/agent/test_whose_fault.py::"
SEEN = "functional/agent/test_what_the_user_sees.py::"
FAILURES, HALT = "functional/agent/test_failures.py::", "functional/agent/test_halt.py::"
LEASES = "functional/agent/test_leases.py::"
OPINIONS = "unit/agent/test_judge.py::"
FIT = "unit/agent/test_fitness.py::"

MUTATIONS = (
    Mutation(
        "charged-counts",
        "a charged failure uses up an attempt",
        JUDGE,
        "if second:",
        "if True:",
        (f"{FAILURES}test_a_failure_is_tried_again_and_every_attempt_leaves_a_record",),
    ),
    Mutation(
        "uncharged-counts-not",
        "an uncharged failure uses up none",
        JUDGE,
        "return message if decision.blameless else message.with_setback(decision.message)",
        "return message.with_setback(decision.message).next_attempt()",
        (f"{FAILURES}test_exit_75_is_tried_again_and_never_charged",),
    ),
    Mutation(
        "second-opinion",
        "a command that has failed on one worker only is tried on another before it fails for good",
        JUDGE,
        "        second = len(failed_by) < enough and await self.peers.any_other(failed_by)",
        "        second = False",
        (f"{ROWS}test_a_file_fails_for_good_only_after_two_workers_have_failed_it",),
    ),
    Mutation(
        "alone-decides-alone",
        "a worker that is alone decides alone",
        JUDGE,
        "        second = len(failed_by) < enough and await self.peers.any_other(failed_by)",
        "        second = len(failed_by) < enough",
        (f"{OPINIONS}test_a_worker_that_is_alone_decides_alone",),
    ),
    Mutation(
        "two-opinions-are-enough",
        "two workers are enough for a file to fail for good",
        JUDGE,
        "        second = len(failed_by) < enough and await self.peers.any_other(failed_by)",
        "        second = await self.peers.any_other(failed_by)",
        (f"{OPINIONS}test_two_opinions_are_enough_although_a_third_worker_lives",),
    ),
    Mutation(
        "the-word-of-the-unproven",
        "the second worker has the last word only if a command has succeeded there",
        JUDGE,
        "enough = 2 if self.fitness.proven else 3",
        "enough = 2",
        (
            f"{OPINIONS}test_a_worker_on_which_nothing_has_succeeded_has_not_the_second_and_last_word",
        ),
    ),
    Mutation(
        "opinions-are-remembered",
        "the message remembers on which workers its command failed",
        JUDGE,
        "            message = message.with_failure_on(self.worker, second_opinion=second)",
        "            pass",
        (f"{ROWS}test_a_file_fails_for_good_only_after_two_workers_have_failed_it",),
    ),
    Mutation(
        "passed-on",
        "a worker that has failed a file passes it on while another lives",
        STAGE_IN,
        "        if await self._is_for_another(received):",
        "        if False:",
        (f"{SEEN}test_a_second_opinion_is_left_to_the_other_worker",),
    ),
    Mutation(
        "no-second-opinion-without-doubt",
        "a timeout needs no second opinion",
        JUDGE,
        "        if not (used_up and decision.open):",
        "        if not used_up:",
        (f"{OPINIONS}test_what_cannot_be_the_machines_fault_needs_no_second_opinion",),
    ),
    Mutation(
        "exit-65-is-final",
        "exit 65 fails the file at once",
        FAULT,
        "return failed(Cause.COMMAND, why, final=True)\n        case _:",
        "return failed(Cause.COMMAND, why)\n        case _:",
        (f"{FAILURES}test_exit_65_fails_at_once",),
    ),
    Mutation(
        "tenth-setback",
        "the tenth setback fails the file, so that no job circulates forever",
        JUDGE,
        "if decision.setback and len(message.setbacks) + 1 >= fault.MAX_SETBACKS:",
        "if decision.setback and len(message.setbacks) + 1 >= 100:",
        (f"{OPINIONS}test_the_tenth_setback_is_the_last_and_names_all_reasons",),
    ),
    Mutation(
        "setbacks-are-remembered",
        "the message remembers its setbacks",
        JUDGE,
        "return message if decision.blameless else message.with_setback(decision.message)",
        "return message",
        (f"{OPINIONS}test_a_setback_travels_with_the_message",),
    ),
    Mutation(
        "later-is-no-setback",
        "a command that asks for another try later may ask as often as it likes",
        JOB,
        "return self.cause is Cause.INFRASTRUCTURE and not self.blameless",
        "return self.cause is Cause.INFRASTRUCTURE",
        (f"{FAILURES}test_a_worker_is_not_blamed_for_commands_that_ask_for_another_try",),
    ),
    Mutation(
        "refused-input-is-the-files",
        "an input that S3 refuses is the file's fault",
        FAULT,
        "OF_THE_FILE = (MissingError, ChangedError, RefusedError)",
        "OF_THE_FILE = (MissingError, ChangedError)",
        (f"{ROWS}test_an_input_that_s3_refuses_is_given_up_after_two_tries_and_others_go_on",),
    ),
    Mutation(
        "refused-input-has-two-tries",
        "it is given up after two tries",
        FAULT,
        "final=attempt >= MAX_INPUT_TRIES)",
        "final=False)",
        (f"{ROWS}test_an_input_that_s3_refuses_is_given_up_after_two_tries_and_others_go_on",),
    ),
    Mutation(
        "unreadable-output-is-charged",
        "an output that cannot be read is the command's fault, and no remark",
        OUTPUTS,
        "        absent = error.errno in _ABSENT\n",
        "        return False\n",
        ("unit/agent/test_outputs.py::test_what_cannot_be_read_is_an_error_and_no_remark",),
    ),
    Mutation(
        "draining-worker-is-no-peer",
        "a worker that drains is not counted on for a second opinion, nor as the leader",
        PEERS,
        " and beat.state is not WorkerState.DRAINING",
        "",
        (
            "unit/agent/test_peers.py::test_a_worker_that_has_left_drains_or_is_overdue_is_not_counted_on",
        ),
    ),
    Mutation(
        "sick-worker-charges-nothing",
        "what fails on a worker that is sick is not charged",
        JUDGE,
        "if decision.open and not await self.fitness.may_charge(decision.message):",
        "if decision.open and await self.fitness.may_charge(decision.message) is None:",
        (f"{OPINIONS}test_what_fails_on_a_worker_that_is_sick_is_not_charged",),
    ),
    Mutation(
        "suspect-worker-receives-nothing",
        "a worker that may be sick receives nothing",
        RECEIVER,
        "if self.fitness.suspect or self.fitness.sick or any(",
        "if any(",
        (f"{SEEN}test_a_worker_that_may_be_sick_takes_nothing_until_it_is_known",),
    ),
    Mutation(
        "failures-everywhere-are-the-commands",
        "commands that fail on other workers too are charged",
        FITNESS,
        "if others in {_Others.NONE, _Others.FAIL}:",
        "if others is _Others.NONE:",
        (f"{FIT}test_commands_that_fail_everywhere_are_at_fault",),
    ),
    Mutation(
        "alone-is-not-sick",
        "a worker that is alone charges",
        FITNESS,
        "if others in {_Others.NONE, _Others.FAIL}:",
        "if others is _Others.FAIL:",
        (f"{FIT}test_a_worker_that_is_alone_charges",),
    ),
    Mutation(
        "success-elsewhere-means-sick",
        "commands that fail here and succeed elsewhere make the worker unfit",
        FITNESS,
        "            if others is _Others.SUCCEED or waited >= PATIENCE_SECONDS:",
        "            if waited >= PATIENCE_SECONDS:",
        (f"{FIT}test_a_worker_whose_commands_succeed_elsewhere_is_unfit",),
    ),
    Mutation(
        "unfit-counts-files",
        "one unlucky file does not make its worker unfit",
        FITNESS,
        "        self._not_done.add(key)",
        '        self._not_done.add(f"{key} {len(self._not_done)}")',
        (f"{FIT}test_one_file_that_cannot_be_done_says_nothing_of_the_machine",),
    ),
    Mutation(
        "unfit-only-without-success",
        "a worker on which files succeed is not unfit",
        FITNESS,
        "        self._not_done.clear()\n",
        "",
        (f"{FIT}test_a_file_that_succeeds_in_between_speaks_for_the_machine",),
    ),
    Mutation(
        "unfit-workers-leave",
        "ten files in a row that could not be done end the worker as unfit",
        FITNESS,
        "if len(self._not_done) >= self._max_unfit:",
        "if len(self._not_done) >= 10**6:",
        (f"{LEASES}test_a_worker_that_cannot_do_any_job_gives_up_and_says_why",),
    ),
    Mutation(
        "replacements-have-a-limit",
        "three unfit machines of a run are replaced, and no more",
        f"{AGENT}machine/group.py",
        "for beat in unfit) < MAX_REPLACED",
        "for beat in unfit) < 100",
        ("unit/agent/test_replacement.py::test_three_unfit_machines_are_replaced_and_no_more",),
    ),
    Mutation(
        "mark-before-count",
        "a failure is marked before failures are counted, so that each sees the others",
        BREAKER,
        '        await self.records.put(mark, b"")\n        run = self.run.current\n',
        "        run = self.run.current\n",
        (f"{ROWS}test_no_more_files_fail_for_good_than_half_again_what_the_run_allows",),
    ),
    Mutation(
        "no-overshoot",
        "failures beyond the limit and half of it are handed back",
        BREAKER,
        "admitted = limit is None or await self._has_room(mark, count, run, limit)",
        "admitted = True",
        (
            "unit/agent/test_breaker.py::test_a_failure_beyond_the_limit_and_half_of_it_is_handed_back",
        ),
    ),
    Mutation(
        "limit-pauses",
        "a run is paused when as many files have failed as `run.halt` allows",
        BREAKER,
        "        if limit is not None and count >= limit:",
        "        if False:",
        (f"{HALT}test_too_many_failures_pause_the_run_and_its_workers_leave",),
    ),
    Mutation(
        "marks-not-results",
        "a look at the failures never lists results",
        BREAKER,
        "        async for _ in self.records.list(self.layout.failures.prefix):\n"
        "            marks += 1\n",
        "        async for item in self.records.list(self.layout.results.prefix):\n"
        "            result = await self.records.get(item.key)\n"
        "            marks += b'\"failed\"' in result\n",
        ("unit/agent/test_breaker.py::test_a_look_costs_the_same_however_many_results_there_are",),
    ),
    Mutation(
        "nothing-works-pauses",
        "a run in which nothing has succeeded is paused after 20 files",
        BREAKER,
        "        reason = await self._all_in_vain(run, key) or again\n",
        "        reason = again\n",
        (f"{SEEN}test_a_run_in_which_each_file_fails_in_its_own_way_is_paused_too",),
    ),
    Mutation(
        "same-failure-pauses",
        "a run in which file after file fails in the same way is paused although some succeeded",
        BREAKER,
        "        reason = await self._all_in_vain(run, key) or again\n",
        "        reason = await self._all_in_vain(run, key)\n",
        (f"{SEEN}test_a_run_whose_files_all_have_one_output_name_is_paused_and_says_so",),
    ),
    Mutation(
        "end-is-not-paused",
        "a run at its end is not paused",
        f"{AGENT}reporting/pauser.py",
        "        return await self.lanes.total() <= in_hand",
        "        return False",
        (f"{HALT}test_the_end_of_a_run_is_no_time_to_halt_it",),
    ),
    Mutation(
        "forgiven-counts-not",
        "failures from before a run was resumed do not pause it again",
        BREAKER,
        "        self._seen, self._unseen = max(0, marks - run.forgiven), 0",
        "        self._seen, self._unseen = marks, 0",
        (
            "unit/agent/test_breaker.py::test_failures_from_before_the_run_was_resumed_do_not_pause_it_again",
        ),
    ),
    Mutation(
        "probe",
        "a call that fails while its service serves others is its own failure, and no outage",
        OUTAGE,
        "        if not isinstance(error, ThrottledError):",
        "        if False:",
        ("unit/agent/test_outage.py::test_a_call_that_fails_alone_is_no_outage",),
    ),
    Mutation(
        "probe-charges-nobody",
        "what the probe of a service meets is not charged to a file",
        OUTAGE,
        "error=str(odd) or repr(odd))\n                return True\n",
        "error=str(odd) or repr(odd))\n                raise\n",
        (
            "functional/agent/test_probe.py::test_a_call_fails_with_its_own_error_whatever_the_probe_raises",
        ),
    ),
    Mutation(
        "outage-pauses-receiving",
        "nothing is received while S3 or SQS is unavailable",
        RECEIVER,
        " or any(o.lasts for o in self.outages):",
        ":",
        (f"{SEEN}test_nothing_is_received_while_s3_is_unavailable",),
    ),
    Mutation(
        "finished-work-is-kept",
        "finished work waits for the end of an outage",
        OUTAGE,
        "                await self.wait_until_over()\n",
        "                raise\n",
        (
            "functional/agent/test_engine_faults.py::test_calls_that_were_made_just_before_an_outage_are_made_again_after_it",
        ),
    ),
    Mutation(
        "outage-has-a-limit",
        "a worker leaves after `agent.max_outage`, and says why",
        WORKER,
        "            if outage.seconds >= self.config.max_outage_seconds:",
        "            if outage.seconds < 0:",
        (f"{ROWS}test_an_outage_that_lasts_too_long_ends_the_worker_and_says_why",),
    ),
    Mutation(
        "refused-queue-is-empty",
        "a queue that refuses, or is gone, counts as empty",
        RECEIVER,
        "counts = NOTHING if self._refused else await self.queue.counts()",
        "counts = await self.queue.counts()",
        (f"{SEEN}test_a_queue_that_refuses_every_call_ends_its_worker_within_max_idle",),
    ),
    Mutation(
        "left-over-is-nobodys",
        "a scratch folder that cannot be removed is moved aside, and the worker goes on",
        f"{AGENT}job/scratch.py",
        "        except OSError as error:\n            aside",
        "        except KeyError as error:\n            aside",
        (
            "unit/agent/test_scratch.py::test_a_folder_that_cannot_be_removed_is_moved_aside_and_told_once",
        ),
    ),
)
