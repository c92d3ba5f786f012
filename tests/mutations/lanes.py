"""Lanes: jobs that wait on another queue, and who leads when there are several."""

from __future__ import annotations

from tests.mutations.mutation import AGENT, Mutation

LANES, JUDGE = f"{AGENT}queue/lanes.py", f"{AGENT}job/judge.py"
RECEIVER, DRAIN = f"{AGENT}queue/receiver.py", f"{AGENT}queue/drain.py"
PEERS = f"{AGENT}reporting/peers.py"
TESTS, CHOICE = "functional/agent/test_lanes.py::", "unit/agent/test_lane_choice.py::"

MUTATIONS = (
    Mutation(
        "lanes-are-counted",
        "what waits in another lane is not sent again",
        RECEIVER,
        "        others = {} if counts.total else await self.lanes.others()\n",
        "        others = dict[Lane, QueueCounts]()\n",
        (f"{TESTS}test_the_leader_sends_nothing_again_that_waits_in_a_lane",),
    ),
    Mutation(
        "lane-waits-for-main",
        "a worker of a lane waits for what the main queue may still bring",
        DRAIN,
        "        if Lane.MAIN in left_in:\n",
        "        if False:\n",
        ("unit/agent/test_drain.py::test_a_lane_waits_for_what_the_main_queue_may_still_bring",),
    ),
    Mutation(
        "each-lane-waits-for-its-last",
        "a worker of a lane waits for the leases that others hold there, although it does not lead",
        RECEIVER,
        "        elif step is Step.HAND_OVER and not await self.peers.keeps_lane():",
        "        elif step is Step.HAND_OVER and not await self.peers.leads():",
        (f"{TESTS}test_a_worker_of_each_lane_waits_for_leases_that_others_hold_there",),
    ),
    Mutation(
        "main-leads",
        "a worker for all jobs leads before those of other lanes",
        PEERS,
        "            if self._is_for_all(beat.lane):\n                return",
        "            if self._is_for_all(self._lane):\n                return",
        ("unit/agent/test_peers.py::test_a_worker_for_all_jobs_leads_before_those_of_lanes",),
    ),
    Mutation(
        "opinion-of-the-same-lane",
        "a second opinion is asked of the same lane, as no other receives the message",
        PEERS,
        "            if beat.lane is self._lane:\n",
        "            if True:\n",
        (f"{TESTS}test_a_worker_of_another_lane_gives_no_second_opinion",),
    ),
    Mutation(
        "gone-lane-takes-nothing",
        "a job stays in its worker's lane if the queue of the other is gone",
        LANES,
        "            except (AccessError, MissingError) as error:\n",
        "            except ZeroDivisionError as error:\n",
        (f"{TESTS}test_jobs_stay_with_a_worker_that_finds_no_queue_for_them",),
    ),
    Mutation(
        "tail-has-room",
        "of the last jobs no more are moved than steady workers can begin",
        LANES,
        "        room = slots - (await self.waiting(Lane.STEADY)).total\n",
        "        room = 10**9\n",
        (f"{CHOICE}test_the_last_per_cent_is_moved_as_far_as_steady_workers_have_slots",),
    ),
    Mutation(
        "tail-waits-for-what-is-started",
        "none of the last jobs waits for a machine that nobody starts",
        LANES,
        "        return (await self._room_ahead(self.start), 1.0) if self.start else (0, 0.0)\n",
        "        start = self.start or SteadyStart(workers=1, job_seconds=0)\n"
        "        return await self._room_ahead(start), 1.0\n",
        (f"{CHOICE}test_nothing_waits_for_a_machine_that_nobody_starts",),
    ),
)
