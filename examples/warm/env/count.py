#!/usr/bin/env python3
"""Counts known words; the list of them takes long to load, so it is loaded once for many files."""

import re
from pathlib import Path

import parallelize

KNOWN = set(Path("words.txt").read_text().split())


def count(job):
    path = Path(job["input"])
    words = re.findall(r"[a-z]+", path.read_text().lower())
    made = path.with_suffix(".count").name
    Path(made).write_text(f"{sum(word in KNOWN for word in words)}\n")
    return made


parallelize.serve(count)
