#!/usr/bin/env python3
"""Summarize one table: for each column of numbers its count, mean, spread and range.

Called as ./summarize.py INPUT, in a scratch folder of its own. Each line on stdout that names a
file is an output; everything else, and all of stderr, goes to the log.
"""

import csv
import statistics
import sys
from pathlib import Path

HEADER = ["column", "numbers", "missing", "mean", "deviation", "smallest", "largest"]


def main(source: Path) -> None:
    """Read the table `source` and write its summary beside the working directory's files."""
    header, *rows = read_table(source)
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    target = Path(f"{source.stem}.summary.csv")
    with target.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows(summarize(name, texts) for name, texts in columns.items())
    print(f"{source.name}: {len(rows)} rows, {len(columns)} columns", file=sys.stderr)
    print(target)


def read_table(source: Path) -> list[list[str]]:
    """Return the rows of a table; its separator is the one that its first line has most of."""
    text = source.read_text(encoding="utf-8-sig")
    first_line = text.partition("\n")[0]
    separator = max(",;\t", key=first_line.count)
    return list(csv.reader(text.splitlines(), delimiter=separator, skipinitialspace=True))


def summarize(name: str, texts: tuple[str, ...]) -> list[object]:
    """Return the summary's row for one column."""
    values = [value for text in texts if (value := number(text)) is not None]
    missing = len(texts) - len(values)
    if len(values) < 2:
        return [name, len(values), missing]
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    return [name, len(values), missing, f"{mean:.6g}", f"{deviation:.6g}", min(values), max(values)]


def number(text: str) -> float | None:
    """Return the number that `text` is, or None."""
    try:
        return float(text)
    except ValueError:
        return None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
