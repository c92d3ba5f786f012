"""Turns what happened to a job here into the decision about it in the run.

If a command fails, it may be at fault, or this machine. A file that has used up its attempts fails
for good, unless it has failed on only one worker and another can give a second opinion, or on two
and nothing has succeeded on this one. A job that is handed back again and again is given up. And
no more files fail for good, or succeed without any output, than the run's limits allow before
somebody has looked at the run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from parallelize_agent.job import fault
from parallelize_agent.job.job import Decision, DecisionKind, Ran, Received, memory_limit
from parallelize_agent.job.outputs import Outputs
from parallelize_agent.job.run_source import RunSource
from parallelize_agent.queue.lanes import Lanes
from parallelize_agent.reporting.circuit_breaker import CircuitBreaker
from parallelize_agent.reporting.fitness import Fitness
from parallelize_agent.reporting.peers import Peers
from parallelize_agent.reporting.silence import SilenceBreaker
from parallelize_core.job import JobMessage
from parallelize_core.lane import Lane
from parallelize_core.result import Cause


@dataclass(frozen=True)
class Judge:
    """Judges the failures on one worker; `worker` is its id."""

    worker: str
    run: RunSource
    peers: Peers
    fitness: Fitness
    breaker: CircuitBreaker
    silence: SilenceBreaker
    lanes: Lanes

    async def __call__(self, received: Received, ran: Ran | None, decision: Decision) -> Decision:
        """Return the decision about the job, `final` only if it fails for good."""
        if decision.kind is DecisionKind.SUCCEEDED and ran and isinstance(ran.outputs, Outputs):
            return await self._unless_silent(received, ran.outputs, decision)
        if decision.kind is not DecisionKind.FAILED:
            return decision
        if decision.open and not await self.fitness.may_charge(decision.message):
            decision = fault.handed_back(
                f"{decision.message} on {self.worker}, which is unfit",
                blameless=True,
            )
        message = received.message
        if decision.setback and len(message.setbacks) + 1 >= fault.MAX_SETBACKS:
            reasons = message.with_setback(decision.message).setbacks
            decision = fault.given_up(reasons)
        elif decision.charged:
            decision = await self._as_final_or_not(message, decision)
        return await self._within_limit(received, ran, decision)

    def next_message(self, message: JobMessage, decision: Decision, ran: Ran | None) -> JobMessage:
        """Return the message for the next try after a failure that is not final."""
        if decision.cause is Cause.INTERRUPTED and ran is None:
            return message  # it never began
        if decision.interruption:
            message = message.after_interruptions()
        if not decision.charged:
            return message if decision.blameless else message.with_setback(decision.message)
        second = decision.second_opinion
        if decision.open:
            message = message.with_failure_on(self.worker, second_opinion=second)
        if second:
            return message
        if decision.cause is Cause.MEMORY:
            return message.with_more_memory(_peak(ran), larger=self.lanes.has(Lane.LARGE))
        return message.next_attempt()

    async def _as_final_or_not(self, message: JobMessage, decision: Decision) -> Decision:
        """Decide whether a failure is final, or another worker has the last word."""
        used_up = decision.final or message.attempt >= self.run.current.limits.max_attempts
        if not (used_up and decision.open):
            return replace(decision, final=used_up)
        failed_by = {*message.failed_by, self.worker}
        # Where nothing has succeeded yet, one more worker's attempt is worth its time.
        enough = 2 if self.fitness.proven else 3
        second = len(failed_by) < enough and await self.peers.any_other(failed_by)
        return replace(decision, final=not second, second_opinion=second)

    async def _unless_silent(
        self, received: Received, outputs: Outputs, decision: Decision
    ) -> Decision:
        """Hand back a success without any output if such successes have paused the run."""
        if outputs.files:
            self.silence.note_output()
        elif not await self.silence.admit(received.key, outputs.left):
            return fault.interrupted("the run is paused: no file has an output")
        return decision

    async def _within_limit(
        self, received: Received, ran: Ran | None, decision: Decision
    ) -> Decision:
        """Record a failed attempt; hand back a final one if the failures have paused the run."""
        if decision.charged and not decision.final:
            await self.breaker.note_attempt(received.key)
        if not decision.final:
            return decision
        said = ran.outcome.stderr_tail.strip().rpartition("\n")[2] if ran else ""
        if await self.breaker.admit(received.key, decision, said):
            return decision
        return fault.interrupted("the run is paused: too many failures")


def _peak(ran: Ran | None) -> int:
    """Return a job's memory use when it ran out, at least its limit."""
    if ran is None:
        return 0
    return max(ran.outcome.usage.peak_memory_bytes, memory_limit(ran.staged) or 0)
