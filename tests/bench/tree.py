"""The source as a tree of folders, with modules, lines, and how long functions are.

python -m tests.bench.tree
"""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BASES = ("agent", "tools")


@dataclass(frozen=True)
class Module:
    """A module's path below its base, its lines, and those of each of its functions, by name."""

    path: Path
    lines: int
    functions: dict[str, int]

    @property
    def folder(self) -> str:
        """The package, and the part of it that it lies in."""
        return "/".join(self.path.parts[:2][: len(self.path.parts) - 1])


def modules() -> list[Module]:
    """Return all modules of the client, the agent and what they share."""
    found = []
    for base in BASES:
        for path in sorted((ROOT / base).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            functions = {
                f"{node.name}:{node.lineno}": (node.end_lineno or node.lineno) - node.lineno + 1
                for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            lines = len(text.splitlines())
            found.append(Module(path.relative_to(ROOT / base), lines, functions))
    return found


def share(values: list[int], part: float) -> int:
    """Return the value below which this part of them lies."""
    return sorted(values)[int(len(values) * part)]


def main() -> None:
    """Print a line for each folder, and one for all."""
    folders = defaultdict(list)
    for module in modules():
        folders[module.folder].append(module)
    everything = [module for inside in folders.values() for module in inside]
    print("| folder | modules | lines | longest | functions: median | p90 |")  # noqa: T201
    print("|---|---|---|---|---|---|")  # noqa: T201
    for folder, inside in [*sorted(folders.items()), ("all", everything)]:
        lengths = [length for module in inside for length in module.functions.values()] or [0]
        longest = max(module.lines for module in inside)
        total = sum(module.lines for module in inside)
        print(  # noqa: T201
            f"| {folder} | {len(inside)} | {total:,} | {longest} "
            f"| {share(lengths, 0.5)} | {share(lengths, 0.9)} |"
        )


if __name__ == "__main__":
    main()
