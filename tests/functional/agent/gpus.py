"""GPUs that are not there: a library that says what NVIDIA's would, and files for device nodes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from parallelize_agent.gpu.monitor import Monitor
from parallelize_agent.gpu.nvml import Nvml

SOURCE = Path(__file__).with_name("nvml.c")


class FakeGpus:
    """`count` of them, called GPU-0 and so on; what they do is said by files in `folder`."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        for number in range(count):
            (folder / str(number)).mkdir(parents=True)
        (folder / "count").write_text(str(count))
        self.library = folder / "libnvidia-ml.so.1"
        subprocess.run(
            ["cc", "-shared", "-fPIC", f'-DFOLDER="{folder}"', "-o", self.library, SOURCE],
            check=True,
        )

    def monitor(self, **more: Any) -> Monitor:
        """Return one as a worker has it, which has not begun."""
        return Monitor(Nvml(str(self.library)), **more)

    def say(self, number: int, name: str, value: int = 1) -> None:
        """Have a GPU use memory, be busy, be lost, or report an error."""
        new = self.folder / "new"
        new.write_text(str(value))
        new.rename(self.folder / str(number) / name)

    def hang(self) -> None:
        """Let no call return."""
        (self.folder / "hangs").touch()

    def go_on(self) -> None:
        """Let calls return again."""
        (self.folder / "hangs").unlink()
