"""Following a run: a live view on a terminal and in a notebook, log lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from parallelize.console import is_live, printable, say
from parallelize.progress import LINE_SECONDS
from parallelize.runs.state.status import RunStatus
from parallelize.runs.state.view import changes, log_line, page

INTERVAL_SECONDS = 3.0
LISTING_SHARE = 4
"""After a look, wait at least this many times as long as it took."""

LOCAL_INTERVAL_SECONDS = 0.5
LOCAL_LONGEST_SECONDS = 1.0
LOCAL_LISTING_SHARE = 20
"""As `LISTING_SHARE`, if looks and workers share the processors and the end is not near."""

FOOTER = "ctrl-C detaches: the workers go on"


class View(Protocol):
    """Shows the state of a run."""

    def __call__(self, status: RunStatus) -> None:
        """Show it as it is now."""


Pause = Callable[[RunStatus, float], float]
"""Returns the seconds to wait after a look, given what it saw and how many seconds it took."""


def every(seconds: float) -> Pause:
    """Return a pause that always has this length, or more if looks take long."""
    return lambda _, took: max(seconds, LISTING_SHARE * took)


@dataclass
class LocalPause:
    """The pauses for a run whose workers are on this machine.

    A look takes CPU time from them, so looks are rare while there is much to do. They come closer
    together towards the end, which the speed since the last look predicts. Without progress there
    is no speed, and a job may end at any time.
    """

    _before: RunStatus | None = None

    def __call__(self, status: RunStatus, took: float) -> float:
        """Return the seconds until the next look."""
        before, self._before = self._before, status
        if before is None or not status.alive or status.left >= before.left:
            return max(LOCAL_INTERVAL_SECONDS, LISTING_SHARE * took)
        speed = (before.left - status.left) / max(took, status.taken_at - before.taken_at)
        longest = max(LOCAL_LONGEST_SECONDS, LOCAL_LISTING_SHARE * took)
        # Half of the time that is left, each time: that takes few looks, however long they take.
        return max(took, min(longest, status.left / speed / 2))


def watch(
    look: Callable[[], RunStatus],
    view: View,
    is_over: Callable[[RunStatus], bool],
    pause: Pause | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> RunStatus:
    """Look at the run repeatedly, show it, and return its status once it `is_over`.

    Without `pause`, it looks every `INTERVAL_SECONDS`.
    """
    pause = pause or every(INTERVAL_SECONDS)
    while True:
        began = time.monotonic()
        status = look()
        view(status)
        if is_over(status):
            return status
        # The listings of a run with a million files take a while, and cost money.
        sleep(pause(status, time.monotonic() - began))


def comes_to_rest(status: RunStatus) -> bool:
    """Whether nothing more will happen by itself, because everything that was sent is done."""
    return status.finished or status.sample_done


@contextmanager
def open_view(footer: str = FOOTER) -> Iterator[View]:
    """Yield the view that suits stderr, or the notebook's."""
    if notebook := notebook_view():
        yield notebook
        return
    if not is_live():
        yield LogView()
        return
    # ruff: noqa: PLC0415 - only a terminal needs them
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False) as live:

        def show(status: RunStatus) -> None:
            standing = status.paused and not status.alive
            ending = [] if standing or comes_to_rest(status) else ["", footer]
            told = printable("\n".join([*page(status, console.width), *ending]))
            live.update(Text(told, no_wrap=True, overflow="crop"), refresh=True)

        yield show


class LogView:
    """Prints a line at first, every 30 s, and at each change of state."""

    def __init__(
        self,
        tell: Callable[[str], None] = say,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._before: RunStatus | None = None
        self._due = clock()

    def __call__(self, status: RunStatus) -> None:
        """Print what is new."""
        now = datetime.fromtimestamp(status.taken_at).astimezone().strftime("%H:%M:%S")
        for change in changes(self._before, status):
            self._tell(f"{now} {status.run} {change}")
        if self._clock() >= self._due or self._is_turn(status):
            self._tell(f"{now} {log_line(status)}")
            if (
                (self._before or status.sample_done or status.paused)
                and status.why
                and not status.alive
            ):
                self._tell(f"{now} {status.run} {status.why}")
            self._due = self._clock() + LINE_SECONDS
        self._before = status

    def _is_turn(self, status: RunStatus) -> bool:
        return self._before is not None and self._before.state != status.state


class Handle(Protocol):
    """IPython's handle for a display that can be updated."""

    def update(self, shown: object, *, raw: bool = False) -> None:
        """Replace what is shown."""


class NotebookView:
    """Shows the full view in a display of a notebook."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def __call__(self, status: RunStatus) -> None:
        """Show the run as it is now."""
        self._handle.update(bundle("\n".join(page(status))), raw=True)


def bundle(text: str) -> dict[str, str]:
    """Return a text in the forms for notebooks and for terminals."""
    import html

    return {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}


def notebook_view() -> NotebookView | None:
    """Return the view for the notebook in which this process runs, None if it is in none."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    # IPython in a terminal has no kernel, and cannot update what it displays.
    if shell is None or getattr(shell, "kernel", None) is None:
        return None
    return NotebookView(ipython.display.display(bundle(""), raw=True, display_id=True))
