"""The stable import path of what finds a command's outputs, for scripts beside this repository.

found = find_outputs(stdout, scratch, None)
[file.name for file in found], len(found)
"""

from __future__ import annotations

from parallelize_agent.job.outputs import OutputError, OutputFile, Outputs, find_outputs

__all__ = ["OutputError", "OutputFile", "Outputs", "find_outputs"]
