"""Progress in a notebook: one display below the cell, which is renewed."""

from __future__ import annotations

import html
import sys
from typing import Any, Protocol

from parallelize.runs.status import RunStatus
from parallelize.runs.view import page


class Handle(Protocol):
    """What IPython gives for a display that is to be renewed."""

    def update(self, shown: object, *, raw: bool = False) -> None:
        """Put something else into its place."""


class NotebookView:
    """Shows the whole picture in a display of a notebook."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def __call__(self, status: RunStatus) -> None:
        """Show the run as it is now."""
        self._handle.update(bundle("\n".join(page(status))), raw=True)


def bundle(text: str) -> dict[str, str]:
    """Return a text as notebooks show it, and as a terminal would."""
    return {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}


def notebook_view() -> NotebookView | None:
    """Return the view of the notebook in which this process runs, None if it is in none."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    # A terminal's IPython has no kernel, and what is displayed there cannot be renewed.
    if shell is None or getattr(shell, "kernel", None) is None:
        return None
    return NotebookView(ipython.display.display(bundle(""), raw=True, display_id=True))
