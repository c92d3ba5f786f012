"""The jobs of a run, one for each file, row or group: found by name, and how far they are sent."""
