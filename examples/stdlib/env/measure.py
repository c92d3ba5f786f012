#!/usr/bin/env python3
"""Measure one Python module: lines, definitions, nesting, imports, operators; written as JSON.

Called as ./measure.py MODULE.py. What it prints on stdout names the file it wrote.
"""

import ast
import json
import sys
import tokenize
from collections import Counter
from pathlib import Path

OPERATORS = {
    "Add": "+", "Sub": "-", "Mult": "*", "Div": "/", "FloorDiv": "//", "Mod": "%", "Pow": "**",
    "LShift": "<<", "RShift": ">>", "BitAnd": "&", "BitOr": "|", "BitXor": "^",
}  # fmt: skip

BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.With, ast.AsyncWith, ast.IfExp)


def main(source: Path) -> None:
    with tokenize.open(source) as file:
        text = file.read()
    target = Path(f"{source.stem}.json")
    target.write_text(json.dumps(measure(text), indent=2) + "\n")
    print(target)


def measure(text: str) -> dict[str, object]:
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    kinds = Counter(type(node) for node in nodes)
    return {
        "lines": len(text.splitlines()),
        "functions": kinds[ast.FunctionDef] + kinds[ast.AsyncFunctionDef],
        "classes": kinds[ast.ClassDef],
        "branches": sum(kinds[branch] for branch in BRANCHES),
        "deepest": depth(tree),
        "imports": sorted({name for node in nodes for name in imported(node)}),
        "operators": operators(nodes),
    }


def operators(nodes: list[ast.AST]) -> dict[str, int]:
    used = Counter(type(node).__name__ for node in nodes if isinstance(node, ast.operator))
    return {OPERATORS[name]: count for name, count in used.most_common()}


def depth(node: ast.AST) -> int:
    inner = max(map(depth, ast.iter_child_nodes(node)), default=0)
    return inner + isinstance(node, BRANCHES)


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module]
    return []


if __name__ == "__main__":
    main(Path(sys.argv[1]))
