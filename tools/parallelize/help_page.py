"""The page that `--help` prints: plain lines of at most 80 columns."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING, Any

from parallelize.console import WIDTH

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

INDENT = "  "
FURTHER = " " * 6
UNBROKEN = 10_000
"""Columns that no text here has; the lines are made afterwards."""


class HelpPage:
    """Prints what the parser knows of a command; see cyclopts' `HelpFormatter`."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one list: commands, parameters, common options."""
        if not panel.entries:
            return
        width = min(WIDTH, options.max_width)
        lines = [_entry(entry, width) for entry in panel.entries]
        _print(console, "\n".join([f"{_plain(panel.title)}:", *lines, ""]))

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Print how the command is called."""
        _print(console, _filled(f"Usage: {_plain(usage)}\n", options) + "\n")

    def render_description(
        self, console: Console, options: ConsoleOptions, description: Any
    ) -> None:
        """Print what the command does, a paragraph at a time."""
        for paragraph in _plain(description).split("\n\n"):
            _print(console, f"{_filled(paragraph, options)}\n")


def _entry(entry: HelpEntry, width: int) -> str:
    names = entry.display_labels_with_metavar or entry.positive_names
    notes = [
        _plain(entry.description),
        f"[choices: {', '.join(entry.choices)}]" if entry.choices else "",
        f"[default: {entry.default}]" if entry.default not in (None, "()") else "",
        "[required]" if entry.required else "",
    ]
    text = f"{', '.join(names)}: {' '.join(note for note in notes if note)}"
    return textwrap.fill(
        text, width, initial_indent=INDENT, subsequent_indent=FURTHER, break_on_hyphens=False
    )


def _filled(text: str, options: ConsoleOptions) -> str:
    return textwrap.fill(text, min(WIDTH, options.max_width), break_on_hyphens=False)


def _plain(text: Any) -> str:
    """Return what rich would show, without its colours and in as few lines as it has."""
    if text is None or isinstance(text, str):
        return text or ""
    from rich.console import Console  # noqa: PLC0415 - only help needs it

    page = Console(file=io.StringIO(), width=UNBROKEN, color_system=None)
    with page.capture() as printed:
        page.print(text)
    return "\n".join(line.rstrip() for line in printed.get().split("\n")).strip()


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
