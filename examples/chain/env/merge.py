#!/usr/bin/env python3
"""Add up the counts of all texts: the argument is a list with a line of JSON for each output."""

import json
import sys
from collections import Counter
from pathlib import Path

total: Counter[str] = Counter()
with Path(sys.argv[1]).open() as outputs:
    for line in outputs:
        total.update(json.loads(Path(json.loads(line)["path"]).read_text()))
Path("total.json").write_text(json.dumps(dict(total.most_common())))
print("total.json")
