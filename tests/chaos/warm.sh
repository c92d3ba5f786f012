#!/bin/sh
# As job.sh, but one process does many jobs.
unset LD_PRELOAD  # the clock of the worker may be wrong, that of the journal is not
exec python3 ./warm.py
