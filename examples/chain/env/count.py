#!/usr/bin/env python3
"""Count the words of one text."""

import json
import re
import sys
from collections import Counter
from pathlib import Path

text = Path(sys.argv[1])
counts = Counter(re.findall(r"[a-z]+", text.read_text().lower()))
output = Path(f"{text.stem}.json")
output.write_text(json.dumps(counts))
print(output)
