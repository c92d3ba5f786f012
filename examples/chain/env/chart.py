#!/usr/bin/env python3
"""Draw the most frequent words of one output of the run before."""

import json
import sys
from pathlib import Path

counts = Path(sys.argv[1])
most = sorted(json.loads(counts.read_text()).items(), key=lambda pair: (-pair[1], pair[0]))[:3]
chart = Path(f"{counts.stem}.txt")
chart.write_text("".join(f"{word:<8}{'#' * count}\n" for word, count in most))
print(chart)
