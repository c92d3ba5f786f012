"""The stages of a job on this worker, in the form that the pipeline uses."""

from __future__ import annotations

import asyncio
import signal
from concurrent.futures import Executor
from dataclasses import dataclass

from parallelize_agent.job import fault
from parallelize_agent.job.execute import Execute
from parallelize_agent.job.job import Decision, Job, Ran
from parallelize_agent.job.scratch import ScratchSpace
from parallelize_agent.job.stage_in import StageIn
from parallelize_agent.job.stage_out import StageOut
from parallelize_agent.memory.usage import OomKills


@dataclass(frozen=True)
class Stages:
    """The stages of a job, in the form that the pipeline uses."""

    stage_in: StageIn
    execute: Execute
    stage_out: StageOut
    scratch: ScratchSpace
    files: Executor
    later_seconds: int
    oom_kills: OomKills

    def decide(self, ran: Ran) -> Decision:
        """Return the decision on how a command ended."""
        decision = self._said(ran)
        return fault.gpu_lost(ran.gpu_lost) if ran.gpu_lost and decision.charged else decision

    def _said(self, ran: Ran) -> Decision:
        if ran.outcome.exit_code == -signal.SIGKILL and self.oom_kills.lately():
            return fault.out_of_memory()
        return fault.of_outcome(ran.outcome, ran.staged.run.limits, self.later_seconds)

    async def clean_up(self, job: Job) -> None:
        """Remove what is left of a job on this machine."""
        if job.staged and job.staged.kept and job.staged.kept.restore:
            job.staged.kept.restore[0].unlink(missing_ok=True)
        folder = job.ran.folder if job.ran else job.staged.folder if job.staged else None
        if folder:
            loop = asyncio.get_running_loop()
            await asyncio.shield(loop.run_in_executor(self.files, self.scratch.remove, folder))
