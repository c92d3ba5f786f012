"""Write the longest word of a text: longest.py TEXT OUTPUT."""

import re
import sys
from pathlib import Path

source, target = map(Path, sys.argv[1:])
words = re.findall(r"\w+", source.read_text())
target.write_text(max(words, key=len) + "\n")
