"""A guard of the protocol, the change that takes it away, and the tests that have to notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
AGENT = "agent/parallelize_agent/"
CORE = "agent/parallelize_core/"


class MovedError(Exception):
    """The text that a mutation changes is not there once, and only once."""


@dataclass(frozen=True)
class Mutation:
    """A guard in a sentence, and how to break it: in `file`, `old` becomes `new`.

    `old` occurs exactly once there. `tests` are below tests/, as pytest names them; the first is
    the one that dies with the guard by itself.
    """

    name: str
    guard: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, text: str) -> str:
        """Return the file's text without the guard; raise MovedError if the guard is not in it."""
        if (found := text.count(self.old)) != 1:
            raise MovedError(
                f"{self.name}: its text is {found} times in {self.file}; "
                "the code has moved, so write the mutation again, for what guards now"
            )
        return text.replace(self.old, self.new)

    def apply(self, root: Path) -> None:
        """Take the guard out of the tree at `root`."""
        path = root / self.file
        path.write_text(self.applied(path.read_text()))

    @property
    def row(self) -> str:
        """Its row in docs/protocol.md."""
        where = self.file.removeprefix(AGENT).removeprefix("agent/").removeprefix("tools/")
        return f"| {self.guard} | `{where}` | `{self.tests[0]}` |"
