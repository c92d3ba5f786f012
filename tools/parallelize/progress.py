"""How far a long step is: a bar on a terminal, otherwise a line now and then.

with progress("uploaded", total=1200) as step:
    step(size=4096)          # one more file, of this many bytes
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from parallelize.console import WIDTH, is_live, say
from parallelize.units import show_size

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_SECONDS = 30


class Step(Protocol):
    """Reports that one more file is done, and its size in bytes."""

    def __call__(self, size: int = 0) -> None:
        """Count it."""


class Lines:
    """Progress for a log: one line every 30 s, and one at the end."""

    def __init__(
        self,
        verb: str,
        total: int,
        tell: Callable[[str], None] = say,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._verb = verb
        self._total = total
        self._tell = tell
        self._clock = clock
        self._due = clock() + LINE_SECONDS
        self._files = 0
        self._bytes = 0

    def __call__(self, size: int = 0) -> None:
        """Count a file, and print a line if it is time."""
        self._files += 1
        self._bytes += size
        if self._clock() >= self._due:
            self._due = self._clock() + LINE_SECONDS
            self.line()

    def line(self) -> None:
        """Print the progress."""
        now = datetime.now().astimezone().strftime("%H:%M:%S")
        size = f"  {show_size(self._bytes)}" if self._bytes else ""
        self._tell(f"{now} {self._verb} {self._files:,}/{self._total:,}{size}")


@contextmanager
def progress(verb: str, total: int) -> Iterator[Step]:
    """Show a step of `total` files on stderr, as a bar or as lines."""
    if not is_live():
        lines = Lines(verb, total)
        yield lines
        lines.line()
        return
    with _bar() as bar:
        files = bar.add_task(verb, total=total, size="")
        seen = 0

        def step(size: int = 0) -> None:
            nonlocal seen
            seen += size
            bar.update(files, advance=1, size=show_size(seen) if seen else "")

        yield step


def _bar() -> Progress:
    # ruff: noqa: PLC0415 - only a terminal needs them
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    console.width = min(console.width, WIDTH)
    return Progress(
        TextColumn("  {task.description:<10}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[size]}"),
        TimeRemainingColumn(compact=True),
        console=console,
    )
