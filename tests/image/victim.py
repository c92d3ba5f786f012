"""A job that minds its own business, beside one that does not (burglar.py)."""

import json
import os
import socket
import sys
from multiprocessing import shared_memory
from pathlib import Path

PLACES = ("/tmp", "/var/tmp", "/dev/shm")

for place in PLACES:
    Path(place, "victim.txt").write_text("left alone")
memory = shared_memory.SharedMemory("victim", create=True, size=1)

# The network is the one thing that jobs share, so they can meet there.
with socket.create_server(("127.0.0.1", 7777)) as server:
    visitor, _ = server.accept()
    with visitor:
        home = {"pid": os.getpid(), "scratch": str(Path.cwd()), "input": sys.argv[1]}
        visitor.sendall(json.dumps(home).encode() + b"\n")
        visitor.recv(1)  # until it has gone

memory.close()
memory.unlink()
sys.stdout.write("/tmp/victim.txt\n")
