"""Print the path of each module of this Python's own standard library; tests are left out."""

import sysconfig
from pathlib import Path

LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}

library = Path(sysconfig.get_path("stdlib"))
for module in sorted(library.rglob("*.py")):
    if not LEFT_OUT.intersection(module.relative_to(library).parts):
        print(module)
