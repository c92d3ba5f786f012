#!/usr/bin/env python3
"""Split one table into its columns: a folder with a file for each, and an index of them.

Called as ./split.py TABLE.csv. It prints two lines on stdout, the folder and the index; both
become outputs, the folder with everything in it.
"""

import csv
import re
import sys
from pathlib import Path


def main(source: Path) -> None:
    header, *rows = read_table(source)
    folder = Path(source.stem)
    folder.mkdir()
    index = [write_column(folder, name, column) for name, column in columns(header, rows)]
    target = Path(f"{source.stem}.index.csv")
    with target.open("w", newline="") as file:
        csv.writer(file).writerows([["file", "column", "distinct values"], *index])
    print(f"{folder}/")
    print(target)


def read_table(source: Path) -> list[list[str]]:
    text = source.read_text(encoding="utf-8-sig")
    separator = max(",;\t", key=text.partition("\n")[0].count)
    return list(csv.reader(text.splitlines(), delimiter=separator, skipinitialspace=True))


def columns(header: list[str], rows: list[list[str]]) -> list[tuple[str, list[str]]]:
    return list(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def write_column(folder: Path, name: str, values: list[str]) -> list[str | int]:
    path = folder / (re.sub(r"\W+", "_", name).strip("_") + ".txt")
    # Mode x: two columns with the same file name are a failure, not a silent overwrite.
    with path.open("x") as file:
        file.writelines(f"{value}\n" for value in values)
    return [str(path), name, len(set(values))]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
