"""One job: parameters in, results out, both as JSON. It is the image's /app/worker.py."""

import json
import sys
from pathlib import Path

parameters = json.loads(Path(sys.argv[1]).read_text())
x, y = parameters["x"], parameters["y"]
Path("result.json").write_text(json.dumps({"x+y": x + y, "x*y": x * y}))
print("result.json")
