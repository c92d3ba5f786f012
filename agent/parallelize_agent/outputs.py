"""The stable import path of the code that finds a command's outputs, for external scripts.

`find_outputs(stdout, scratch, None)` returns files that can be counted and iterated over.
"""

from __future__ import annotations

from parallelize_agent.job.output_files import OutputError, OutputFile
from parallelize_agent.job.outputs import Outputs, find_outputs

__all__ = ["OutputError", "OutputFile", "Outputs", "find_outputs"]
