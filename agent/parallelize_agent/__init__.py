"""The worker: leases messages, runs the command, commits results, and leaves when all is done."""
