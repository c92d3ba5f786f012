#!/usr/bin/env python3
"""Fail unless a wheel holds every file of the three packages that the repository holds."""

from __future__ import annotations

import subprocess
import sys
import zipfile

ROOTS = ("agent/", "tools/")


def tracked() -> set[str]:
    """Return the packages' files as a wheel names them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *ROOTS], check=True, capture_output=True, text=True
    )
    return {name.partition("/")[2] for name in listed.stdout.split("\0") if name}


def main(wheel: str) -> int:
    """Print what is missing; answer the exit status."""
    with zipfile.ZipFile(wheel) as archive:
        missing = tracked() - set(archive.namelist())
    for name in sorted(missing):
        print(f"not in the wheel: {name}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
