#!/usr/bin/env python3
"""Walk at random on a line, and write how far it led: walk.py PARAMETERS."""

import json
import random
import sys
from pathlib import Path

item = json.loads(Path(sys.argv[1]).read_text())
dice = random.Random(item["seed"])
place = sum(dice.choice((-1, 1)) for _ in range(item["steps"]))
Path("walk.json").write_text(json.dumps({"distance": abs(place)}))
print("walk.json")
