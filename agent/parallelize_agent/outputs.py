"""The stable import path of what finds a command's outputs, for scripts beside this repository.

`find_outputs(stdout, scratch, None)` returns files that can be counted and gone through.
"""

from __future__ import annotations

from parallelize_agent.job.outputs import OutputError, OutputFile, Outputs, find_outputs

__all__ = ["OutputError", "OutputFile", "Outputs", "find_outputs"]
